"""A manifest's reading swapped into the queue: one generation, one transaction."""

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from batchrun.errors import QueueError
from batchrun.manifest.jobs import JobSpec
from batchrun.queue.script import Params, Script, ask, ask_one, run_all


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What the plan found for one job of the manifest: exactly one of the moves, besides being kept."""

    spec: JobSpec
    stored_output: str
    """The output's path as the queue stores it."""
    stored_image: str | None = None
    """The local picture's path as the queue stores it."""
    job_id: int | None = None
    """None for a new job."""
    old_revision_id: int | None = None
    revise: bool = False
    """What is asked for changed: a new revision, bought again."""
    retry: bool = False
    refetch: bool = False
    outdated: bool = False
    """What is asked for changed while the job is in flight: it finishes what is paid for, and is read again then."""
    take: int = 1


class StalePlanError(Exception):
    """Another process has read the manifest since this plan looked at the queue: plan again."""


def swap_generation(
    name: str,
    manifest: str,
    campaign: str | None,
    checks: str,
    seen_generation: int,
    intakes: Sequence[Intake],
    now_ms: int,
) -> Script[int]:
    """Put the reading in place as the batch's newest generation.

    Returns:
        The batch's id.

    Raises:
        StalePlanError: the batch is not at `seen_generation` any more.
        QueueError: an output path belongs to a job of another batch.
    """
    batch_id = yield from _batch_id(name, manifest, campaign, checks, now_ms)
    row = yield from ask_one(
        "begin_generation",
        batch_id=batch_id,
        manifest=manifest,
        campaign=campaign,
        checks=checks,
        seen_generation=seen_generation,
    )
    if row is None:
        raise StalePlanError(name)
    generation: int = row["generation"]
    yield from _add_new([intake for intake in intakes if intake.job_id is None], batch_id, generation, now_ms)
    revised = yield from _revise([intake for intake in intakes if intake.revise], now_ms)
    for move, statement in (("retry", "requeue_failed"), ("refetch", "refetch_done")):
        for intake in intakes:
            if getattr(intake, move):
                yield from ask(statement, job_id=intake.job_id, revision_id=intake.old_revision_id, now_ms=now_ms)
    known = [intake for intake in intakes if intake.job_id is not None]
    rows = [
        _row(intake, batch_id, generation)
        | {
            "job_id": intake.job_id,
            "outdated": int(intake.outdated or (intake.revise and intake.job_id not in revised)),
        }
        for intake in known
    ]
    for row, intake in zip(rows, known, strict=True):
        yield from _check_output_is_free(row, intake)
    yield from run_all("keep_job", rows)
    return batch_id


def _batch_id(name: str, manifest: str, campaign: str | None, checks: str, now_ms: int) -> Script[int]:
    row = yield from ask_one("find_batch", name=name)
    if row is None:
        row = yield from ask_one(
            "insert_batch", name=name, manifest=manifest, campaign=campaign, checks=checks, now_ms=now_ms
        )
    assert row is not None  # noqa: S101  # an insert that returns its row
    batch_id: int = row["batch_id"]
    return batch_id


def _add_new(new: Sequence[Intake], batch_id: int, generation: int, now_ms: int) -> Script[None]:
    first_job = yield from _next_id("next_job_id")
    first_revision = yield from _next_id("next_revision_id")
    jobs: list[Params] = []
    revisions: list[Params] = []
    for at, intake in enumerate(new):
        ids = {"job_id": first_job + at, "revision_id": first_revision + at}
        row = _row(intake, batch_id, generation) | ids | {"now_ms": now_ms, "batch_id": batch_id}
        yield from _check_output_is_free(row, intake)
        jobs.append(row | {"key": intake.spec.key})
        revisions.append(_revision(intake) | ids | {"now_ms": now_ms})
    # In this order each deferred reference is found by an index; the other way round every row scans the jobs.
    yield from run_all("insert_revision", revisions)
    yield from run_all("insert_job", jobs)


def _check_output_is_free(row: Params, intake: Intake) -> Script[None]:
    owner = yield from ask_one(
        "output_owner", output_key=row["output_key"], batch_id=row["batch_id"], key=intake.spec.key
    )
    if owner is not None:
        raise QueueError(
            f"job {intake.spec.key!r} would write {intake.spec.output}, which belongs to job {owner['key']!r} of batch "
            f"{owner['batch']!r}; put {{batch}} into `output` or give this manifest another folder"
        )


def _revise(changed: Sequence[Intake], now_ms: int) -> Script[set[int | None]]:
    """Give changed jobs their new revision; those that another run holds just now are left out of the answer."""
    revised: set[int | None] = set()
    next_id = yield from _next_id("next_revision_id")
    for intake in changed:
        ids = {"job_id": intake.job_id, "revision_id": next_id, "now_ms": now_ms}
        free = yield from ask_one(
            "revisable", job_id=intake.job_id, old_revision_id=intake.old_revision_id, now_ms=now_ms
        )
        if free is not None:
            yield from ask("insert_revision", **(_revision(intake) | ids))
            yield from ask("requeue_revised", **ids)
            revised.add(intake.job_id)
            next_id += 1
    return revised


def _next_id(statement: str) -> Script[int]:
    row = yield from ask_one(statement)
    return int(row["next_id"]) if row else 1


def _row(intake: Intake, batch_id: int, generation: int) -> dict[str, object]:
    spec = intake.spec
    return {
        "batch_id": batch_id,
        "generation": generation,
        "priority": spec.priority,
        "position": spec.position,
        "price_usd_micros": spec.price_usd_micros,
        "tags": json.dumps(spec.tags, ensure_ascii=False),
        "image_path": intake.stored_image,
        "output_path": intake.stored_output,
        "output_key": unicodedata.normalize("NFC", intake.stored_output).casefold(),
    }


def _revision(intake: Intake) -> dict[str, object]:
    spec = intake.spec
    return {
        "take": intake.take,
        "fingerprint": spec.fingerprint,
        "fp_version": spec.fp_version,
        "model": spec.model,
        "prompt": spec.prompt,
        "negative_prompt": spec.negative_prompt,
        "guidance_hundredths": spec.guidance_hundredths,
        "duration_s": spec.duration_s,
        "image_url": spec.image_url,
        "image_sha256": spec.picture.sha256 if spec.picture else None,
    }
