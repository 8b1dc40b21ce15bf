"""What a run with these options would do now, decided as the run decides it. Only looks."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from batchrun.clock import Clock, day_of
from batchrun.manifest.jobs import Batch
from batchrun.plan import BUYS, Planned, make_plan
from batchrun.queue.records import Balance, Cap, KnownBatch, Took
from batchrun.queue.store import Queue
from batchrun.run.asked import asked_of, count_in_time
from batchrun.run.consent import asked_only, rerun_of, standing_clips
from batchrun.run.forecast import CapForecast, Forecast, InTime, duration_s, lines_of, pace_of, price_by_batch
from batchrun.run.latencies import ClipKind, Latencies
from batchrun.run.terms import CapView, Options, caps_of, is_bounded, most_careful

_NO_BATCH = -1


@dataclass(slots=True)
class _Known:
    """What the queue knows, where there is one."""

    batches: dict[str, KnownBatch] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    clips: set[str] = field(default_factory=set)
    took: list[Took] = field(default_factory=list)
    balances: dict[Cap, Balance] = field(default_factory=dict)


async def look_ahead(options: Options, batches: Sequence[Batch], clock: Clock) -> Forecast:
    """The jobs that the run is asked for, each with its reason, and what they come to.

    Raises:
        UsageError: names or tags that no job has.
        QueueError, StorageError: the queue cannot be used.
    """
    now_ms = clock.now_ms()
    exists = await asyncio.to_thread(options.queue_path.exists)
    known = await _look(options, batches, clock) if exists else _Known()
    plans: Mapping[str, Sequence[Planned]] = {batch.name: _plan(options, batch, known, now_ms) for batch in batches}
    if options.kind == "paid":
        plans = asked_only(plans, options.selection)
    asked = asked_of(plans, options.selection)
    lines = lines_of([*asked.by_batch.items()], known.clips)
    to_buy = [line.planned.spec for line in lines if line.planned.reason in BUYS and not line.is_copy]
    limits = most_careful([batch.limits for batch in batches])
    first = sorted(to_buy, key=lambda spec: -spec.priority)
    latencies = Latencies(known.took)
    kinds = [latencies.of(ClipKind(spec.model, spec.duration_s)) for spec in first]
    deadline_ms, prices = options.deadline_ms, price_by_batch(lines)
    reruns = [] if options.kind != "paid" else [rerun_of(batch, plans[batch.name], known.clips) for batch in batches]
    return Forecast(
        lines=lines,
        caps=[
            CapForecast(
                CapView(
                    name=cap.name, limit_usd_micros=cap.limit_usd_micros, balance=known.balances.get(cap, Balance())
                ),
                sum(prices.get(name, 0) for name in names),
                cap.scope,
                names,
            )
            for cap, names in _caps(options, batches, known, now_ms).items()
        ],
        reruns=[rerun for rerun in reruns if rerun is not None and not options.agree(rerun)],
        duration_s=duration_s(kinds, limits),
        pace=pace_of(limits),
        in_time=InTime(deadline_ms, count_in_time(kinds, limits, now_ms, deadline_ms), len(kinds))
        if deadline_ms is not None
        else None,
        unbounded=[batch.name for batch in batches if not is_bounded(batch, options)],
        keep_balance_usd_micros=max((batch.caps.keep_balance_usd_micros or 0 for batch in batches), default=0),
        took=known.took,
        skipped={batch.name: batch.skipped for batch in batches},
    )


def _plan(options: Options, batch: Batch, known: _Known, now_ms: int) -> list[Planned]:
    seen = known.batches.get(batch.name, KnownBatch())
    is_free, most = options.kind != "paid", batch.limits.max_attempts
    return make_plan(batch.jobs, seen.jobs, now_ms, max_attempts=most, is_free=is_free)


async def _look(options: Options, batches: Sequence[Batch], clock: Clock) -> _Known:
    queue = await Queue.open(options.queue_path, clock, kind=options.kind, origin=None, create=False)
    try:
        known = _Known(took=await queue.latencies())
        known.ids = {one.name: one.batch_id for one in await queue.batches()}
        known.batches = {batch.name: await queue.known_batch(batch.name) for batch in batches}
        wanted = [spec.fingerprint for batch in batches for spec in batch.jobs]
        known.clips = await standing_clips(queue, wanted)
        for cap in _caps(options, batches, known, clock.now_ms()):
            known.balances[cap] = await queue.balance(cap.scope)
    finally:
        await queue.close()
    return known


def _caps(options: Options, batches: Sequence[Batch], known: _Known, now_ms: int) -> dict[Cap, list[str]]:
    """Every cap, with the batches under it."""
    found: dict[Cap, list[str]] = {}
    for batch in batches:
        day, batch_id = day_of(now_ms, batch.caps.zone), known.ids.get(batch.name, _NO_BATCH)
        most = options.max_spend_usd_micros
        for cap in caps_of(batch, batch_id, day, "", kind=options.kind, max_spend_usd_micros=most):
            found.setdefault(cap, []).append(batch.name)
    return found
