"""Queues for the tests of the store: jobs without pictures or pools."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC
from itertools import count
from pathlib import Path

from batchrun.manifest.fingerprint import Content, fingerprint
from batchrun.manifest.jobs import ID_MARK, Batch, Caps, JobSpec, Limits
from batchrun.manifest.pictures import Picture
from batchrun.plan import intakes
from batchrun.queue.leases import ClaimScope
from batchrun.queue.records import Cap, Job, Pace, Scope, SubmitRequest
from batchrun.queue.store import Queue
from batchrun.run.planning import plan_of
from tests.clocks import StillClock

ORIGIN = "https://api.example:443"
ANY_PRICE = 2**60
PACE = Pace(concurrency=1000, per_minute=100_000, max_unknown=1000, stuck_after_ms=3_600_000, send_within_s=30)
_ids = count()


def new_id() -> str:
    return f"{next(_ids):016x}"


def spec(
    key: str, folder: Path, *, prompt: str = "x", price: int = 250_000, priority: int = 0, position: int = 0
) -> JobSpec:
    model, sha256 = "kwaivgi/kling-v1.6-i2v-standard", hashlib.sha256(key.encode()).hexdigest()
    return JobSpec(
        key=key,
        position=position,
        prompt=prompt,
        negative_prompt="",
        guidance_hundredths=50,
        duration_s=5,
        image_path=folder / f"{key}.png",
        image_url=None,
        picture=Picture(sha256, 1, 400, 400, "image/png"),
        priority=priority,
        tags=(),
        output_pattern=str(folder / "out" / f"{ID_MARK}.mp4"),
        price_usd_micros=price,
        model=model,
        fingerprint=fingerprint(Content(model, prompt, "", 50, 5, sha256, None)),
    )


def batch(folder: Path, specs: list[JobSpec], name: str = "shop") -> Batch:
    placed = tuple(one._replace(position=at) for at, one in enumerate(specs))
    limits = Limits(concurrency=1, per_minute=1)
    return Batch(path=folder / f"{name}.yaml", name=name, model=specs[0].model, limits=limits, caps=Caps(), jobs=placed)


@asynccontextmanager
async def opened(folder: Path, clock: StillClock, name: str = "queue.db") -> AsyncIterator[Queue]:
    queue = await Queue.open(folder / name, clock, kind="paid", origin=ORIGIN, new_id=new_id)
    await queue.start_run()
    try:
        yield queue
    finally:
        await queue.close()


async def take_in(queue: Queue, one: Batch) -> ClaimScope:
    """Read a batch into the queue as a run does."""
    known = await queue.manifests.known(one.name)
    plan = await plan_of(queue, one, known, queue._clock.now_ms(), is_free=True)
    batch_id = await queue.manifests.swap_in(one, known, intakes(plan))
    return ClaimScope(batch_id, ANY_PRICE)


def request(job: Job, *caps: Cap, price: int | None = None) -> SubmitRequest:
    return SubmitRequest(
        job_id=job.job_id,
        batch_id=job.batch_id,
        revision_id=job.revision.revision_id,
        attempt_id=new_id(),
        price_usd_micros=job.price_usd_micros if price is None else price,
        image_url="https://media.example/a.png",
        priority=job.priority,
        caps=caps,
        zone=UTC,
    )


def budget(job: Job, limit: int) -> Cap:
    return Cap(name="budget", scope=Scope(batch_id=job.batch_id), limit_usd_micros=limit)


def daily(job: Job, limit: int) -> Cap:
    return Cap(name="daily", scope=Scope(batch_id=job.batch_id, day="today"), limit_usd_micros=limit)
