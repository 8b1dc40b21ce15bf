"""A manifest's jobs held against the queue, a chunk at a time."""

import asyncio
from functools import partial
from pathlib import Path

from batchrun.errors import UsageError
from batchrun.manifest.jobs import Batch
from batchrun.manifest.spool import chunks
from batchrun.plan import Plan, check_folders, make_plan
from batchrun.queue.records import KnownBatch
from batchrun.queue.store import Queue


async def plan_of(queue: Queue | None, batch: Batch, known: KnownBatch, now_ms: int, *, is_free: bool) -> Plan:
    """What is to happen with every job. Without a queue all are new. What changes in the queue meanwhile is guarded there.

    Raises:
        UsageError: another manifest has the name.
        QueueError: the folder of finished clips is gone, as when a disk is not mounted.
    """
    await asyncio.to_thread(_check_same_manifest, batch, known.manifest)
    if queue is not None and not is_free:
        await asyncio.to_thread(check_folders, await queue.manifests.finished_in(known))
    plan = Plan()
    decide = partial(make_plan, max_attempts=batch.limits.max_attempts, is_free=is_free)
    for specs in chunks(batch.jobs):
        jobs = await queue.manifests.jobs(known, [spec.key for spec in specs]) if queue is not None else {}
        plan.extend(await asyncio.to_thread(decide, specs, jobs, now_ms))
    return plan


def _check_same_manifest(batch: Batch, known: Path | None) -> None:
    """Two manifests under one name would take turns in buying each other's jobs anew."""
    if known is not None and known != batch.path and known.exists():
        raise UsageError(
            f"{batch.path} is named {batch.name!r}, and so is {known} in this queue; give one of them another `name:`"
        )
