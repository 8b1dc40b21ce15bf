"""The books as they stand at the end of a run."""

from collections.abc import Collection, Sequence

from batchrun.queue.records import Balance, Cap, Scope
from batchrun.queue.store import Queue
from batchrun.run.terms import CapView, Result


async def look(queue: Queue, result: Result, batch_ids: Collection[int], caps: Sequence[Cap]) -> None:
    """Fill the result in: jobs by state, money, caps, what was charged late and what may still come back."""
    views = await queue.batch_views(chosen_only=result.is_selection)
    result.batches = [view for view in views if view.batch_id in batch_ids]
    for view in result.batches:
        balance = await queue.balance(Scope(batch_id=view.batch_id))
        result.balance = Balance(
            held_usd_micros=result.balance.held_usd_micros + balance.held_usd_micros,
            spent_usd_micros=result.balance.spent_usd_micros + balance.spent_usd_micros,
        )
    result.late = await queue.doubts.late_charges()
    await queue.doubts.late_told()
    due = await queue.doubts.refunds_due()
    result.refund_due_usd_micros = sum(one.amount_usd_micros for one in due if one.batch_id in batch_ids)
    result.run_balance = await queue.balance(Scope(run_id=queue.run_id))
    for cap in {cap.name: cap for cap in caps}.values():
        balance = await queue.balance(cap.scope)
        result.caps.append(CapView(name=cap.name, limit_usd_micros=cap.limit_usd_micros, balance=balance))
