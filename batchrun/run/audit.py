"""Compares what attempts were settled at with what the provider's billing says, and books the difference.

Source: the provider documents no price lock between quote and charge, and says to settle from the billing
(`docs-common-api/billings`). A billing that is closed, silent or implausible changes nothing.
"""

from batchrun.clock import Clock
from batchrun.money import format_usd
from batchrun.provider.client import Client
from batchrun.provider.outcome import ProviderError
from batchrun.queue.answers import Audit
from batchrun.queue.doubts import WATCH_MS
from batchrun.queue.records import ChargeDue
from batchrun.queue.store import Queue
from batchrun.run.events import Event, Kind, Observer
from batchrun.run.refunds import DENIED_AFTER_MS

_GROUP = 40
"""Predictions a question: each has two rows as a rule, and a page holds a hundred."""
_MAX_GROUPS = 1250
"""In one look; the rest is for the next one."""
MAX_CHARGE_USD_MICROS = 10_000_000
"""No clip costs ten dollars: such an amount is a change of units, not a price."""


async def audit_charges(queue: Queue, client: Client, clock: Clock, observer: Observer) -> None:
    """Make the ledger equal to the billing, for everything that was settled within a week."""
    now_ms = clock.now_ms()
    after_ms, after_id = now_ms - WATCH_MS, ""
    for _ in range(_MAX_GROUPS):
        group = await queue.doubts.charges_to_audit(after_ms, after_id, _GROUP)
        if not group:
            return
        after_ms, after_id = group[-1].finished_ms, group[-1].attempt_id
        try:
            charges = await client.charges([one.prediction_id for one in group])
        except ProviderError:
            return
        audits = [
            Audit(one.attempt_id, charged, is_final(one, charged, now_ms))
            for one in group
            if 0 <= (charged := charges.get(one.prediction_id, -1)) <= MAX_CHARGE_USD_MICROS
        ]
        ids = {one.attempt_id: one.prediction_id for one in group}
        for audit, more in zip(audits, await queue.doubts.record_audits(audits), strict=True):
            if more:
                charged_text = format_usd(audit.charged_usd_micros)
                text = f"prediction {ids[audit.attempt_id]} was charged {charged_text}, {_differs(more)} than booked"
                observer(Event(Kind.NOTE, detail=text))


def is_final(due: ChargeDue, charged_usd_micros: int, now_ms: int) -> bool:
    """Whether the billing need not be asked again: a failed task may still be refunded."""
    return due.completed or charged_usd_micros == 0 or now_ms - due.finished_ms > 2 * DENIED_AFTER_MS


def _differs(more_usd_micros: int) -> str:
    word = "more" if more_usd_micros > 0 else "less"
    return f"{format_usd(abs(more_usd_micros))} {word}"
