"""Rows to records."""

from collections.abc import Callable
from pathlib import Path

from batchrun.manifest.jobs import Checks
from batchrun.queue.records import (
    Attempt,
    ChargeDue,
    Job,
    KnownJob,
    KnownPicture,
    KnownPrediction,
    LateAttempt,
    LateCharge,
    OpenSubmit,
    RefundDue,
    Revision,
    Took,
    Twin,
    Upload,
)
from batchrun.queue.script import Row
from batchrun.queue.states import NOT_ENDED, AttemptState, JobState

RealPath = Callable[[str], Path]


def job_of(row: Row, real_path: RealPath) -> Job:
    """A claimed job, from `read_job`."""
    attempt = upload = None
    if row["attempt_id"] is not None:
        attempt = Attempt(
            attempt_id=row["attempt_id"],
            prediction_id=row["prediction_id"],
            submitted_ms=row["submitted_ms"],
            server_ahead_ms=row["server_ahead_ms"],
            output_url=row["output_url"],
        )
    if row["upload_url"] is not None:
        upload = Upload(attempt_id=row["upload_attempt_id"], url=row["upload_url"], uploaded_ms=row["uploaded_ms"])
    return Job(
        job_id=row["job_id"],
        batch_id=row["batch_id"],
        batch=row["batch"],
        key=row["key"],
        state=JobState(row["state"]),
        priority=row["priority"],
        price_usd_micros=row["price_usd_micros"],
        output=real_path(row["output_path"]),
        file_sha256=row["file_sha256"],
        placed_sha256=row["placed_sha256"],
        failed_attempts=row["failed_attempts"],
        checks=Checks(row["checks"]),
        revision=revision_of(row, real_path(row["image_path"]) if row["image_path"] else None),
        attempt=attempt,
        upload=upload,
    )


def known_job_of(row: Row, real_text: Callable[[str], str]) -> KnownJob:
    """What the queue knows of a job, from `known_jobs`."""
    return KnownJob(
        job_id=row["job_id"],
        state=JobState(row["state"]),
        revision_id=row["revision_id"],
        take=row["take"],
        fingerprint=row["fingerprint"],
        prompt=row["prompt"],
        image_sha256=row["image_sha256"],
        image_url=row["image_url"],
        output=real_text(row["output_path"]),
        failure_kind=row["failure_kind"],
        failure_message=row["failure_message"],
        failed_attempts=row["failed_attempts"],
        output_url=row["output_url"],
        completed_ms=row["finished_ms"],
        has_clip=bool(row["has_clip"]),
        is_copy=bool(row["is_copy"]),
        handed_over=bool(row["handed_over"]),
        unagreed=bool(row["unagreed"]),
    )


def open_submit_of(row: Row, real_path: RealPath) -> OpenSubmit:
    """A submit without a prediction, from `open_submits`."""
    return OpenSubmit(
        attempt_id=row["attempt_id"],
        batch=row["batch"],
        key=row["key"],
        state=row["state"],
        submitted_ms=row["submitted_ms"],
        send_by_ms=row["send_by_ms"],
        answered_ms=row["answered_ms"],
        server_ahead_ms=row["server_ahead_ms"],
        image_url=row["sent_url"],
        job_state=JobState(row["job_state"]),
        message=row["failure_message"],
        revision=revision_of(row, real_path(row["image_path"]) if row["image_path"] else None),
    )


def known_prediction_of(row: Row) -> KnownPrediction:
    """From `predictions_since`."""
    return KnownPrediction(row["submitted_ms"], row["server_ahead_ms"], row["image_url"])


def charge_due_of(row: Row) -> ChargeDue:
    """From `charges_to_audit`."""
    return ChargeDue(
        attempt_id=row["attempt_id"],
        prediction_id=row["prediction_id"],
        completed=row["state"] == AttemptState.COMPLETED,
        finished_ms=row["finished_ms"],
    )


def late_attempt_of(row: Row) -> LateAttempt:
    """From `late_attempts`."""
    return LateAttempt(
        attempt_id=row["attempt_id"],
        prediction_id=row["prediction_id"],
        submitted_ms=row["submitted_ms"],
        server_ahead_ms=row["server_ahead_ms"],
        batch=row["batch"],
        key=row["key"],
        duration_s=row["duration_s"],
    )


def late_charge_of(row: Row) -> LateCharge:
    """From `late_charges`."""
    return LateCharge(
        attempt_id=row["attempt_id"],
        prediction_id=row["prediction_id"],
        batch=row["batch"],
        key=row["key"],
        state=row["state"],
    )


def known_picture_of(row: Row, real_path: RealPath) -> KnownPicture:
    """From `known_pictures`."""
    return KnownPicture(row["image_sha256"], real_path(row["image_path"]), row["requests"])


def took_of(row: Row) -> Took:
    """From `read_latencies`."""
    return Took(model=row["model"], duration_s=row["duration_s"], place=row["place"], took_ms=row["took_ms"])


def revision_of(row: Row, image_path: Path | None) -> Revision:
    """What was asked for, from any statement that reads a revision's columns."""
    return Revision(
        revision_id=row["revision_id"],
        take=row["take"],
        model=row["model"],
        prompt=row["prompt"],
        negative_prompt=row["negative_prompt"],
        guidance_hundredths=row["guidance_hundredths"],
        duration_s=row["duration_s"],
        image_path=image_path,
        image_url=row["image_url"],
        image_sha256=row["image_sha256"],
    )


def refund_due_of(row: Row) -> RefundDue:
    """Money that may come back, from `refunds_due`."""
    return RefundDue(
        attempt_id=row["attempt_id"],
        batch_id=row["batch_id"],
        prediction_id=row["prediction_id"],
        amount_usd_micros=row["price_usd_micros"],
        failed_ms=row["finished_ms"],
    )


def twin_of(row: Row, real_path: RealPath) -> Twin:
    """The same request under a job's name, from `twins`."""
    verdict: str = row["verdict"]
    failed = verdict != JobState.DONE and verdict not in NOT_ENDED
    return Twin(
        job_id=row["job_id"],
        batch=row["batch"],
        key=row["key"],
        output=real_path(row["output_path"]),
        clip_sha256=row["file_sha256"],
        size_bytes=row["file_bytes"],
        facts=row["file_facts"],
        failure_kind=verdict if failed else None,
        failure_message=row["message"] or "",
        failed_attempts=row["failed_attempts"],
        not_before_ms=None if verdict in (JobState.UNKNOWN, JobState.PARKED) else row["not_before_ms"],
    )
