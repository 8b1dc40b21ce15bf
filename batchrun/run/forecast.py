"""What a run would do: which jobs and why, for how much, what is copied, what each cap leaves, how long. Arithmetic only."""

import heapq
import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from batchrun.manifest.jobs import JobSpec, Limits, SkippedRows
from batchrun.plan import BUYS, Planned, Reason
from batchrun.queue.records import Scope, Took
from batchrun.run.consent import Rerun, shortened
from batchrun.run.past import Past
from batchrun.run.polling import Latency
from batchrun.run.terms import CapView

_NIGHTS = 2000
"""So many are thrown for a range."""


class Line(NamedTuple):
    """One job of the plan."""

    batch: str
    planned: Planned
    is_copy: bool
    """Its request is bought already, or by a job before it: it gets a copy."""

    @property
    def price_usd_micros(self) -> int:
        """What it would cost at most."""
        return self.planned.spec.price_usd_micros if self.planned.reason in BUYS and not self.is_copy else 0


@dataclass(frozen=True, slots=True)
class CapForecast:
    """A cap, and what the jobs under it would cost."""

    cap: CapView
    wanted_usd_micros: int
    scope: Scope
    batches: Sequence[str]
    """The names of those under it."""

    @property
    def left_usd_micros(self) -> int:
        """What would be left; negative where not everything fits."""
        cap = self.cap
        return cap.limit_usd_micros - cap.balance.committed_usd_micros - self.wanted_usd_micros


@dataclass(frozen=True, slots=True)
class InTime:
    """How many clips will be ready by a deadline, roughly."""

    deadline_ms: int
    clips: int
    of_clips: int


class Clip(NamedTuple):
    """What clips of one kind share, with the most that one of them may cost."""

    model: str
    duration_s: int
    usd_micros: int


@dataclass(slots=True)
class Purchase:
    """What would be bought, in a few bytes a job."""

    kinds: Counter[Clip] = field(default_factory=Counter)
    _samples: list[JobSpec] = field(default_factory=list)
    _places: dict[tuple[str, int], int] = field(default_factory=dict)
    _order: "defaultdict[int, array[int]]" = field(default_factory=lambda: defaultdict(lambda: array("I")))
    """By priority the jobs in their order, each as the place of its sample."""

    def add(self, spec: JobSpec) -> None:
        """Count a job."""
        place = self._places.setdefault((spec.model, spec.duration_s), len(self._samples))
        if place == len(self._samples):
            self._samples.append(spec)
        elif spec.price_usd_micros < self._samples[place].price_usd_micros:
            self._samples[place] = spec
        self._order[spec.priority].append(place)
        self.kinds[Clip(spec.model, spec.duration_s, spec.price_usd_micros)] += 1

    @property
    def count(self) -> int:
        """How many clips."""
        return self.kinds.total()

    @property
    def usd_micros(self) -> int:
        """What they cost at most."""
        return self.price_of({})

    def price_of(self, prices: Mapping[tuple[str, int], int]) -> int:
        """All of it at these prices, by model and duration in seconds; the agreed ones where there is none."""
        return sum(prices.get(kind[:2], kind.usd_micros) * count for kind, count in self.kinds.items())

    @property
    def samples(self) -> Sequence[JobSpec]:
        """One job of each model and length, in this order, of the least price agreed to."""
        return sorted(self._samples, key=lambda spec: (spec.model, spec.duration_s))

    def in_order(self) -> Iterator[JobSpec]:
        """A sample for every job, the highest priority first."""
        for priority in sorted(self._order, reverse=True):
            yield from map(self._samples.__getitem__, self._order[priority])


def purchase_of(specs: Iterable[JobSpec]) -> Purchase:
    """All of them, counted in one pass."""
    purchase = Purchase()
    for spec in specs:
        purchase.add(spec)
    return purchase


@dataclass(slots=True)
class Sums:
    """Lines counted: by reason and by batch, and what would be bought."""

    counts: Counter[Reason] = field(default_factory=Counter)
    """Without copies."""
    usd_micros: Counter[Reason] = field(default_factory=Counter)
    by_batch_usd_micros: Counter[str] = field(default_factory=Counter)
    to_buy: Purchase = field(default_factory=Purchase)
    jobs: int = 0
    copies: int = 0
    saved_usd_micros: int = 0
    """What the copies would have cost."""

    def add(self, line: Line) -> None:
        """Count a line."""
        spec, reason, _ = line.planned
        self.jobs += 1
        if line.is_copy:
            self.copies += 1
            self.saved_usd_micros += spec.price_usd_micros
            return
        self.counts[reason] += 1
        if reason in BUYS:
            self.usd_micros[reason] += spec.price_usd_micros
            self.by_batch_usd_micros[line.batch] += spec.price_usd_micros
            self.to_buy.add(spec)


def sums_of(lines: Iterable[Line]) -> Sums:
    """All of them, counted in one pass."""
    sums = Sums()
    for line in lines:
        sums.add(line)
    return sums


@dataclass(frozen=True, slots=True)
class Lines:
    """Every job of the plans, made anew at each pass; of equal requests the first is bought and the others are copies."""

    plans: Mapping[str, Iterable[Planned]]
    past: Past = field(default_factory=Past)
    """What the queue has bought of these requests already."""

    def __iter__(self) -> Iterator[Line]:
        bought: set[int] = set()
        for batch, plan in self.plans.items():
            for planned in plan:
                yield self._line(batch, planned, bought)

    def _line(self, batch: str, planned: Planned, bought: set[int]) -> Line:
        if planned.reason not in BUYS:
            return Line(batch, planned, is_copy=False)
        fingerprint = planned.spec.fingerprint
        is_new_take = planned.known is not None and planned.known.take > 1
        if fingerprint in self.past.gone and not is_new_take:
            return Line(batch, planned._replace(reason=Reason.CLIP_GONE), is_copy=False)
        is_known = fingerprint in self.past.to_have or (short := shortened(fingerprint)) in bought
        if not is_known:
            bought.add(short)
        return Line(batch, planned, is_known and not is_new_take)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The whole plan: of each queue its lines, and the sums over all."""

    queues: Sequence[Lines]
    sums: Sums
    caps: Sequence[CapForecast] = field(default_factory=tuple)
    reruns: Sequence[Rerun] = field(default_factory=tuple)
    """What a person must agree to."""
    duration_s: float = 0.0
    pace: str = ""
    """At which limits, in words."""
    in_time: InTime | None = None
    """How far a deadline reaches."""
    unbounded: Sequence[str] = ()
    """Batches whose run is refused, because nothing bounds what it may spend."""
    keep_balance_usd_micros: int = 0
    took: Sequence[Took] = ()
    """What the queue has learnt of how long clips take."""
    skipped: Mapping[str, SkippedRows] = field(default_factory=dict)
    """Rows of sources that are left out because they are wrong, by batch name."""

    @property
    def lines(self) -> Iterator[Line]:
        """Every job, read anew."""
        return (line for lines in self.queues for line in lines)

    def canaries(self, count: int) -> list[Line]:
        """Those that come first; none where nothing would come after them."""
        if not 0 < count < self.sums.to_buy.count:
            return []
        bought = (line for line in self.lines if line.planned.reason in BUYS and not line.is_copy)
        return heapq.nsmallest(count, bought, key=lambda line: -line.planned.spec.priority)

    def by_reason(self) -> dict[Reason, tuple[int, int]]:
        """How many jobs, and their price, for each reason, in the order of the reasons."""
        counts, prices = self.sums.counts, self.sums.usd_micros
        return {reason: (counts[reason], prices[reason]) for reason in Reason if counts[reason]}


def merged(forecasts: Sequence[Forecast]) -> Forecast:
    """Forecasts of several queues, run one after another, as one."""
    in_time = [one.in_time for one in forecasts if one.in_time is not None]
    queues = [lines for one in forecasts for lines in one.queues]
    return Forecast(
        queues=queues,
        sums=forecasts[0].sums if len(forecasts) == 1 else sums_of(line for lines in queues for line in lines),
        caps=[cap for one in forecasts for cap in one.caps],
        reruns=[rerun for one in forecasts for rerun in one.reruns],
        duration_s=sum(one.duration_s for one in forecasts),
        pace=forecasts[0].pace,
        in_time=InTime(in_time[0].deadline_ms, sum(one.clips for one in in_time), sum(one.of_clips for one in in_time))
        if in_time
        else None,
        unbounded=[name for one in forecasts for name in one.unbounded],
        keep_balance_usd_micros=max(one.keep_balance_usd_micros for one in forecasts),
        skipped={name: rows for one in forecasts for name, rows in one.skipped.items()},
    )


def pace_of(limits: Limits) -> str:
    """What the time that a run takes comes from, for a person who wonders."""
    return f"{limits.concurrency} clips at once and {limits.per_minute} a minute (`limits: tier`)"


def duration_s(kinds: Iterable[Latency], limits: Limits) -> float:
    """How long predictions of these latencies take under the limits, roughly: the slots' work or the starts, then a tail."""
    counts = Counter(kinds)
    if not counts:
        return 0.0
    work_s = sum(_mean_s(kind) * count for kind, count in counts.items())
    return _needed_s(work_s, counts.total(), max(map(_mean_s, counts)), limits)


def durations_s(kinds: Iterable[Latency], limits: Limits) -> Iterator[float]:
    """The same for the first of them, the first two, and so on."""
    work_s = longest_s = 0.0
    for count, kind in enumerate(kinds, start=1):
        mean_s = _mean_s(kind)
        work_s, longest_s = work_s + mean_s, max(longest_s, mean_s)
        yield _needed_s(work_s, count, longest_s, limits)


def _mean_s(kind: Latency) -> float:
    return kind.median_s * math.exp(kind.sigma**2 / 2)


def _needed_s(work_s: float, count: int, longest_s: float, limits: Limits) -> float:
    return max(work_s / limits.concurrency, (count - 1) / limits.per_minute * 60) + longest_s


def charged_range(prices_usd_micros: Sequence[int], failing: float, max_attempts: int, seed: int) -> tuple[int, int]:
    """What nine nights in ten would be charged before refunds, from and to, when so great a part of the tasks fails.

    A failed task is bought again, up to `max_attempts` times; its own charge comes back later. Caps are not looked at.
    """
    import numpy as np  # noqa: PLC0415  # heavy, and only rehearsals need it

    chance = np.random.default_rng(seed)
    charged = np.zeros(_NIGHTS, np.int64)
    for price, count in Counter(prices_usd_micros).items():
        tries = np.full(_NIGHTS, count)
        for _ in range(max_attempts):
            charged += tries * price
            tries = chance.binomial(tries, failing)
    low, high = np.percentile(charged, (5, 95), method="inverted_cdf")
    return int(low), int(high)
