"""Clips of submits that were given up and exist after all, while their job was bought again: paid for, so kept, apart."""

from pathlib import Path
from typing import NamedTuple

from batchrun.errors import BatchrunError
from batchrun.plan import RETENTION_MS
from batchrun.provider.outcome import Prediction, Progress, ProviderError, TryLaterError
from batchrun.queue.records import LateAttempt
from batchrun.run.events import Event, Kind
from batchrun.run.mistakes import REPORT_IT, described
from batchrun.run.retry import failure_kind
from batchrun.run.tools import Tools
from batchrun.video.boxes import BrokenClipError
from batchrun.video.check import check_clip
from batchrun.video.download import Download, flush, flush_names
from batchrun.video.place import late_path, part_path


async def collect_late(tools: Tools) -> bool:
    """Look once at each of them. Whether one is worked on still, and worth waiting for."""
    waiting = False
    for late in await tools.queue.doubts.late_attempts():
        try:
            seen = await _look(tools, late)
        except (ProviderError, OSError) as error:
            await _not_now(tools, late, str(error))
            continue
        except BatchrunError:
            raise
        except Exception as error:  # noqa: BLE001  # a mistake of ours: this clip's, and not the run's
            text = f"late clip of {late.prediction_id}: {described(error, tools.http.without_key)}; {REPORT_IT}"
            seen = _Seen(told=Event(Kind.NOTE, late.batch, late.key, text))
        waiting |= seen.is_worked_on
        if seen.told is not None:
            tools.observer(seen.told)
    return waiting


class _Seen(NamedTuple):
    """What a look at one of them has shown."""

    is_worked_on: bool = False
    """And worth waiting for."""
    told: Event | None = None


async def _look(tools: Tools, late: LateAttempt) -> _Seen:
    prediction = await tools.client.result(late.prediction_id)
    if prediction.progress is Progress.RUNNING:
        age_s = (tools.clock.now_ms() - late.submitted_ms) / 1000
        return _Seen(is_worked_on=age_s < tools.poller.stuck_after_s)
    if prediction.progress is Progress.FAILED:
        kind = failure_kind(prediction.status_word, prediction.code)
        await tools.queue.record_failed(
            late.attempt_id, prediction.status_word, prediction.code, prediction.error, None, kind
        )
        return _Seen()
    where = await _keep(tools, late, prediction)
    url = prediction.outputs[0]
    await tools.queue.record_completed(late.attempt_id, prediction.status_word, url)
    return _Seen(told=Event(Kind.LATE_CLIP, late.batch, late.key, str(where)))


async def _not_now(tools: Tools, late: LateAttempt, message: str) -> None:
    """The next run looks again, until the provider's retention is over."""
    if tools.client.age_ms(late.submitted_ms, late.server_ahead_ms) > RETENTION_MS:
        await tools.queue.record_completed(late.attempt_id, "gone", None)
        await tools.queue.doubts.late_untold(late.attempt_id)
        tools.observer(Event(Kind.LATE_LOST, late.batch, late.key, f"late clip of {late.prediction_id}: {message}"))


async def _keep(tools: Tools, late: LateAttempt, prediction: Prediction) -> Path:
    """Download and check it. Raises ProviderError when it cannot be had now."""
    if not prediction.outputs:
        raise TryLaterError("late clip: the provider names no output")
    final = late_path(tools.folder, late.batch, late.key, late.attempt_id)
    part = part_path(final, tools.queue.run_id)
    got = await Download(tools.clock, tools.http.stream, part).fetch(prediction.outputs[0])
    try:
        await tools.decoders.run(_place, got.path, final, late.duration_s)
    except BrokenClipError as error:
        raise TryLaterError(f"late clip: {error}") from error
    return final


def _place(part: Path, final: Path, duration_s: int) -> None:
    """Blocks."""
    check_clip(part, duration_s)
    flush(part)
    part.replace(final)
    flush_names(final.parent)
