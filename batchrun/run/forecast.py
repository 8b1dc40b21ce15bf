"""What a run would do: which jobs and why, for how much, what is copied, what each cap leaves, how long. Arithmetic only."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from batchrun.manifest.jobs import Limits, SkippedRows
from batchrun.plan import BUYS, Planned, Reason
from batchrun.queue.records import Scope, Took
from batchrun.run.consent import Rerun
from batchrun.run.polling import Latency
from batchrun.run.terms import CapView

_NIGHTS = 2000
"""So many are thrown for a range."""


@dataclass(frozen=True, slots=True)
class Line:
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
        return self.cap.left_usd_micros - self.wanted_usd_micros


@dataclass(frozen=True, slots=True)
class InTime:
    """How many clips will be ready by a deadline, roughly."""

    deadline_ms: int
    clips: int
    of_clips: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The whole plan."""

    lines: Sequence[Line]
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
    def to_buy(self) -> list[Line]:
        """What money would be spent on."""
        return [line for line in self.lines if line.planned.reason in BUYS and not line.is_copy]

    def price_of(self, prices: Mapping[tuple[str, int], int]) -> int:
        """All of it at these prices, by model and duration in seconds; the agreed ones where there is none."""
        specs = [line.planned.spec for line in self.to_buy]
        return sum(prices.get((spec.model, spec.duration_s), spec.price_usd_micros) for spec in specs)

    def canaries(self, count: int) -> list[Line]:
        """Those that come first; none where nothing would come after them."""
        first = sorted(self.to_buy, key=lambda line: -line.planned.spec.priority)[:count]
        return first if len(first) < len(self.to_buy) else []

    @property
    def copies(self) -> list[Line]:
        """What would be bought if its request were not bought already."""
        return [line for line in self.lines if line.is_copy]

    @property
    def price_usd_micros(self) -> int:
        """All of it, at most."""
        return sum(line.price_usd_micros for line in self.lines)

    @property
    def saved_usd_micros(self) -> int:
        """What the copies would have cost."""
        return sum(line.planned.spec.price_usd_micros for line in self.copies)

    def by_reason(self) -> dict[Reason, tuple[int, int]]:
        """How many jobs, and their price, for each reason, in the order of the reasons."""
        counts = Counter(line.planned.reason for line in self.lines if not line.is_copy)
        prices: Counter[Reason] = Counter()
        for line in self.lines:
            prices[line.planned.reason] += line.price_usd_micros
        return {reason: (counts[reason], prices[reason]) for reason in Reason if counts[reason]}


def lines_of(plans: Sequence[tuple[str, Sequence[Planned]]], has_clip: Collection[str]) -> list[Line]:
    """Every job of the plans; of equal requests the first is bought and the others are copies.

    Args:
        plans: by batch.
        has_clip: fingerprints of which the queue has a clip.
    """
    bought: set[str] = set()
    lines: list[Line] = []
    for batch, plan in plans:
        for planned in plan:
            fingerprint = planned.spec.fingerprint
            is_new_take = planned.known is not None and planned.known.revision.take > 1
            buys = planned.reason in BUYS
            is_copy = buys and not is_new_take and (fingerprint in has_clip or fingerprint in bought)
            if buys:
                bought.add(fingerprint)
            lines.append(Line(batch, planned, is_copy))
    return lines


def merged(forecasts: Sequence[Forecast]) -> Forecast:
    """Forecasts of several queues, run one after another, as one."""
    in_time = [one.in_time for one in forecasts if one.in_time is not None]
    return Forecast(
        lines=[line for one in forecasts for line in one.lines],
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


def price_by_batch(lines: Sequence[Line]) -> dict[str, int]:
    """What the jobs of each batch would cost, in micro-dollars, by its name."""
    prices: Counter[str] = Counter()
    for line in lines:
        prices[line.batch] += line.price_usd_micros
    return dict(prices)


def duration_s(kinds: Sequence[Latency], limits: Limits) -> float:
    """How long predictions of these latencies take under the limits, roughly: the slots' work or the starts, then a tail."""
    if not kinds:
        return 0.0
    means = [one.median_s * math.exp(one.sigma**2 / 2) for one in kinds]
    work_s = sum(means) / limits.concurrency
    starts_s = (len(kinds) - 1) / limits.per_minute * 60
    return max(work_s, starts_s) + max(means)


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
