"""Looks in the provider's billing for the money of failed attempts, before caps are judged.

Source: the provider refunds failures within three hours (`docs/refund-policy`). Until a refund is seen the money counts
as spent; after a day without one it is.
"""

from collections.abc import Collection, Sequence

from batchrun.clock import Clock
from batchrun.money import format_usd
from batchrun.provider.client import BillingRow, Client
from batchrun.provider.outcome import ProviderError
from batchrun.queue.answers import RefundSeen
from batchrun.queue.records import RefundDue
from batchrun.queue.store import Queue
from batchrun.run.events import Event, Kind, Observer

DENIED_AFTER_MS = 24 * 3_600_000
_GROUP = 40
"""Predictions a question: each has two rows at the most, and a page holds a hundred."""


async def watch_refunds(queue: Queue, client: Client, clock: Clock, observer: Observer) -> None:
    """Book what the billing shows. A billing that is closed or does not answer changes nothing."""
    due = await queue.doubts.refunds_due()
    for start in range(0, len(due), _GROUP):
        group = due[start : start + _GROUP]
        try:
            asked = [one.prediction_id for one in group]
            rows = await client.billing(asked)
        except ProviderError:
            return
        for one in group:
            seen = judge_refund(one, rows, asked, clock.now_ms())
            if seen is None or not await queue.doubts.record_refund(one.attempt_id, seen):
                continue
            if seen is RefundSeen.DENIED:
                amount = format_usd(one.amount_usd_micros)
                text = f"no refund of {amount} came within a day for failed prediction {one.prediction_id}; ask the support"
                observer(Event(Kind.NOTE, detail=text))


def judge_refund(due: RefundDue, rows: Sequence[BillingRow], asked: Collection[str], now_ms: int) -> RefundSeen | None:
    """What the billing says of one failed attempt, asked together with others; None while it may still come."""
    own = [row for row in rows if row.prediction_id == due.prediction_id]
    kinds = {row.kind for row in own}
    charged, back = (sum(row.amount_usd_micros for row in own if row.kind == kind) for kind in ("deduct", "refund"))
    # Only the whole of it: of a part the audit books the difference, once it counts as spent.
    if back >= max(charged, 1):
        return RefundSeen.REFUNDED
    if now_ms - due.failed_ms < DENIED_AFTER_MS:
        return None
    if "deduct" in kinds:
        return RefundSeen.DENIED
    # An empty answer proves nothing: the billing must show something of ours before absence means anything.
    return RefundSeen.NEVER_CHARGED if any(row.prediction_id in asked for row in rows) else None
