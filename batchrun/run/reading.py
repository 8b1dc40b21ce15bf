"""Manifests as they are read now, against the queue: planned, agreed to, and put in place."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from batchrun.clock import Clock
from batchrun.errors import StorageError, UsageError
from batchrun.manifest.jobs import Batch
from batchrun.plan import Planned, Reason, Selection, intakes, make_plan
from batchrun.queue.intake import StalePlanError
from batchrun.queue.records import KnownBatch
from batchrun.queue.store import Queue
from batchrun.run.consent import Rerun, agreed, asked_only, is_rerun
from batchrun.run.terms import Options

_PLANS = 5
"""Readings of one manifest that may get in each other's way before it is an error."""


@dataclass(frozen=True, slots=True)
class _Planned:
    """What the queue knows of a batch, and the plan by it."""

    known: KnownBatch
    plan: Sequence[Planned]


class Reading:
    """The manifests of one run. All are planned before the first is put in place: `--limit` counts over all of them."""

    def __init__(
        self, queue: Queue, clock: Clock, options: Options, selection: Selection, asked: dict[Rerun, bool]
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._options = options
        self._selection = selection
        self._asked = asked
        self._plans: dict[str, _Planned] = {}

    async def look(self, batches: Sequence[Batch]) -> None:
        """Plan them all. Raises UsageError, QueueError."""
        for batch in batches:
            self._plans[batch.name] = await self._plan(batch)

    async def swap_in(self, batch: Batch) -> tuple[int, list[Planned]]:
        """Put the reading in place; plan again when another run has read the manifest meanwhile.

        Returns:
            The batch's id, and the plan without what nobody has asked for or agreed to.

        Raises:
            StorageError: other runs keep getting in the way.
        """
        for _ in range(_PLANS):
            known, plan = self._plans[batch.name].known, await self._wanted(batch)
            self._plans[batch.name] = _Planned(known, plan)
            reruns = [one.known.job_id for one in plan if one.known is not None and (is_rerun(one) or _goes_on(one))]
            with suppress(StalePlanError):
                moves = intakes(plan, self._queue.stored_path)
                return await self._queue.swap_generation(batch, known, moves, reruns), plan
            self._plans[batch.name] = await self._plan(batch)
        raise StorageError(f"{batch.path}: other runs keep reading this manifest; try again when they have ended")

    async def _plan(self, batch: Batch) -> _Planned:
        known = await self._queue.known_batch(batch.name)
        _check_same_manifest(batch, known.manifest)
        is_free, most = self._options.kind != "paid", batch.limits.max_attempts
        work = partial(make_plan, batch.jobs, known.jobs, self._clock.now_ms(), max_attempts=most, is_free=is_free)
        return _Planned(known, await asyncio.to_thread(work))

    async def _wanted(self, batch: Batch) -> list[Planned]:
        plans = {name: one.plan for name, one in self._plans.items()}
        if self._options.kind != "paid":
            return list(plans[batch.name])
        plan = asked_only(plans, self._selection)[batch.name]
        return await agreed(self._queue, self._clock, batch, plan, self._options.agree, self._asked)


def _goes_on(planned: Planned) -> bool:
    """Its other clip was bought by a run that was allowed to; should the attempt fail, this run may try again."""
    return planned.reason is Reason.IN_FLIGHT and planned.known is not None and planned.known.unagreed


def _check_same_manifest(batch: Batch, known: Path | None) -> None:
    """Two manifests under one name would take turns in buying each other's jobs anew."""
    if known is not None and known != batch.path and known.exists():
        raise UsageError(
            f"{batch.path} is named {batch.name!r}, and so is {known} in this queue; give one of them another `name:`"
        )
