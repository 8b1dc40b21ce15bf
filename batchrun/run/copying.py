"""What the queue knows of a request under any name: a clip is copied, one under way is waited for, an end is an end.

A clip whose bytes are nowhere on disk is fetched again while the provider has it, and after that a matter for a person.
"""

import asyncio
import errno
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from batchrun.files import where_missing
from batchrun.manifest.jobs import Checks
from batchrun.plan import RETENTION_MS
from batchrun.queue.failures import FailureKind, ends_the_request
from batchrun.queue.records import Job, Twin
from batchrun.run.events import Kind
from batchrun.run.first_frames import sent_picture
from batchrun.run.saving import halt_of_disk
from batchrun.run.sidecar import put_beside
from batchrun.run.tools import Carried, Ending
from batchrun.video.boxes import BrokenClipError
from batchrun.video.check import check_clip
from batchrun.video.download import flush, sha256_of
from batchrun.video.place import OccupiedError, history_path, is_foreign, part_path, place, poster_path

_PAID = "paid"
_LOOK_AGAIN_MS = 1000
_NEXT_RUN_MS = 3_600_000


async def copy_twin(carried: Carried) -> Ending | None:
    """End the job without money, where the queue knows its request under any name; None when it must be bought."""
    twins = await carried.tools.queue.twins.of(carried.job)
    bought = [twin for twin in twins if twin.clip_sha256 is not None]
    try:
        ending = await _had_again(carried, bought)
    except (OccupiedError, OSError):
        return None  # said where the job would be bought, which nobody does: its request stands before it
    if ending is not None:
        return ending
    open_twins = [twin for twin in twins if twin.clip_sha256 is None and twin.failure_kind is None]
    if open_twins:
        return await wait_for_twin(carried, open_twins)
    if bought:
        return await _gone(carried, bought)
    for twin in twins:
        if twin.failure_kind is not None and ends_the_request(twin.failure_kind, twin.failed_attempts):
            return await _fail_like(carried, twin, twin.failure_kind)
    return None


async def _had_again(carried: Carried, bought: Sequence[Twin]) -> Ending | None:
    """From the disk, or else from the provider; None when neither has the clip. Raises OccupiedError."""
    trouble: tuple[Twin, OSError] | None = None
    for twin in bought:
        try:
            if await _copied(carried, twin):
                return Ending.DONE
        except BrokenClipError as error:
            return await _refused(carried, twin, error)
        except OSError as error:
            trouble = trouble or (twin, error)
            if halt_of_disk(carried.job.output, error) is not None:
                break
    if trouble is not None:  # of that one name perhaps, and no other had the clip
        return await _not_now(carried, *trouble)
    return await _fetched_again(carried) if bought and carried.tools.kind == _PAID else None


async def _fetched_again(carried: Carried) -> Ending | None:
    """While the provider still has the clip, the job is collected like any that is paid for. Raises OccupiedError."""
    job, tools = carried.job, carried.tools
    if await asyncio.to_thread(is_foreign, job.output, job.placed_sha256):
        raise OccupiedError
    name = await tools.queue.twins.take_kept_clip(job, tools.clock.now_ms() - RETENTION_MS)
    if name is None:
        return None
    carried.tell(Kind.FETCHED_AGAIN, f"bought as {name}, whose file is gone: fetched again")
    return Ending.TO_COLLECT


async def _gone(carried: Carried, bought: Sequence[Twin]) -> Ending | None:
    """The bytes are nowhere any more. What cost money is not bought again unasked; a preview is made again."""
    if carried.tools.kind != _PAID:
        carried.spurned = frozenset(twin.job_id for twin in bought)
        return None
    twin, key = bought[0], carried.job.key
    message = (
        f"bought as {twin.batch}/{twin.key}, but its file is gone or was changed: put it back, or buy a new one with "
        f"`batchrun redo MANIFEST {key}`"
    )
    await carried.tools.queue.fail_unbought(carried.job, FailureKind.CLIP_GONE, message)
    carried.tell(Kind.FAILED, message)
    return Ending.FAILED


async def _fail_like(carried: Carried, twin: Twin, kind: str) -> Ending:
    name = "before" if twin.job_id == carried.job.job_id else f"as {twin.batch}/{twin.key}"
    message = f"not bought again: the same request failed {name}: {twin.failure_message or kind}"
    await carried.tools.queue.fail_unbought(carried.job, kind, message)
    carried.tell(Kind.FAILED, message)
    return Ending.FAILED


async def wait_for_twin(carried: Carried, twins: Sequence[Twin] = ()) -> Ending:
    """Come back in a moment: the same clip is being bought for another job. Or in the next run, when it is stuck."""
    now_ms = carried.tools.clock.now_ms()
    moves = not twins or any(twin.not_before_ms is not None and twin.not_before_ms <= now_ms for twin in twins)
    later_ms = now_ms + (_LOOK_AGAIN_MS if moves else _NEXT_RUN_MS)
    name = f"{twins[0].batch}/{twins[0].key}" if twins else "another job"
    await carried.tools.queue.put_off(carried.job, later_ms, "twin", f"waits for the same clip of {name}")
    return Ending.AGAIN


async def _copied(carried: Carried, twin: Twin) -> bool:
    """False when there are no such bytes any more.

    Raises:
        OccupiedError: a file that this queue did not write stands under the job's name.
        BrokenClipError: the twin's clip is no clip for this job.
        OSError: a disk, on this side or on the twin's; the clip may well be there.
    """
    job, tools = carried.job, carried.tools
    poster = poster_path(tools.folder, tools.kind, job.batch, job.key)
    whole = await tools.decoders.run(_copy, job, twin, tools.folder, poster)
    if whole:
        await carried.keep(_finish(carried, twin))
    return whole


async def _not_now(carried: Carried, twin: Twin, error: OSError) -> Ending:
    """Trouble with a disk is no reason to buy what is paid for."""
    halt = halt_of_disk(carried.job.output, error)
    if halt is not None:
        carried.tools.halt(halt)
    text = f"the clip of {twin.batch}/{twin.key} cannot be copied to {carried.job.output}: {error.strerror or error}"
    return await carried.put_off("disk", text)


async def _refused(carried: Carried, twin: Twin, error: BrokenClipError) -> Ending:
    """Buying the very same clip again, unasked, is what must not happen; nor may a strict batch take it."""
    message = f"the same clip was bought for {twin.batch}/{twin.key}; {error}"
    await carried.tools.queue.fail_unbought(carried.job, FailureKind.REJECTED_TWIN, message)
    carried.tell(Kind.FAILED, message)
    return Ending.FAILED


async def _finish(carried: Carried, twin: Twin) -> None:
    job, sidecars = carried.job, carried.tools.sidecars
    sidecars.tell(job, await asyncio.to_thread(put_beside, job.output, await sidecars.of(job, twin)))
    await carried.tools.queue.twins.copied(job, twin)
    carried.tell(Kind.DONE, f"copied from {twin.batch}/{twin.key}")


def _copy(job: Job, twin: Twin, folder: Path, poster: Path) -> bool:
    """Whether the twin's very bytes stand under the job's name now. Blocks. Raises BrokenClipError."""
    sha256 = twin.clip_sha256 or ""
    part = part_path(job.output, f"copy-{job.job_id}")
    is_unmounted = _may_be_unmounted(twin.output.parent, job.output)  # before a folder is made beside it
    part.parent.mkdir(parents=True, exist_ok=True)
    # In this order: a clip that is being replaced is in the history before its name is taken.
    trouble: OSError | None = None
    for source in (twin.output, history_path(folder, twin.batch, twin.key, sha256)):
        try:
            if _taken(source, part, sha256):
                flush(part)
                break
        except OSError as error:
            trouble = error
    else:
        if trouble is None and is_unmounted:
            trouble = FileNotFoundError(errno.ENOENT, f"the folder {twin.output.parent} is gone; is its disk mounted?")
        if trouble is not None:
            raise trouble
        return False
    # Only `strict` asks more of a clip than what its twin's facts say already; the others need just a poster
    checks = Checks.STRICT if job.checks is Checks.STRICT else Checks.QUICK
    try:
        check_clip(part, job.revision.duration_s, checks, picture=partial(sent_picture, job.revision), poster=poster)
    except BrokenClipError:
        part.unlink()
        raise
    history = history_path(folder, job.batch, job.key, job.placed_sha256)
    place(part, job.output, sha256, job.placed_sha256, history)
    return True


def _may_be_unmounted(folder: Path, beside: Path) -> bool:
    """Whether a folder is gone, and not just deleted from the place where another clip's is to be. Blocks."""
    if folder.exists():
        return False
    above, missing = where_missing(folder)
    is_shared = (
        above in beside.parents and above != above.parent and any(above.iterdir())
    )  # an empty one: a mount point
    return missing.is_symlink() or not is_shared


def _taken(source: Path, part: Path, sha256: str) -> bool:
    """Whether the part file holds the wanted bytes now, from this source."""
    if not source.is_file():  # also a link to a device, which may have no end
        return False
    try:
        shutil.copyfile(source, part)
    except FileNotFoundError:
        return False
    if sha256_of(part) == sha256:
        return True
    part.unlink()
    return False
