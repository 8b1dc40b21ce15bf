"""What a run is asked for beyond "everything": some jobs, a few of them first, and only what is ready in time."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial

from batchrun.clock import rfc3339
from batchrun.errors import UsageError
from batchrun.manifest.jobs import JobSpec, Limits, SkippedRows
from batchrun.manifest.spool import chunks
from batchrun.plan import BUYS, Plan, Planned, Reason, Selection, select
from batchrun.queue.leases import ClaimScope
from batchrun.queue.states import PAID_FOR
from batchrun.queue.store import Queue
from batchrun.queue.views import MAX_NOT_FINE, job_ids
from batchrun.run.forecast import Purchase, durations_s, purchase_of
from batchrun.run.halts import Halt, HaltKind
from batchrun.run.polling import Latency
from batchrun.run.pool import Pool
from batchrun.run.terms import Lost
from batchrun.run.tools import Tools

_LOOK_S = 0.5
_MOST_Z = 0.84
"""Of a normal distribution: four of five are below it."""
_SAVING_MS = 30_000
"""For download, checks and the last poll."""

_IN_FLIGHT = frozenset({Reason.IN_FLIGHT, Reason.CHANGED_IN_FLIGHT})


@dataclass(frozen=True, slots=True)
class Asked:
    """The jobs of each batch that a run is asked for, and what it would buy of them."""

    by_batch: Mapping[str, Iterable[Planned]]
    is_all: bool
    to_buy: Purchase


def _asked(by_batch: Mapping[str, Iterable[Planned]], *, is_all: bool) -> Asked:
    bought = (one.spec for plan in by_batch.values() for one in plan if one.reason in BUYS)
    return Asked(by_batch, is_all, purchase_of(bought))


def left_of(selection: Selection, bought: int) -> Selection:
    """What is left of `--limit` when so many clips were bought already, by another round or in another queue."""
    return selection if selection.limit is None else replace(selection, limit=max(0, selection.limit - bought))


def asked_of(plans: Mapping[str, Iterable[Planned]], selection: Selection) -> Asked:
    """What is asked for of these plans.

    Raises:
        UsageError: names or tags that no job has.
    """
    if selection.is_all:
        return _asked(plans, is_all=True)
    for pattern in selection.only:
        if not any(Selection(only=(pattern,)).takes(one.spec) for plan in plans.values() for one in plan):
            raise UsageError(f"--only {pattern}: no job of the manifest has such an id; nothing was bought")
    for tag in selection.tags:
        if not any(tag in one.spec.tags for plan in plans.values() for one in plan):
            raise UsageError(f"--tag {tag}: no job of the manifest has this tag; nothing was bought")
    return _asked(select(plans, selection), is_all=False)


async def count_in_flight(queue: Queue) -> int:
    """How many jobs are collected beside what is bought, as of now: some may have ended since their batch was planned."""
    found = 0
    for batch in await queue.batches():
        found += len(await queue.read(partial(job_ids, batch.batch_id, PAID_FOR)))
    return found


def other_samples(plans: Mapping[str, Plan], asked: Asked) -> Sequence[JobSpec]:
    """One of each kind of clip at the provider that is not among those to buy: what fails there may be bought once more."""
    flying = (plan for plan in plans.values() if any(plan.counts[reason] for reason in _IN_FLIGHT))
    samples = purchase_of(one.spec for plan in flying for one in plan if one.reason in _IN_FLIGHT).samples
    known = {(one.model, one.duration_s) for one in asked.to_buy.samples}
    return [one for one in samples if (one.model, one.duration_s) not in known]


def lost_of(plans: Mapping[str, Plan], asked: Asked) -> Lost:
    """Those of the jobs that are asked for that are bought, and their clips gone here and at the provider."""
    count, first = 0, list[tuple[str, str]]()
    for name, plan in (plans if asked.is_all else asked.by_batch).items():
        if plans[name].counts[Reason.OUTPUT_LOST]:  # hardly ever: it is not gone through for nothing
            keys = [one.spec.key for one in plan if one.reason is Reason.OUTPUT_LOST]
            count += len(keys)
            first += [(name, key) for key in keys[: MAX_NOT_FINE - len(first)]]
    return Lost(count, first)


def skipped_of(skipped: Iterable[SkippedRows], selection: Selection) -> int:
    """How many of the rows that were left out are asked for.

    Of some jobs, those that `--only` names by an id that could be read; of the others nobody knows the tags. `--limit` is
    no choice of rows: all of them are asked for, some nights later.
    """
    if not (selection.only or selection.tags):
        return sum(rows.count for rows in skipped)
    if selection.tags:
        return 0
    problems = {(one.file, one.line): one.job for rows in skipped for one in rows.problems if one.job}
    return sum(any(fnmatchcase(key, pattern) for pattern in selection.only) for key in problems.values())


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
    if 0 < canary < asked.to_buy.count:
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


async def _choose(queue: Queue, ids: Mapping[str, int], wanted: Mapping[str, Iterable[Planned]]) -> None:
    for name, plan in wanted.items():
        await queue.choose_anew(ids[name])
        for chosen in chunks(plan):
            await queue.choose(ids[name], [one.spec.key for one in chosen])


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


def ready_in_time(kinds: Iterable[Latency], limits: Limits, now_ms: int, deadline_ms: int) -> str:
    """How many of these predictions, in this order, will be ready: said before the first of them is bought."""
    ready, total = count_in_time(kinds, limits, now_ms, deadline_ms)
    return f"by {rfc3339(deadline_ms)[:16]}Z about {ready} of {total} clips will be ready"


def count_in_time(kinds: Iterable[Latency], limits: Limits, now_ms: int, deadline_ms: int) -> tuple[int, int]:
    """How many of these predictions, in this order, will be ready, roughly; and how many there are."""
    left_s = (deadline_ms - now_ms) / 1000
    total = ready = 0
    for total, needed_s in enumerate(durations_s(kinds, limits), start=1):
        ready = total if needed_s <= left_s else ready
    return ready, total
