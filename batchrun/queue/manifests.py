"""What manifests and the queue know of each other: looked up for a plan, and swapped in as the plan says."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from batchrun.manifest.jobs import Batch
from batchrun.queue.access import Access
from batchrun.queue.intake import Intake, begin_incoming, incoming, swap_generation
from batchrun.queue.records import KnownBatch, KnownJob
from batchrun.queue.rows import known_job_of
from batchrun.queue.script import ask, ask_one, run_all


class Manifests:
    """The part of the queue that plans work with."""

    def __init__(
        self, access: Access, stored_path: Callable[[Path], str], real_text: Callable[[str], str], run_id: str
    ) -> None:
        self._access = access
        self._stored_path = stored_path
        self._real_text = real_text
        self._run_id = run_id

    async def known(self, name: str) -> KnownBatch:
        """What the queue knows of the batch of this name, without its jobs; nothing of a new one."""
        row = await self._access.read(lambda: ask_one("find_batch", name=name))
        if row is None:
            return KnownBatch()
        return KnownBatch(row["batch_id"], Path(self._real_text(row["manifest"])), row["generation"])

    async def jobs(self, batch: KnownBatch, keys: Sequence[str]) -> dict[str, KnownJob]:
        """Those of these jobs that the queue knows, by job id."""
        if batch.batch_id is None:
            return {}
        params = {"batch_id": batch.batch_id, "run_id": self._run_id, "now_ms": self._access.clock.now_ms()}
        rows = await self._access.read(lambda: ask("known_jobs", keys=json.dumps(keys), **params))
        return {row["key"]: known_job_of(row, self._real_text) for row in rows}

    async def finished_in(self, batch: KnownBatch) -> Mapping[Path, int]:
        """How many finished clips the queue knows in each folder."""
        rows = await self._access.read(
            lambda: ask("finished_folders", batch_id=batch.batch_id, generation=batch.generation)
        )
        return {Path(self._real_text(row["folder"])): row["jobs"] for row in rows}

    async def swap_in(self, batch: Batch, known: KnownBatch, intakes: Iterable[Intake]) -> int:
        """Put a manifest's reading in place; see `intake.swap_generation`."""
        await self._access.run(begin_incoming)
        rest = incoming(intakes, self._stored_path)
        while rows := await asyncio.to_thread(next, rest, None):
            await self._access.run(partial(run_all, "add_incoming", rows))
        about = {
            "manifest": self._stored_path(batch.path),
            "campaign": batch.caps.campaign,
            "checks": batch.checks.value,
            "caps": batch.caps.as_text,
        }
        seen, left, now_ms = known.generation, await self._left_batches(), self._access.clock.now_ms()
        return await self._access.run(
            lambda: swap_generation(batch.name, about, seen, left, now_ms, self._real_text, self._run_id)
        )

    async def _left_batches(self) -> list[int]:
        """Those whose manifest is gone: renamed, most likely."""
        rows = await self._access.read(lambda: ask("list_batches"))
        paths = {row["batch_id"]: Path(self._real_text(row["manifest"])) for row in rows}
        return await asyncio.to_thread(lambda: [batch_id for batch_id, path in paths.items() if not path.exists()])
