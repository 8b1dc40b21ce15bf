"""Whether this key belongs to the account that bought the queue's clips (design, section 4a)."""

from contextlib import aclosing

from batchrun.clock import Clock
from batchrun.provider.client import Client
from batchrun.provider.outcome import NotAllowedError, NotFoundError, ProviderError
from batchrun.queue.records import Identity
from batchrun.queue.store import Queue
from batchrun.run.events import Event, Kind, Observer
from batchrun.run.evidence import OLDEST_MS
from batchrun.run.halts import Halt, HaltKind, halt_of_error

_FRESH_MS = 5 * 60_000
"""A prediction may be answered with 404 for so long after its submit."""
_ASKED = 3
_LOOKS = 10
_NOT_YET = (
    "this key sees none of the predictions that the queue has just bought; looking again for up to "
    f"{_FRESH_MS // 60_000} minutes, because the provider may be late"
)


async def other_account(queue: Queue, client: Client, clock: Clock, observer: Observer) -> Halt | None:
    """A halt when no recent prediction of the queue is visible to this key at all; None when one is, or nobody knows."""
    since_ms, until_ms = clock.now_ms() - OLDEST_MS, clock.now_ms()
    recent = await queue.doubts.recent_predictions(since_ms, until_ms, _ASKED)
    if not recent:
        return None
    fresh = not await queue.doubts.recent_predictions(since_ms, until_ms - _FRESH_MS, 1)
    for looks in range(_LOOKS if fresh else 1):
        try:
            if await _sees_one(client, recent) or await _lists_one(queue, client, clock.now_ms()):
                return None
        except NotAllowedError as error:
            return halt_of_error(error)
        except ProviderError:
            return None  # the ordinary way finds out what is wrong
        if fresh:
            if looks == 0:
                observer(Event(Kind.WAITING, detail=_NOT_YET))
            await clock.sleep(_FRESH_MS / 1000 / _LOOKS)
    return Halt(HaltKind.OTHER_ACCOUNT, _message(recent, queue.identity))


async def _sees_one(client: Client, recent: list[str]) -> bool:
    for prediction_id in recent:
        try:
            await client.result(prediction_id)
        except NotFoundError:
            continue
        return True
    return False


async def _lists_one(queue: Queue, client: Client, now_ms: int) -> bool:
    """Whether the newest page of the list shows one of ours. A list that cannot be read decides nothing."""
    ours = await queue.doubts.predictions_since(now_ms - OLDEST_MS)
    ahead_ms = client.server_ahead_ms or 0
    try:
        async with aclosing(client.listed(None, now_ms + ahead_ms - OLDEST_MS, now_ms + ahead_ms)) as pages:
            newest = await anext(pages)
    except ProviderError:
        return True
    return any(one.prediction_id in ours for one in newest.predictions)


def _message(recent: list[str], identity: Identity) -> str:
    return (
        f"this key sees none of the newest predictions of the queue ({', '.join(recent)}) at {identity.origin}: it belongs "
        "to another account. Nothing was changed. Use the key that bought them, or another queue with --db PATH"
    )
