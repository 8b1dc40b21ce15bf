"""One request under many names: what the queue knows of it, and how a job gets the clip that was bought for another."""

from collections.abc import Callable
from pathlib import Path

from batchrun.queue.access import Access
from batchrun.queue.leases import guarded
from batchrun.queue.records import Job, Twin
from batchrun.queue.rows import twin_of
from batchrun.queue.script import Script, ask, ask_one
from batchrun.queue.submits import TWINS


class Twins:
    """The part of the queue that copying works with."""

    def __init__(self, access: Access, real_path: Callable[[str], Path], run_id: str) -> None:
        self._access = access
        self._real_path = real_path
        self._run_id = run_id

    async def of(self, job: Job) -> list[Twin]:
        """What became, or is becoming, of this very request under any name: clips first, then what is under way."""
        params = {"job_id": job.job_id, "revision_id": job.revision.revision_id, "count": TWINS}
        return [twin_of(row, self._real_path) for row in await self._access.read(lambda: ask("twins", **params))]

    async def copied(self, job: Job, twin: Twin) -> None:
        """The twin's clip stands under this job's name too. Raises LostLeaseError."""
        about = {"sha256": twin.clip_sha256, "size_bytes": twin.size_bytes, "facts": twin.facts}
        moment = {"run_id": self._run_id, "now_ms": self._access.clock.now_ms()}
        await self._access.run(lambda: guarded("job_copied", job_id=job.job_id, **about, **moment))

    async def take_kept_clip(self, job: Job, kept_since_ms: int) -> str | None:
        """Let the job be collected, by anybody, from a prediction that brought this very clip under any name.

        Returns:
            That name; None when nothing is left that was finished after `kept_since_ms`.

        Raises:
            LostLeaseError: the job is no longer held by this run.
        """
        now_ms = self._access.clock.now_ms()
        return await self._access.run(lambda: take_kept_clip(job, kept_since_ms, self._run_id, now_ms))


def take_kept_clip(job: Job, kept_since_ms: int, run_id: str, now_ms: int) -> Script[str | None]:
    """See `Twins.take_kept_clip`."""
    row = yield from ask_one("kept_attempt", revision_id=job.revision.revision_id, kept_since_ms=kept_since_ms)
    if row is None:
        return None
    yield from guarded("job_takes_clip", job_id=job.job_id, attempt_id=row["attempt_id"], run_id=run_id, now_ms=now_ms)
    return f"{row['batch']}/{row['key']}"
