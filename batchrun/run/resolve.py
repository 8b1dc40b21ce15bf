"""A person decides what nobody else can: what became of a submit, or whether a rejected clip is good enough."""

import asyncio
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from batchrun.clock import Clock, rfc3339
from batchrun.errors import AccountError, ExitCode, KeyRefusedError, ProviderUnavailableError, UsageError
from batchrun.manifest.jobs import Checks
from batchrun.provider.client import Client
from batchrun.provider.outcome import NotAllowedError, NotFoundError, Prediction, ProviderError, RefusedError
from batchrun.provider.wire import prediction_of
from batchrun.queue.answers import Recorded
from batchrun.queue.records import Job, OpenSubmit, ReadyFile
from batchrun.queue.states import AttemptState, JobState
from batchrun.queue.store import Queue
from batchrun.run.evidence import SLACK_MS, Fit, fit, host_of
from batchrun.run.first_frames import sent_picture
from batchrun.run.halts import halt_of_error
from batchrun.run.sweeps import open_attempt, until_ms
from batchrun.video.boxes import BrokenClipError
from batchrun.video.check import check_clip
from batchrun.video.download import flush, sha256_of
from batchrun.video.place import part_path, poster_path, quarantine_path

_UNDECIDED = frozenset({JobState.UNKNOWN, JobState.PARKED})
_TOO_LATE = "a run has decided it meanwhile; nothing was changed"
_ANY_MS = 7 * 86_400_000


async def undecided(queue: Queue, batches: Sequence[str]) -> list[OpenSubmit]:
    """The submits of these batches that wait for a decision, oldest first."""
    return [
        one
        for one in await queue.doubts.open_submits()
        if one.batch in batches and one.state == AttemptState.UNKNOWN and one.job_state in _UNDECIDED
    ]


async def adopt(queue: Queue, client: Client, submit: OpenSubmit, prediction_id: str) -> None:
    """It is this prediction: the job goes on with it.

    Raises:
        UsageError: it is no id, the provider does not know it or does not take it, or it cannot be the one.
        KeyRefusedError, AccountError, ProviderUnavailableError: the provider cannot be asked.
    """
    if prediction_of({"id": prediction_id}) is None:  # judged as the provider's own ids: it goes into an address
        raise UsageError(
            f"--adopt {prediction_id!r}: that is no prediction's id; one has 4 to 128 letters, digits, - and _, as the "
            "provider's list of predictions shows it; nothing was changed"
        )
    try:
        prediction = await client.result(prediction_id)
    except NotFoundError as error:
        raise UsageError(
            f"the provider knows no prediction {prediction_id} for this key; nothing was changed"
        ) from error
    except RefusedError as error:
        raise UsageError(
            f"the provider does not take prediction {prediction_id} ({error}); look at the id again; nothing was changed"
        ) from error
    except NotAllowedError as error:
        refused = AccountError if halt_of_error(error).code is ExitCode.ACCOUNT else KeyRefusedError
        raise refused(f"{error}; nothing was changed") from error
    except ProviderError as error:
        raise ProviderUnavailableError(f"{error}; nothing was changed, try again later") from error
    _check_may_be(submit, prediction)
    recorded = await queue.record_accepted(submit.attempt_id, prediction_id, "adopted")
    if recorded is not Recorded.RUNNING and recorded is not Recorded.TAKEN:
        raise UsageError(_TOO_LATE)
    if recorded is Recorded.TAKEN:
        raise UsageError(f"prediction {prediction_id} belongs to another attempt of this queue; nothing was changed")


def _check_may_be(submit: OpenSubmit, prediction: Prediction) -> None:
    attempt = open_attempt(submit)
    # Another address of the same host is another picture; that of another host may be the provider's own copy.
    verbatim = host_of(prediction.inputs.get("image")) == host_of(attempt.inputs["image"])
    if fit(attempt, prediction, _ANY_MS, verbatim=verbatim) is not Fit.NO:
        return
    made = rfc3339(prediction.created_ms) if prediction.created_ms is not None else "at an unknown time"
    raise UsageError(
        f"prediction {prediction.prediction_id} (model {prediction.model}, made {made}) cannot be the submit of "
        f"{submit.batch}/{submit.key} at {rfc3339(submit.submitted_ms)}: another model, other inputs, or made more than "
        f"{SLACK_MS // 60_000} minutes before; nothing was changed"
    )


async def void(queue: Queue, clock: Clock, submit: OpenSubmit) -> None:
    """It created nothing: its money is free, and the next run buys the job again.

    Raises:
        UsageError: its request may still be on its way.
    """
    latest_ms = until_ms(submit)
    if clock.now_ms() <= latest_ms:
        raise UsageError(
            f"the request of {submit.batch}/{submit.key} may still be on its way until {rfc3339(latest_ms)}; "
            "decide after that"
        )
    message = "void: decided by a person"
    if not await queue.record_nothing_created(
        submit.attempt_id, AttemptState.VOID, None, message, clock.now_ms(), "void"
    ):
        raise UsageError(_TOO_LATE)


async def leave(queue: Queue, submit: OpenSubmit) -> None:
    """Nobody will ever know: its money stays held, the job is not bought again unasked, and it stops nothing any more."""
    if not await queue.doubts.leave(submit.attempt_id, "left undecided by a person; its money counts as spent"):
        raise UsageError(_TOO_LATE)


def kept_clip(folder: Path, job: Job) -> Path:
    """Where the clip of a rejected job is kept."""
    return quarantine_path(folder, job.batch, job.key, job.attempt.attempt_id if job.attempt else "")


async def accept(queue: Queue, job: Job) -> None:
    """The rejected clip is good enough: it lies ready for the next run, which only gives it its name.

    Raises:
        UsageError: it is gone, or it is broken and not merely odd to look at.
    """
    folder = queue.path.resolve().parent
    file = await asyncio.to_thread(_made_ready, job, kept_clip(folder, job), folder, queue.identity.kind)
    if not await queue.doubts.accept(job, file):
        raise UsageError(_TOO_LATE)


def _made_ready(job: Job, kept: Path, folder: Path, kind: str) -> ReadyFile:
    """A copy: what was kept stays until somebody removes it. Blocks."""
    part = part_path(job.output, job.attempt.attempt_id if job.attempt else "")
    fresh = part.with_name(f"{part.name}.accepted")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept, fresh)
        poster = poster_path(folder, kind, job.batch, job.key)
        picture = partial(sent_picture, job.revision)
        facts = check_clip(fresh, job.revision.duration_s, Checks.FULL, picture=picture, poster=poster)
        file = ReadyFile(sha256=sha256_of(fresh), size_bytes=fresh.stat().st_size, facts=facts.as_json())
        flush(fresh)
        fresh.replace(part)
    except FileNotFoundError as error:
        raise UsageError(f"{kept} is gone; batchrun redo buys a new take of {job.key}") from error
    except BrokenClipError as error:
        fresh.unlink()
        raise UsageError(
            f"{kept} is no whole clip of {job.revision.duration_s} s ({error}); claim its money back with the prediction's "
            f"id, and batchrun redo buys a new take of {job.key}"
        ) from error
    return file
