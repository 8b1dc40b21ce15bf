"""A statement of money of one batch or one campaign: what was paid for, what comes back, what is open. Pure.

Every attempt is in exactly one line, so a statement's sums are the ledger's, to the micro-dollar.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from batchrun.money import decimal_usd, format_usd
from batchrun.queue.clips import Money, MoneyLine, MoneyOutcome
from batchrun.queue.views import BatchView

LABELS: dict[MoneyOutcome, str] = {
    MoneyOutcome.DELIVERED: "Clips delivered",
    MoneyOutcome.COLLECTING: "Paid, being collected",
    MoneyOutcome.REPLACED: "Paid, replaced since",
    MoneyOutcome.LATE: "Charged late",
    MoneyOutcome.REJECTED: "Paid, clip broken",
    MoneyOutcome.LOST: "Paid, clip lost",
    MoneyOutcome.REFUNDED: "Failed and refunded",
    MoneyOutcome.REFUND_DUE: "Failed, refund awaited",
    MoneyOutcome.REFUND_DENIED: "Failed, refund never came",
    MoneyOutcome.UNKNOWN: "Outcome unknown",
    MoneyOutcome.RUNNING: "At the provider",
    MoneyOutcome.NOTHING_CREATED: "Refused or not sent, free",
}
"""In the order in which they are shown."""
HEAD = re.compile(rb"(batch|campaign) [^\n]*  number +held +cost\n")
"""By how it begins a file is known to be statements, and may be replaced."""


@dataclass(frozen=True, slots=True)
class Sums:
    """What some attempts were reserved at, hold and have cost."""

    attempts: int = 0
    price_usd_micros: int = 0
    held_usd_micros: int = 0
    spent_usd_micros: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Where the money of one batch, or of one campaign over all its batches, went."""

    scope: str
    """`batch` or `campaign`."""
    name: str
    by_outcome: dict[MoneyOutcome, Sums]
    copied: int
    """Delivered clips that cost nothing: the queue had bought them for another job."""

    @property
    def total(self) -> Sums:
        """Over all lines."""
        return sums(self.by_outcome.values())

    @property
    def clips(self) -> int:
        """Clips that are in place."""
        return self.by_outcome[MoneyOutcome.DELIVERED].attempts + self.copied


def sums(parts: Iterable[Sums | MoneyLine]) -> Sums:
    """All of them together."""
    listed = list(parts)
    return Sums(
        sum(one.attempts for one in listed),
        sum(one.price_usd_micros for one in listed),
        sum(one.held_usd_micros for one in listed),
        sum(one.spent_usd_micros for one in listed),
    )


def statements(views: Sequence[BatchView], money: Money) -> list[Statement]:
    """One for each of these batches, and one for each campaign that any of their money belongs to."""
    ids = {view.batch_id for view in views}
    named = {view.campaign for view in views} | {line.campaign for line in money.lines if line.batch_id in ids}
    found = [_batch(view, money) for view in views]
    return found + [_campaign(name, money) for name in sorted(name for name in named if name is not None)]


def _batch(view: BatchView, money: Money) -> Statement:
    lines = [line for line in money.lines if line.batch_id == view.batch_id]
    copied = sum(one.clips for one in money.copied if one.batch_id == view.batch_id)
    return Statement(scope="batch", name=view.name, by_outcome=_by_outcome(lines), copied=copied)


def _campaign(name: str, money: Money) -> Statement:
    lines = [line for line in money.lines if line.campaign == name]
    copied = sum(one.clips for one in money.copied if one.campaign == name)
    return Statement(scope="campaign", name=name, by_outcome=_by_outcome(lines), copied=copied)


def _by_outcome(lines: Sequence[MoneyLine]) -> dict[MoneyOutcome, Sums]:
    return {outcome: sums(line for line in lines if line.outcome is outcome) for outcome in LABELS}


def by_day(views: Sequence[BatchView], money: Money) -> dict[str, Sums]:
    """The money of these batches by the day of its reserve, oldest first."""
    ids = {view.batch_id for view in views}
    lines = [line for line in money.lines if line.batch_id in ids]
    return {day: sums(line for line in lines if line.day == day) for day in sorted({line.day for line in lines})}


def statement_json(one: Statement) -> dict[str, Any]:
    """For scripts: every line, also those that are nought; money as decimal strings."""
    return {
        "scope": one.scope,
        "name": one.name,
        "clips_delivered": one.clips,
        "clips_copied": one.copied,
        "net_cost_usd": decimal_usd(one.total.spent_usd_micros),
        "held_usd": decimal_usd(one.total.held_usd_micros),
        "lines": {
            outcome.value: {
                "attempts": line.attempts,
                "reserved_usd": decimal_usd(line.price_usd_micros),
                "held_usd": decimal_usd(line.held_usd_micros),
                "spent_usd": decimal_usd(line.spent_usd_micros),
            }
            for outcome, line in one.by_outcome.items()
        },
    }


def statement_lines(one: Statement) -> list[str]:
    """For people."""
    rows = [
        (_label(outcome, line), line.attempts, line.held_usd_micros, line.spent_usd_micros)
        for outcome, line in one.by_outcome.items()
        if line.attempts or outcome is MoneyOutcome.DELIVERED
    ]
    if one.copied:
        rows.insert(1, ("Copied from another job, free", one.copied, 0, 0))
    table = [
        f"  {label:<40} {count:>7,} {format_usd(held) if held else '':>12} {format_usd(spent):>12}"
        for label, count, held, spent in rows
    ]
    head = f"{one.scope} {one.name}"
    total = one.total
    held = format_usd(total.held_usd_micros) if total.held_usd_micros else ""
    return [
        f"{head:<42} {'number':>7} {'held':>12} {'cost':>12}",
        *table,
        f"  {'Net cost':<40} {'':>7} {held:>12} {format_usd(total.spent_usd_micros):>12}",
    ]


def _label(outcome: MoneyOutcome, line: Sums) -> str:
    if outcome is MoneyOutcome.REFUNDED and line.price_usd_micros:
        return f"{LABELS[outcome]} ({format_usd(line.price_usd_micros)} back)"
    return LABELS[outcome]
