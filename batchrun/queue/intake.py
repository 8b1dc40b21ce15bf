"""A manifest's reading swapped into the queue: one generation, one transaction.

What the plan found goes into a table of the connection first, a chunk a transaction, so that nobody waits for the lock
meanwhile; then a handful of statements move all jobs at once.
"""

import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import NamedTuple

from batchrun.errors import QueueError
from batchrun.manifest.jobs import ID_MARK, JobSpec
from batchrun.manifest.spool import chunks
from batchrun.queue.script import Params, Row, Script, ask, ask_one


class Move(StrEnum):
    """What happens with a job besides being kept."""

    ADD = "add"
    KEEP = "keep"
    REVISE = "revise"
    """What is asked for changed: a new revision, bought again."""
    RETRY = "retry"
    REFETCH = "refetch"
    """Its file is gone: fetched again from the provider, or copied again."""
    OUTDATE = "outdate"
    """What is asked for changed while the job is in flight: it finishes what is paid for, and is read again then."""


class Intake(NamedTuple):
    """What the plan found for one job of the manifest."""

    spec: JobSpec
    move: Move
    job_id: int | None = None
    """None for a new job."""
    old_revision_id: int | None = None
    take: int = 1
    rerun: bool = False
    """It has a clip already, and this run may buy another one."""


class OutputTakenError(QueueError):
    """A job would write to a path that is another job's."""


class StalePlanError(Exception):
    """Another process has read the manifest since this plan looked at the queue: plan again."""


def incoming(intakes: Iterable[Intake], stored_path: Callable[[Path], str]) -> Iterator[list[Params]]:
    """The rows of `add_incoming`, in chunks."""
    stored_pattern, tags_text = cache(lambda pattern: stored_path(Path(pattern))), cache(_tags_text)

    def row(intake: Intake) -> Params:
        spec = intake.spec
        output_path = stored_pattern(spec.output_pattern).replace(ID_MARK, spec.key)
        return {
            "move": intake.move.value,
            "rerun": int(intake.rerun),
            "job_id": intake.job_id,
            "old_revision_id": intake.old_revision_id,
            "take": intake.take,
            "key": spec.key,
            "priority": spec.priority,
            "position": spec.position,
            "price_usd_micros": spec.price_usd_micros,
            "tags": tags_text(spec.tags),
            "image_path": stored_path(spec.image_path) if spec.image_path else None,
            "output_path": output_path,
            "output_key": unicodedata.normalize("NFC", output_path).casefold(),
            "fingerprint": spec.fingerprint,
            "fp_version": spec.fp_version,
            "model": spec.model,
            "prompt": spec.prompt,
            "negative_prompt": spec.negative_prompt,
            "guidance_hundredths": spec.guidance_hundredths,
            "duration_s": spec.duration_s,
            "image_url": spec.image_url,
            "image_sha256": spec.image_sha256,
        }

    return ([row(intake) for intake in chunk] for chunk in chunks(intakes))


def _tags_text(tags: tuple[str, ...]) -> str:
    return json.dumps(tags, ensure_ascii=False)


def begin_incoming() -> Script[None]:
    """An empty table for the rows of one reading; it belongs to this connection and is never on the queue's disk."""
    yield from ask("make_incoming")
    yield from ask("empty_incoming")


_MOVES = (
    "hold_back",
    "add_revisions",
    "add_jobs",
    "revise_jobs",
    "retry_jobs",
    "refetch_jobs",
    "recopy_jobs",
    "keep_jobs",
    "allow_reruns",
)


def swap_generation(
    name: str,
    about: Params,
    seen_generation: int,
    left_batches: Sequence[int],
    now_ms: int,
    real_text: Callable[[str], str],
    run_id: str,
) -> Script[int]:
    """Put the incoming rows in place as the batch's newest generation, with what the manifest says about the batch.

    Args:
        name: the batch's name.
        about: its manifest (as stored), campaign, checks and caps.
        seen_generation: what the plan has seen.
        left_batches: other batches whose manifest is gone.
        now_ms: the present.
        real_text: makes a path of what is stored.
        run_id: the run that reads.

    Returns:
        The batch's id.

    Raises:
        StalePlanError: the batch is not at `seen_generation` any more.
        OutputTakenError: an output path belongs to a job that is still there.
    """
    batch_id = yield from _batch_id(name, about, now_ms)
    row = yield from ask_one("begin_generation", batch_id=batch_id, seen_generation=seen_generation, **about)
    if row is None:
        raise StalePlanError(name)
    yield from ask("tell_campaign", batch_id=batch_id, campaign=about["campaign"], caps=about["caps"])
    yield from _free_outputs(batch_id, str(about["manifest"]), left_batches, real_text)
    last = yield from ask_one("last_ids")
    before = {"jobs_before": last["job_id"], "revisions_before": last["revision_id"]} if last else {}
    moment = {"generation": row["generation"], "now_ms": now_ms, "run_id": run_id}
    for statement in _MOVES:
        yield from ask(statement, batch_id=batch_id, **moment, **before)
    yield from ask("empty_incoming")
    return batch_id


def _batch_id(name: str, about: Params, now_ms: int) -> Script[int]:
    row = yield from ask_one("find_batch", name=name)
    if row is None:
        row = yield from ask_one("insert_batch", name=name, now_ms=now_ms, **about)
    assert row is not None  # noqa: S101  # an insert that returns its row
    batch_id: int = row["batch_id"]
    return batch_id


def _free_outputs(
    batch_id: int, manifest: str, left_batches: Sequence[int], real_text: Callable[[str], str]
) -> Script[None]:
    """Each path is one job's; who has left hands its path over. Raises OutputTakenError."""
    if (yield from ask_one("taken_output", batch_id=batch_id)) is None:
        return
    yield from ask("hand_over_outputs", batch_id=batch_id, manifest=manifest, left_batches=json.dumps(left_batches))
    taken = yield from ask_one("taken_output", batch_id=batch_id)
    if taken is not None:
        raise OutputTakenError(_taken_text(taken, manifest, real_text))


def _taken_text(taken: Row, manifest: str, real_text: Callable[[str], str]) -> str:
    path = real_text(taken["output_path"])
    text = f"job {taken['key']!r} of {real_text(manifest)} would write {path}, which belongs to job {taken['owner']!r}"
    if taken["is_same_batch"]:
        return f"{text} of the same manifest: what is bought keeps its path; give one of them another id, or change `output`"
    return (
        f"{text} of batch {taken['batch']!r}; if the row has moved here, run {real_text(taken['manifest'])} first, or both "
        "together; else put {batch} into `output`, or give this manifest another folder"
    )
