"""From a finished prediction to a checked clip under its name. Costs nothing; goes on until the provider's retention ends."""

import asyncio
import errno
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from batchrun.plan import RETENTION_MS
from batchrun.provider.outcome import NotAllowedError, NotFoundError, ProviderError, TryLaterError
from batchrun.queue.failures import FailureKind
from batchrun.queue.records import Job
from batchrun.run.events import Kind
from batchrun.run.first_frames import sent_picture
from batchrun.run.retry import BROKEN, DOWNLOAD
from batchrun.run.saving import halt_of_disk
from batchrun.run.sidecar import Sidecar, put_beside
from batchrun.run.tools import Carried, Ending
from batchrun.video.boxes import BrokenClipError, NoClipError
from batchrun.video.check import ClipFacts, WarnedClipError, check_clip
from batchrun.video.download import Download, PartFile, TooLargeError, flush, sha256_of
from batchrun.video.place import (
    OccupiedError,
    earlier_part_path,
    history_path,
    holds,
    part_path,
    place,
    poster_path,
    quarantine_path,
    remove_parts,
)
from batchrun.video.signs import in_words

_SAME_BYTES = 4
"""So often the very same bytes must come before the clip itself, and not its way here, is called broken."""
_RETENTION_SLACK_MS = 3_600_000


async def collect(carried: Carried) -> Ending:
    """Download, check and place the clip that is paid for."""
    part = part_path(carried.job.output, carried.attempt.attempt_id)
    try:
        if carried.job.file_sha256 is None or not await asyncio.to_thread(_is_ready, carried, part):
            await _fetch_and_check(carried, part)
        return await _place(carried, part)
    except BrokenClipError as error:
        return await _reject(carried, error)
    except NotAllowedError:
        raise
    except TooLargeError as error:
        message = f"{error}; raise limits.max_clip_mb to have it"
        return await not_to_be_had(carried, "too_large", message, passes=False)
    except ProviderError as error:
        return await not_to_be_had(carried, "download_failed", str(error))
    except OccupiedError as error:
        return await carried.put_off(FailureKind.OUTPUT_OCCUPIED, str(error))
    except OSError as error:
        return await _disk(carried, error)


async def not_to_be_had(carried: Carried, kind: str, message: str, *, passes: bool = True) -> Ending:
    """Later, or never: after the provider's retention the clip is lost."""
    attempt = carried.attempt
    age_ms = carried.tools.client.age_ms(attempt.submitted_ms, attempt.server_ahead_ms)
    if age_ms <= RETENTION_MS + _RETENTION_SLACK_MS:
        return await carried.put_off(kind, message, passes=passes)
    text = f"paid, but not to be had within the provider's seven days ({message}); ask its support"
    await carried.tools.queue.lose(carried.job, f"{text} for prediction {attempt.prediction_id}")
    carried.tell(Kind.LOST, text)
    return Ending.LOST


async def _fetch_and_check(carried: Carried, part: Path) -> None:
    """A whole, checked part file whose digest is on record.

    Raises:
        BrokenClipError: the very same bytes came again and again, and they are not a whole clip; or it looks wrong.
        TryLaterError: what comes is not a clip, or is broken differently each time.
    """
    seen: Counter[str] = Counter()
    fresh = part.with_name(f"{part.name}.{carried.tools.queue.run_id}")
    max_bytes = carried.tools.limits(carried.job.batch_id).max_clip_bytes
    download = Download(carried.tools.clock, carried.tools.http.stream, fresh, max_bytes)
    last = ""
    for downloads in range(1, BROKEN.tries + 1):
        got = await carried.free(lambda: _download(carried, download), DOWNLOAD, is_api=False)
        carried.tell(Kind.DOWNLOADED)
        try:
            facts = await carried.tools.decoders.run(_checked, got, part, carried.job, _poster_path(carried))
        except WarnedClipError:
            raise
        except NoClipError as error:  # an error page: the clip itself has not been seen yet
            last = str(error)
        except BrokenClipError as error:
            seen[got.sha256] += 1
            if seen[got.sha256] == _SAME_BYTES:
                raise
            last = str(error)
        else:
            facts = replace(facts, not_shown=carried.not_shown)
            await carried.tools.queue.file_ready(carried.job, got.sha256, got.size_bytes, facts.as_json())
            carried.job = replace(carried.job, file_sha256=got.sha256)
            carried.tell(Kind.CHECKED)
            if facts.warnings:
                carried.tell(Kind.WARNED, in_words(facts.warnings))
            if carried.tools.book is not None:
                await carried.tools.book.add(carried.job, carried.attempt.attempt_id, part)
            return
        carried.fresh_url = False
        await carried.tools.clock.sleep(BROKEN.wait_s(downloads, carried.tools.chance.random()))
    raise TryLaterError(f"download: {last}")


async def _download(carried: Carried, download: Download) -> PartFile:
    """From the known address, or from a fresh one where that does not work any more."""
    attempt, tools = carried.attempt, carried.tools
    if carried.fresh_url and attempt.output_url:
        try:
            return await download.fetch(attempt.output_url)
        except NotFoundError:
            carried.fresh_url = False
    try:
        prediction = await tools.client.result(attempt.prediction_id or "")
    except NotFoundError as error:  # it is paid for: a 404 proves nothing, and may be gone at the next try
        raise TryLaterError(str(error)) from error
    if not prediction.outputs:
        raise TryLaterError("download: the provider names no output")
    url = prediction.outputs[0]
    if url != attempt.output_url:
        await tools.queue.record_output_url(attempt.attempt_id, url)
        carried.job = replace(carried.job, attempt=replace(attempt, output_url=url))
    carried.fresh_url, carried.not_shown = True, prediction.not_shown
    try:
        return await download.fetch(url)
    except NotFoundError as error:
        raise TryLaterError(str(error)) from error


def _poster_path(carried: Carried) -> Path:
    return poster_path(carried.tools.folder, carried.tools.kind, carried.job.batch, carried.job.key)


def _checked(got: PartFile, part: Path, job: Job, poster: Path) -> ClipFacts:
    """Check, flush, and give the part file the name under which a later run finds it. Blocks."""
    picture = partial(sent_picture, job.revision)
    try:
        facts = check_clip(got.path, job.revision.duration_s, job.checks, picture=picture, poster=poster)
    except BrokenClipError:
        if sha256_of(got.path) != got.sha256:  # the clip is as good as it was: this disk is not
            raise OSError(errno.EIO, "the disk gives back other bytes than were written", str(got.path)) from None
        raise
    flush(got.path)
    got.path.replace(part)
    return facts


def _is_ready(carried: Carried, part: Path) -> bool:
    """An earlier run has checked the file and was stopped before or after giving it its name. Blocks."""
    job = carried.job
    with suppress(OSError):  # no such file, as a rule
        earlier_part_path(job.output, carried.attempt.attempt_id).replace(part)
    return holds(part, job.file_sha256) or holds(job.output, job.file_sha256)


async def _place(carried: Carried, part: Path) -> Ending:
    job = carried.job
    history = history_path(carried.tools.folder, job.batch, job.key, job.placed_sha256)
    return await carried.keep(_place_and_finish(carried, part, history))


async def _place_and_finish(carried: Carried, part: Path, history: Path) -> Ending:
    job, sidecars = carried.job, carried.tools.sidecars
    trouble = await asyncio.to_thread(_put, part, job, history, await sidecars.of(job))
    carried.tell(Kind.PLACED)
    sidecars.tell(job, trouble)
    await carried.tools.queue.finish(job)
    if carried.was_downloading:  # only then: it looks through the whole folder
        await asyncio.to_thread(remove_parts, job.output, carried.attempt.attempt_id)
    carried.tell(Kind.DONE)
    return Ending.DONE


def _put(part: Path, job: Job, history: Path, sidecar: Sidecar | None) -> str | None:
    """Clip and sidecar under their names. Why there is no sidecar, if so. Blocks. Raises OccupiedError, OSError."""
    place(part, job.output, job.file_sha256 or "", job.placed_sha256, history)
    return put_beside(job.output, sidecar)


async def _reject(carried: Carried, error: BrokenClipError) -> Ending:
    job = carried.job
    part = part_path(job.output, carried.attempt.attempt_id)
    kept = quarantine_path(carried.tools.folder, job.batch, job.key, carried.attempt.attempt_id)
    try:
        await asyncio.to_thread(_keep_rejected, part.with_name(f"{part.name}.{carried.tools.queue.run_id}"), kept)
    except OSError as trouble:
        return await _disk(carried, trouble)
    kind, facts = FailureKind.BROKEN_CLIP, None
    if isinstance(error, WarnedClipError):
        kind, facts = FailureKind.WARNED_CLIP, error.facts.as_json()
    await carried.tools.queue.reject(job, kind, f"{error}; kept as {kept}", facts)
    await asyncio.to_thread(remove_parts, job.output, carried.attempt.attempt_id)
    carried.tell(Kind.REJECTED, str(error))
    return Ending.REJECTED


def _keep_rejected(part: Path, kept: Path) -> None:
    """Quarantine may lie on another file system than the videos. Blocks."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(part, kept)
    flush(kept)


async def _disk(carried: Carried, error: OSError) -> Ending:
    halt = halt_of_disk(carried.job.output, error)
    if halt is not None:
        carried.tools.halt(halt)  # what is paid for is collected on; nothing more is bought that could not be saved
    return await carried.put_off("disk", f"{carried.job.output} cannot be written: {error.strerror or error}")
