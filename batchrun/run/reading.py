"""Manifests as they are read now, against the queue: planned, agreed to, and put in place."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from batchrun.clock import Clock
from batchrun.errors import StorageError, UsageError
from batchrun.manifest.jobs import Batch
from batchrun.plan import Plan, Selection, intakes
from batchrun.queue.intake import OutputTakenError, StalePlanError
from batchrun.queue.records import KnownBatch
from batchrun.queue.store import Queue
from batchrun.run.consent import Rerun, agreed, asked_only
from batchrun.run.planning import plan_of
from batchrun.run.terms import Options

_PLANS = 30
"""Readings of one manifest that may get in each other's way before it is an error: one of them gets through each time."""
_PAUSE_S = 0.1


class OldReadingError(UsageError):
    """A manifest is no longer as it was read: read it again."""


@dataclass(frozen=True, slots=True)
class _Planned:
    """What the queue knows of a batch, and the plan by it."""

    known: KnownBatch
    plan: Plan


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

    async def swap_all_in(self, batches: Sequence[Batch]) -> AsyncIterator[tuple[Batch, int, Plan]]:
        """Put them all in place, each with its batch's id; who waits for a path of a row that moves comes after its manifest.

        Raises:
            OutputTakenError: a path belongs to a row that stays where it is.
            OldReadingError: one of them has changed.
            StorageError: other runs keep getting in the way.
        """
        line, waiting = deque(batches), 0
        while line:
            batch = line.popleft()
            try:
                batch_id, plan = await self.swap_in(batch)
            except OutputTakenError:
                if waiting == len(line):
                    raise
                line.append(batch)
                waiting += 1
                continue
            waiting = 0
            yield batch, batch_id, plan

    async def swap_in(self, batch: Batch) -> tuple[int, Plan]:
        """Put the reading in place; plan again when another run has read the manifest meanwhile.

        Returns:
            The batch's id, and the plan without what nobody has asked for or agreed to.

        Raises:
            OldReadingError: what it says now may be in place already, by another run.
            StorageError: other runs keep getting in the way.
        """
        for tries in range(1, _PLANS + 1):
            known, plan = self._plans[batch.name].known, await self._wanted(batch)
            self._plans[batch.name] = _Planned(known, plan)
            await asyncio.to_thread(_check_is_newest, batch)  # not earlier: a person may have been asked for minutes
            with suppress(StalePlanError):
                return await self._queue.manifests.swap_in(batch, known, intakes(plan)), plan
            await self._clock.sleep(_PAUSE_S * tries)
            self._plans[batch.name] = await self._plan(batch)
        raise StorageError(f"{batch.path}: other runs keep reading this manifest; try again when they have ended")

    async def _plan(self, batch: Batch) -> _Planned:
        known = await self._queue.manifests.known(batch.name)
        is_free = self._options.kind != "paid"
        return _Planned(known, await plan_of(self._queue, batch, known, self._clock.now_ms(), is_free=is_free))

    async def _wanted(self, batch: Batch) -> Plan:
        plans = {name: one.plan for name, one in self._plans.items()}
        if self._options.kind != "paid":
            return plans[batch.name]
        plan = (await asyncio.to_thread(asked_only, plans, self._selection))[batch.name]
        return await agreed(self._queue, self._clock, batch, plan, self._options.agree, self._asked)


def _check_is_newest(batch: Batch) -> None:
    """An older reading over a newer one would buy what nobody asks for any more, by budgets that are no longer true."""
    if (shown := batch.changed()) is not None:
        raise OldReadingError(f"{shown} changes again and again while it is read; run again when it is written")
