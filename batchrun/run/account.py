"""Whether this key belongs to the account that bought the queue's clips (design, section 4a)."""

from batchrun.clock import Clock
from batchrun.provider.client import Client
from batchrun.provider.outcome import NotFoundError, ProviderError
from batchrun.queue.records import Identity
from batchrun.queue.store import Queue
from batchrun.run.halts import Halt, HaltKind

_FRESH_MS = 5 * 60_000
"""A prediction may be answered with 404 for so long after its submit."""
_RECENT_MS = 6 * 86_400_000
_ASKED = 3


async def other_account(queue: Queue, client: Client, clock: Clock) -> Halt | None:
    """A halt when no recent prediction of the queue is visible to this key at all; None when one is, or nobody knows."""
    now_ms = clock.now_ms()
    recent = await queue.doubts.recent_predictions(now_ms - _RECENT_MS, now_ms - _FRESH_MS, _ASKED)
    for prediction_id in recent:
        try:
            await client.result(prediction_id)
        except NotFoundError:
            continue
        except ProviderError:
            pass  # the ordinary way finds out what is wrong
        return None
    if not recent or await _lists_one(queue, client, now_ms):
        return None
    return Halt(HaltKind.OTHER_ACCOUNT, _message(recent, queue.identity))


async def _lists_one(queue: Queue, client: Client, now_ms: int) -> bool:
    """Whether the newest page of the list shows one of ours. A list that cannot be read decides nothing."""
    ours = await queue.doubts.predictions_since(now_ms - _RECENT_MS)
    ahead_ms = client.server_ahead_ms or 0
    try:
        listed = await client.list_page(None, now_ms + ahead_ms - _RECENT_MS, now_ms + ahead_ms, 1)
    except ProviderError:
        return True
    return any(one.prediction_id in ours for one in listed)


def _message(recent: list[str], identity: Identity) -> str:
    return (
        f"this key sees none of the newest predictions of the queue ({', '.join(recent)}) at {identity.origin}: it belongs "
        "to another account. Nothing was changed. Use the key that bought them, or another queue with --db PATH"
    )
