"""What a run with these options would do now, decided as the run decides it. Only looks."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from batchrun.clock import Clock, day_of
from batchrun.errors import QueueError
from batchrun.manifest.jobs import Batch
from batchrun.plan import BUYS, Plan
from batchrun.queue.records import Balance, Cap, KnownBatch, Took
from batchrun.queue.store import Queue
from batchrun.run.asked import asked_of, count_in_time
from batchrun.run.campaigns import check_all
from batchrun.run.consent import asked_only, rerun_of
from batchrun.run.forecast import CapForecast, Forecast, InTime, Lines, duration_s, pace_of, sums_of
from batchrun.run.latencies import Latencies
from batchrun.run.past import Past, past_of
from batchrun.run.planning import plan_of
from batchrun.run.terms import CapView, Options, caps_of, is_bounded, most_careful

_NO_BATCH = -1


@dataclass(slots=True)
class _Looked:
    """What one look at the queue tells, where there is one."""

    plans: Mapping[str, Plan] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    past: Past = field(default_factory=Past)
    took: list[Took] = field(default_factory=list)
    balances: dict[Cap, Balance] = field(default_factory=dict)


async def look_ahead(
    options: Options, batches: Sequence[Batch], clock: Clock, *, origin: str | None = None
) -> Forecast:
    """The jobs that the run is asked for, each with its reason, and what they come to.

    Args:
        options: of the run.
        batches: the manifests that it would read.
        clock: says today.
        origin: whom the run would ask; None where that is nobody of the queue's.

    Raises:
        UsageError: names or tags that no job has, manifests of a campaign that differ.
        QueueError, StorageError: the queue cannot be used, or belongs to another origin.
    """
    now_ms = clock.now_ms()
    looked = await _look(options, batches, now_ms, clock, origin)
    lines = Lines(asked_of(looked.plans, options.selection).by_batch, looked.past)
    sums = sums_of(lines)
    limits = most_careful([batch.limits for batch in batches])
    latencies = Latencies(looked.took)
    deadline_ms, prices = options.deadline_ms, sums.by_batch_usd_micros
    in_time = None
    if deadline_ms is not None:
        kinds = latencies.each(sums.to_buy.in_order())
        in_time = InTime(deadline_ms, *count_in_time(kinds, limits, now_ms, deadline_ms))
    plans = looked.plans if options.kind == "paid" else {}
    reruns = [rerun_of(one, plans[one.name], looked.past.bought) for one in batches if one.name in plans]
    return Forecast(
        queues=[lines],
        sums=sums,
        caps=[
            CapForecast(
                CapView(
                    name=cap.name, limit_usd_micros=cap.limit_usd_micros, balance=looked.balances.get(cap, Balance())
                ),
                sum(prices[name] for name in names),
                cap.scope,
                names,
            )
            for cap, names in _caps(options, batches, looked, now_ms).items()
        ],
        reruns=[rerun for rerun in reruns if rerun is not None and not options.agree(rerun)],
        duration_s=duration_s(latencies.each(sums.to_buy.in_order()), limits),
        pace=pace_of(limits),
        in_time=in_time,
        unbounded=[batch.name for batch in batches if not is_bounded(batch, options)],
        keep_balance_usd_micros=max((batch.caps.keep_balance_usd_micros or 0 for batch in batches), default=0),
        took=looked.took,
        skipped={batch.name: batch.skipped for batch in batches},
    )


async def _look(options: Options, batches: Sequence[Batch], now_ms: int, clock: Clock, origin: str | None) -> _Looked:
    is_free = options.kind != "paid"
    if not await asyncio.to_thread(options.queue_path.exists):
        await check_all(None, batches)
        return _Looked({one.name: await plan_of(None, one, KnownBatch(), now_ms, is_free=is_free) for one in batches})
    queue = await Queue.open(options.queue_path, clock, kind=options.kind, origin=None, create=False)
    try:
        _check_origin(queue, origin)
        await check_all(queue, batches)
        looked = _Looked(took=await queue.latencies())
        plans: dict[str, Plan] = {}
        for batch in batches:
            known = await queue.manifests.known(batch.name)
            plans[batch.name] = await plan_of(queue, batch, known, now_ms, is_free=is_free)
            if known.batch_id is not None:
                looked.ids[batch.name] = known.batch_id
        looked.plans = plans if is_free else asked_only(plans, options.selection)
        bought = (one.spec.fingerprint for plan in looked.plans.values() for one in plan if one.reason in BUYS)
        looked.past = await past_of(queue, bought, now_ms)
        for cap in _caps(options, batches, looked, now_ms):
            looked.balances[cap] = await queue.balance(cap.scope)
    finally:
        await queue.close()
    return looked


def _check_origin(queue: Queue, origin: str | None) -> None:
    """Not left to the opening, which would write the origin into a queue that has none yet."""
    if origin is not None and queue.identity.origin != origin:
        raise QueueError(
            f"the queue {queue.path} belongs to {queue.identity.origin}, and a run would ask {origin}: it would be refused. "
            "Set WAVESPEED_BASE_URL back, or use another queue with --db PATH"
        )


def _caps(options: Options, batches: Sequence[Batch], looked: _Looked, now_ms: int) -> dict[Cap, list[str]]:
    """Every cap, with the batches under it."""
    found: dict[Cap, list[str]] = {}
    for batch in batches:
        day, batch_id = day_of(now_ms, batch.caps.zone), looked.ids.get(batch.name, _NO_BATCH)
        most = options.max_spend_usd_micros
        for cap in caps_of(batch, batch_id, day, "", kind=options.kind, max_spend_usd_micros=most):
            found.setdefault(cap, []).append(batch.name)
    return found
