"""To whom a queue belongs: one kind and one API origin, stored when it is made and compared at every opening."""

from collections.abc import Callable
from pathlib import Path

from batchrun.errors import QueueError
from batchrun.queue.records import Identity
from batchrun.queue.script import Database, Params, Script, ask, ask_one


async def identify(
    database: Database, path: Path, kind: str, origin: str | None, new_id: Callable[[], str], now_ms: int
) -> Identity:
    """The queue's identity, written when it is new.

    Raises:
        QueueError: it belongs to another kind or origin, or is empty and `origin` is None.
    """
    row = await database.read(lambda: ask_one("read_identity"))
    if row is None and origin is not None:
        params: Params = {"queue_id": new_id(), "kind": kind, "origin": origin, "now_ms": now_ms}
        await database.transact([lambda: _write_identity(params)])
        row = await database.read(lambda: ask_one("read_identity"))
    if row is None:
        raise QueueError(f"the queue {path} is empty; a run fills it")
    identity = Identity(queue_id=row["queue_id"], kind=row["kind"], origin=row["origin"])
    if identity.kind != kind:
        raise QueueError(
            f"the queue {path} holds {_KINDS[identity.kind]}, not {_KINDS[kind]}; give this run its own --db"
        )
    if origin is not None and identity.origin != origin:
        raise QueueError(
            f"the queue {path} belongs to {identity.origin}, and this run would ask {origin}: paid clips would be looked "
            "for in the wrong place. Set WAVESPEED_BASE_URL back, or use another queue with --db PATH"
        )
    return identity


_KINDS = {"paid": "paid clips", "preview": "previews"}


def _write_identity(params: Params) -> Script[None]:
    """A second process that makes the same queue at once finds the first one's row."""
    row = yield from ask_one("read_identity")
    if row is None:
        yield from ask("write_identity", **params)
