"""One job, from the state in which it is found to its end: upload, submit, wait, download, check.

There is no separate way to resume: a claim hands out any unfinished job, and the worker goes on from there.
"""

import asyncio
from dataclasses import replace

from batchrun.errors import LostLeaseError
from batchrun.provider.outcome import Progress, RefusalKind
from batchrun.queue.failures import FailureKind, may_try_again
from batchrun.queue.states import JobState
from batchrun.run.buying import buy
from batchrun.run.collecting import collect, not_to_be_had
from batchrun.run.events import Kind
from batchrun.run.halts import halt_of_refusal
from batchrun.run.latencies import ClipKind
from batchrun.run.poller import Ended, StuckError
from batchrun.run.retry import failure_kind
from batchrun.run.tools import Carried, Ending


async def carry(carried: Carried) -> Ending:
    """Work on the job until there is nothing left to do for it now.

    Cancelling is safe at every await: what the provider answered is written down first.
    """
    try:
        ending: Ending | None = None
        while ending is None:
            ending = await _step(carried)
    except LostLeaseError as error:
        carried.tell(Kind.LEASE_LOST, str(error))
        return Ending.GONE
    return ending


async def _step(carried: Carried) -> Ending | None:
    match carried.job.state:
        case JobState.QUEUED:
            return await buy(carried)
        case JobState.SUBMITTING:
            return await _left_behind(carried)
        case JobState.RUNNING:
            return await _wait(carried)
        case JobState.DOWNLOADING:
            return await collect(carried)
        case _:
            await carried.tools.queue.release(carried.job)
            return Ending.UNKNOWN


async def _left_behind(carried: Carried) -> Ending:
    """An earlier run died between writing the intent and writing the answer: nobody knows what became of it."""
    message = "the run ended while the submit was under way"
    await carried.tools.queue.record_unknown(carried.attempt.attempt_id, message)
    carried.tell(Kind.UNKNOWN, message)
    return Ending.UNKNOWN


async def _wait(carried: Carried) -> Ending | None:
    attempt = carried.attempt
    try:
        ended = await carried.tools.poller.wait(attempt.prediction_id or "", attempt.submitted_ms, _kind(carried))
    except StuckError as error:
        return await not_to_be_had(carried, "stuck", f"{error}; its money stays held")
    return await carried.keep(_ended(carried, ended))


def _kind(carried: Carried) -> ClipKind:
    return ClipKind(carried.job.revision.model, carried.job.revision.duration_s)


async def _ended(carried: Carried, ended: Ended) -> Ending | None:
    """Completed is paid, whatever is missing; only a failed task may be bought again."""
    attempt, tools, prediction = carried.attempt, carried.tools, ended.prediction
    if prediction.progress is Progress.COMPLETED:
        url = prediction.outputs[0] if prediction.outputs else None
        completed = tools.queue.record_completed(attempt.attempt_id, prediction.status_word, url)
        await asyncio.gather(completed, _learn(carried, ended.took_s))  # one commit
        tools.starter.slot_freed()
        carried.tell(Kind.COMPLETED)
        carried.fresh_url, carried.not_shown = True, prediction.not_shown
        attempt = replace(attempt, output_url=url)
        carried.job = replace(carried.job, state=JobState.DOWNLOADING, attempt=attempt)
        return None
    kind = failure_kind(prediction.status_word, prediction.code)
    message = prediction.error or f"the provider says {prediction.status_word!r} without a reason"
    if prediction.code:
        message = f"{message} (code {prediction.code})"
    if kind is FailureKind.NO_CREDIT:
        tools.halt(halt_of_refusal(RefusalKind.CREDIT, message))
    at_most = tools.limits(carried.job.batch_id).max_attempts
    again = may_try_again(kind, carried.job.failed_attempts + 1, at_most)
    retry_ms = tools.clock.now_ms() + 1000 if again else None
    await tools.queue.record_failed(
        attempt.attempt_id, prediction.status_word, prediction.code, message, retry_ms, kind
    )
    tools.starter.slot_freed()
    carried.tell(Kind.TASK_FAILED if again else Kind.FAILED, message)
    return Ending.AGAIN if again else Ending.FAILED


async def _learn(carried: Carried, took_s: float | None) -> None:
    if took_s is not None:
        await carried.tools.queue.record_latency(carried.tools.poller.latencies.learn(_kind(carried), took_s))
