"""Where a rehearsal is played: a folder that is made anew, an account on this machine, and no way out of it."""

import fcntl
import os
import random
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from batchrun.clock import Clock, FastClock
from batchrun.errors import StorageError, UsageError
from batchrun.manifest.catalogue import Tier
from batchrun.provider.http import Http, RawAnswer
from batchrun.provider.urls import is_loopback
from batchrun.queue.records import Took
from batchrun.queue.script import Database, Outcome, ScriptFactory
from batchrun.queue.sqlite import SqliteDatabase
from batchrun.queue.store import Queue
from batchrun.run.session import Surroundings

if TYPE_CHECKING:
    from batchrun.emulator.faults import Fault
    from batchrun.emulator.world import World

T = TypeVar("T")

ORIGIN = "rehearsal"
"""To whom its queue belongs: no paid run takes it for its own."""
_STALLED_S = 1.0
"""An answer from this machine that has not come by then is kept back on purpose: time goes on."""
_MARK = ".rehearsal"
"""A folder with this file in it may be thrown away."""
_REFUND_MS = 3 * 3_600_000
"""The provider promises refunds of failed tasks within three hours (`docs/refund-policy`)."""
_PLENTY_USD_MICROS = 10**15


async def teach(path: Path, took: Sequence[Took], clock: Clock) -> None:
    """The new queue knows of latencies what the real one knows: it polls and keeps deadlines alike."""
    queue = await Queue.open(path, clock, kind="paid", origin=ORIGIN)
    try:
        for one in took:
            await queue.record_latency(one)
    finally:
        await queue.close()


class _LocalHttp(Http):
    """The only way out of a rehearsal: to this machine, without a key. No time passes while an answer is on its way."""

    def __init__(self, base_url: str, key: str | None, clock: FastClock) -> None:
        if key is not None or not is_loopback(base_url):
            raise RuntimeError(f"a rehearsal may not ask {base_url}")
        super().__init__(base_url, None, clock)
        self._fast = clock

    async def api(self, *args: Any, **kwargs: Any) -> RawAnswer:  # noqa: ANN401  # as inherited
        """See `Http`."""
        with self._held():
            return await super().api(*args, **kwargs)

    async def put(self, *args: Any, **kwargs: Any) -> RawAnswer:  # noqa: ANN401  # as inherited
        """See `Http`."""
        with self._held():
            return await super().put(*args, **kwargs)

    @asynccontextmanager
    async def stream(
        self, url: str, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[int, Mapping[str, str], AsyncIterator[bytes]]]:
        """See `Http`."""
        with self._held():
            async with super().stream(url, headers) as answer:
                yield answer

    @contextmanager
    def _held(self) -> Iterator[None]:
        release = self._fast.hold(_STALLED_S)
        try:
            yield
        finally:
            release()


class _HeldDatabase:
    """A database during whose work no time passes."""

    def __init__(self, database: Database, clock: FastClock) -> None:
        self._database = database
        self._clock = clock

    async def transact(self, scripts: Sequence[ScriptFactory[Any]]) -> list[Outcome]:
        """See `Database`."""
        return await self._held(self._database.transact(scripts))

    async def read(self, script: ScriptFactory[T]) -> T:
        """See `Database`."""
        return await self._held(self._database.read(script))

    async def close(self) -> None:
        """See `Database`."""
        await self._held(self._database.close())

    async def _held(self, work: Awaitable[T]) -> T:
        release = self._clock.hold()
        try:
            return await work
        finally:
            release()


def surroundings(seed: int, clock: FastClock) -> Surroundings:
    """What a rehearsed run gets from outside."""

    async def connect(path: Path, *, create: bool) -> Database:
        return _HeldDatabase(await SqliteDatabase.open(path, create=create), clock)

    return Surroundings(
        clock=clock,
        chance=random.Random(seed),  # noqa: S311  # jitter
        new_id=lambda: secrets.token_hex(8),
        connect=connect,
        connect_http=lambda base_url, key, _: _LocalHttp(base_url, key, clock),
    )


def account_of(
    tier: Tier | None,
    faults: "Mapping[Fault, float]",
    seed: int,
    seen_s: Mapping[int, Sequence[float]],
    clock: Clock,
    folder: Path,
) -> "World":
    """An account with credit enough.

    Args:
        tier: its limits; None: it has none.
        faults: what goes wrong with it, and how often.
        seed: of its luck.
        seen_s: what clips have really taken, in seconds, by their length; others take what is assumed.
        clock: of all that happens.
        folder: of its files.
    """
    from batchrun.emulator.books import Books  # noqa: PLC0415  # a paid run does not need the emulator
    from batchrun.emulator.faults import Dice  # noqa: PLC0415  # the same
    from batchrun.emulator.latency import Latency  # noqa: PLC0415  # the same
    from batchrun.emulator.world import Account, World  # noqa: PLC0415  # the same

    account = Account(refund_after_ms=_REFUND_MS)
    if tier is not None:
        account = replace(account, concurrency=tier.concurrency, per_minute=tier.per_minute)
    return World(
        clock,
        Latency(1.0, seen_s),
        Dice(faults, seed),
        account=account,
        books=Books(_PLENTY_USD_MICROS),
        folder=folder,
        seed=seed,
    )


async def served(world: "World", stack: AsyncExitStack, *, renders: bool) -> str:
    """Its server, for as long as the stack is open: the address. Its files are gone afterwards."""
    from batchrun.emulator.server import serve  # noqa: PLC0415  # a paid run does not need the emulator

    ready = None
    if not renders:
        from batchrun.emulator.ready import ready_clips  # noqa: PLC0415  # the same, and the encoder

        ready = ready_clips()
    if world.folder is not None:
        stack.callback(shutil.rmtree, world.folder, ignore_errors=True)  # copies of all pictures
    emulator = await stack.enter_async_context(serve(world, ready_clips=ready))
    return emulator.base_url


def folder_of(queue: Path) -> Path:
    """Beside the real queue: `.batchrun/rehearsal`, of `NAME.db` it is `NAME-rehearsal`."""
    plain = queue.parent.name == ".batchrun" and queue.name == "queue.db"
    return queue.resolve().parent / ("rehearsal" if plain else f"{queue.stem}-rehearsal")


@contextmanager
def emptied(folder: Path) -> Iterator[None]:
    """A new folder in place of the last rehearsal's, kept from other rehearsals for the time of the block."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder.with_name(f"{folder.name}.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another rehearsal is at work in {folder}; wait for its end") from None
        _make_anew(folder)
        yield
    finally:
        os.close(lock)


def _make_anew(folder: Path) -> None:
    try:
        if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
            raise UsageError(f"{folder} holds something that is no rehearsal; move it away")
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        (folder / _MARK).write_text("This folder is made anew by each rehearsal of batchrun.\n", "utf-8")
    except OSError as error:
        raise StorageError(f"{folder} cannot be made anew: {error.strerror or error}") from error
