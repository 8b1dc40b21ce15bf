"""What a run is asked to do, under which caps and limits, and how it ended. Values and arithmetic, no I/O."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from batchrun.errors import BatchrunError
from batchrun.manifest.jobs import Batch, Limits, SkippedRows
from batchrun.plan import Plan, Selection
from batchrun.queue.records import Balance, Cap, LateCharge, Scope
from batchrun.queue.views import BatchView
from batchrun.run.consent import Agree, Rerun
from batchrun.run.halts import Halt, HaltKind
from batchrun.run.health import GIVE_UP_AFTER_S
from batchrun.run.pool import Capped
from batchrun.run.tools import Ending

MAX_SPEND = "--max-spend"
"""The cap that a person types, for one run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How one run is to be done."""

    kind: str
    """`paid` or `preview`."""
    base_url: str
    origin: str
    """What the queue is bound to: the API's origin, or a fixed word for previews."""
    key: str | None = field(repr=False)
    queue_path: Path
    manifests: tuple[Path, ...]
    no_new: bool = False
    selection: Selection = field(default_factory=Selection)
    canary: int = 0
    """So many of the jobs are bought first, and the others only when these are well."""
    deadline_ms: int | None = None
    """Nothing is started that will most likely not be ready by then."""
    max_spend_usd_micros: int | None = None
    agree: Agree = lambda _: False
    """Asked before finished clips are bought anew for more than is bought unasked."""
    grace_s: float = 300.0
    give_up_after_s: float = GIVE_UP_AFTER_S
    limits: Limits | None = None
    """Instead of the manifests' own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapView:
    """One cap and where it stands."""

    name: str
    limit_usd_micros: int
    balance: Balance

    @property
    def left_usd_micros(self) -> int:
        """What may still be spent under it."""
        return max(0, self.limit_usd_micros - self.balance.committed_usd_micros)


@dataclass(frozen=True, slots=True)
class Lost:
    """Jobs of plans: how many, and the first of them, each with its batch."""

    count: int
    first: Sequence[tuple[str, str]] = ()

    def and_also(self, other: "Lost") -> "Lost":
        """Both together."""
        return Lost(self.count + other.count, [*self.first, *other.first])


NOTHING_LOST = Lost(0)


@dataclass(slots=True, kw_only=True)
class Result:
    """How a run ended: facts, for the summary to word."""

    run_id: str
    batches: list[BatchView] = field(default_factory=list)
    plans: dict[str, Plan] = field(default_factory=dict)
    """By batch name."""
    caps: list[CapView] = field(default_factory=list)
    balance: Balance = field(default_factory=Balance)
    """Over the batches of the run, for ever."""
    run_balance: Balance = field(default_factory=Balance)
    """What this run has reserved and settled."""
    refund_due_usd_micros: int = 0
    """What may still come back for failed attempts of the run's batches."""
    capped: list[Capped] = field(default_factory=list)
    halts: dict[HaltKind, Halt] = field(default_factory=dict)
    endings: dict[Ending, int] = field(default_factory=dict)
    bought: int = 0
    late: list[LateCharge] = field(default_factory=list)
    """Submits of the whole queue that were given up and turned out to exist: charged beside what was bought instead."""
    declined: list[Rerun] = field(default_factory=list)
    """What nobody has agreed to buy anew."""
    lost: Lost = NOTHING_LOST
    """Jobs that were asked for and bought, and whose clips are gone here and at the provider."""
    no_new: bool = False
    is_selection: bool = False
    """Only some jobs were asked for: counts and exit code speak of those."""
    signal_number: int | None = None
    warnings: list[str] = field(default_factory=list)
    skipped: dict[str, SkippedRows] = field(default_factory=dict)
    """Rows of sources that were left out because they are wrong, by batch name."""
    duration_s: float = 0.0
    problem: BatchrunError | None = None
    """Why nothing new was read; what was in flight was collected all the same."""

    def hear(self, batch: Batch) -> None:
        """What the reading of a manifest has to say."""
        self.warnings += [warning for warning in batch.warnings if warning not in self.warnings]
        self.skipped[batch.name] = batch.skipped


def caps_of(
    batch: Batch, batch_id: int, day: str, run_id: str, *, kind: str, max_spend_usd_micros: int | None
) -> tuple[Cap, ...]:
    """Every cap on a job of the batch. None on previews: they cost nothing."""
    if kind != "paid":
        return ()
    caps, campaign = batch.caps, batch.caps.campaign
    candidates = [
        (f"{batch.name}: budget", Scope(batch_id=batch_id), caps.budget_usd_micros),
        (f"{batch.name}: daily_budget", Scope(batch_id=batch_id, day=day), caps.daily_budget_usd_micros),
        (f"campaign {campaign}: budget", Scope(campaign=campaign), caps.campaign_budget_usd_micros),
        (
            f"campaign {campaign}: daily_budget",
            Scope(campaign=campaign, day=day),
            caps.campaign_daily_budget_usd_micros,
        ),
        (MAX_SPEND, Scope(run_id=run_id), max_spend_usd_micros),
    ]
    return tuple(
        Cap(name=name, scope=scope, limit_usd_micros=limit) for name, scope, limit in candidates if limit is not None
    )


def is_bounded(batch: Batch, options: Options) -> bool:
    """Whether something says how much a run of it may spend."""
    return options.kind != "paid" or batch.caps.any or options.max_spend_usd_micros is not None


def most_careful(limits: Sequence[Limits]) -> Limits:
    """One set of limits for several manifests that share a queue: of each number the more careful one."""
    if not limits:
        return Limits(concurrency=1, per_minute=1)
    return Limits(
        concurrency=min(one.concurrency for one in limits),
        per_minute=min(one.per_minute for one in limits),
        poll_s=max(one.poll_s for one in limits),
        settle_s=max(one.settle_s for one in limits),
        stuck_after_s=max(one.stuck_after_s for one in limits),
        max_unknown=min(one.max_unknown for one in limits),
        max_attempts=min(one.max_attempts for one in limits),
        max_clip_bytes=max(one.max_clip_bytes for one in limits),
    )


def merged(results: Sequence[Result]) -> Result:
    """Runs over several queues, one after another, as one."""
    first, *others = results
    total = replace(first)
    for other in others:
        total.batches = [*total.batches, *other.batches]
        total.plans = total.plans | other.plans
        total.caps = [*total.caps, *other.caps]
        total.capped = [*total.capped, *other.capped]
        total.halts = total.halts | other.halts
        total.skipped = total.skipped | other.skipped
        total.warnings = [*total.warnings, *other.warnings]
        total.endings = dict(Counter(total.endings) + Counter(other.endings))
        total.balance = _sum(total.balance, other.balance)
        total.run_balance = _sum(total.run_balance, other.run_balance)
        total.bought += other.bought
        total.declined = [*total.declined, *other.declined]
        total.lost = total.lost.and_also(other.lost)
        total.late = [*total.late, *other.late]
        total.refund_due_usd_micros += other.refund_due_usd_micros
        total.duration_s += other.duration_s
        total.problem = total.problem or other.problem
        total.signal_number = total.signal_number or other.signal_number
    return total


def _sum(one: Balance, other: Balance) -> Balance:
    return Balance(
        held_usd_micros=one.held_usd_micros + other.held_usd_micros,
        spent_usd_micros=one.spent_usd_micros + other.spent_usd_micros,
    )
