"""What a run is asked for beyond "everything": some jobs, a few of them first, and only what is ready in time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from batchrun.clock import rfc3339
from batchrun.errors import UsageError
from batchrun.manifest.jobs import Limits
from batchrun.plan import BUYS, Planned, Selection, select
from batchrun.queue.leases import ClaimScope
from batchrun.queue.store import Queue
from batchrun.run.forecast import duration_s
from batchrun.run.halts import Halt, HaltKind
from batchrun.run.polling import Latency
from batchrun.run.pool import Pool
from batchrun.run.tools import Tools

_LOOK_S = 0.5
_MOST_Z = 0.84
"""Of a normal distribution: four of five are below it."""
_SAVING_MS = 30_000
"""For download, checks and the last poll."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The jobs of each batch that a run is asked for."""

    by_batch: Mapping[str, Sequence[Planned]]
    is_all: bool

    @property
    def to_buy(self) -> list[Planned]:
        """Those for which money would be spent, the highest priority first."""
        found = [one for plan in self.by_batch.values() for one in plan if one.reason in BUYS]
        return sorted(found, key=lambda one: -one.spec.priority)


def left_of(selection: Selection, bought: int) -> Selection:
    """What is left of `--limit` when so many clips were bought already, by another round or in another queue."""
    return selection if selection.limit is None else replace(selection, limit=max(0, selection.limit - bought))


def asked_of(plans: Mapping[str, Sequence[Planned]], selection: Selection) -> Asked:
    """What is asked for of these plans.

    Raises:
        UsageError: names or tags that no job has.
    """
    if selection.is_all:
        return Asked(plans, is_all=True)
    for pattern in selection.only:
        if not any(Selection(only=(pattern,)).takes(one.spec) for plan in plans.values() for one in plan):
            raise UsageError(f"--only {pattern}: no job of the manifest has such an id; nothing was bought")
    for tag in selection.tags:
        if not any(tag in one.spec.tags for plan in plans.values() for one in plan):
            raise UsageError(f"--tag {tag}: no job of the manifest has this tag; nothing was bought")
    return Asked(select(plans, selection), is_all=False)


async def open_in_turn(
    queue: Queue, tools: Tools, pool: Pool, asked: Asked, scopes: list[ClaimScope], ids: Mapping[str, int], canary: int
) -> None:
    """Let the pool buy: the canaries first, where there are any, then what is asked for, or everything.

    Args:
        queue: where the jobs are marked as those that this run is asked for.
        tools: for looking at the canaries.
        pool: what buys.
        asked: for what.
        scopes: every batch of the run.
        ids: the batches' ids by their names.
        canary: how many come first; the others only when all of these are done and look well.
    """
    if 0 < canary < len(asked.to_buy):
        await _choose(queue, ids, select(asked.by_batch, Selection(limit=canary)))
        pool.open(_chosen_only(scopes))
        trouble = await _canaries_are_well(queue, tools, [*ids.values()], canary, pool)
        if trouble is not None:
            pool.halt(trouble)
        if trouble is not None or pool.is_closing:
            return
    if asked.is_all:
        pool.open(scopes)
        return
    await _choose(queue, ids, asked.by_batch)
    pool.open(_chosen_only(scopes))


async def _choose(queue: Queue, ids: Mapping[str, int], wanted: Mapping[str, Sequence[Planned]]) -> None:
    for name, plan in wanted.items():
        await queue.choose(ids[name], [one.spec.key for one in plan])


def _chosen_only(scopes: Sequence[ClaimScope]) -> list[ClaimScope]:
    return [replace(scope, chosen_only=True) for scope in scopes]


async def _canaries_are_well(
    queue: Queue, tools: Tools, batch_ids: Sequence[int], count: int, pool: Pool
) -> Halt | None:
    """Wait for the chosen jobs. None when all of them are done and look well, or the run buys nothing more anyway."""
    while True:
        chosen = await queue.chosen(batch_ids)
        if chosen.are_well(count) or pool.is_closing:
            return None
        if chosen.have_ended and not (chosen.unknown and await tools.reconciler.hopeful()):
            states = ", ".join(f"{count} {state.value}" for state, count in chosen.counts.items())
            looks = f", {chosen.warned} of them look wrong" if chosen.warned else ""
            return Halt(
                HaltKind.CANARY, f"not all of the first clips are well ({states}{looks}); nothing more is bought"
            )
        await tools.clock.sleep(_LOOK_S)


def start_by_ms(deadline_ms: int | None, latency: Latency) -> int | None:
    """The last moment at which a prediction may start that will most likely be ready by the deadline."""
    if deadline_ms is None:
        return None
    most_s = latency.median_s * math.exp(_MOST_Z * latency.sigma)
    return deadline_ms - int(most_s * 1000) - _SAVING_MS


def ready_in_time(kinds: Sequence[Latency], limits: Limits, now_ms: int, deadline_ms: int) -> str:
    """How many of these predictions, in this order, will be ready: said before the first of them is bought."""
    ready = count_in_time(kinds, limits, now_ms, deadline_ms)
    return f"by {rfc3339(deadline_ms)[:16]}Z about {ready} of {len(kinds)} clips will be ready"


def count_in_time(kinds: Sequence[Latency], limits: Limits, now_ms: int, deadline_ms: int) -> int:
    """How many of these predictions, in this order, will be ready, roughly."""
    left_s = (deadline_ms - now_ms) / 1000
    low, high = 0, len(kinds)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if duration_s(kinds[:middle], limits) <= left_s else (low, middle - 1)
    return low
