"""A simulated process: its clock, its way to the database, and the gates at which it can be killed or frozen."""

import asyncio
import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from batchrun.errors import StorageError
from batchrun.queue import sqlite
from batchrun.queue.script import Outcome, Script, ScriptFactory
from batchrun.queue.store import Connect

START_MS = 1_800_000_000_000
current: ContextVar["Process"] = ContextVar("process")


class KilledError(BaseException):
    """The process is gone; nothing may catch this."""


class Process:
    """One run of the program. `plan` is asked at every gate whether it dies there."""

    def __init__(self, name: str, plan: Callable[[str], bool] | None = None) -> None:
        self.name = name
        self.alive = True
        self.gates = 0
        self.last_gate = ""
        self.clock: SimClock | None = None
        self._plan = plan
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._on_death: list[Callable[[], None]] = []

    def on_death(self, action: Callable[[], None]) -> None:
        self._on_death.append(action)

    def kill(self) -> None:
        """SIGKILL: no effect of it comes through any more."""
        if self.alive:
            self.alive = False
            self._thawed.set()
            for action in self._on_death:
                action()

    def check(self, gate: str) -> None:
        """A point between two effects. Raises KilledError in a process that is dead, or dies here."""
        if self.alive:
            self.gates += 1
            self.last_gate = gate
            if self._plan is not None and self._plan(gate):
                self.kill()
        if not self.alive:
            raise KilledError(gate)

    async def gate(self, gate: str) -> None:
        """The same where the process can be frozen."""
        self.check(gate)
        await self._thawed.wait()
        if not self.alive:
            raise KilledError(gate)

    def freeze(self) -> None:
        """SIGSTOP: it does nothing until `thaw`; the world goes on."""
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()


class SimClock:
    """One machine's clocks: the wall can be wrong and step, boot time runs on in suspend, monotonic does not."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wrong_ms: int = 0) -> None:
        self._loop = loop
        self.wrong_ms = wrong_ms
        self.suspended_s = 0.0

    def now_ms(self) -> int:
        return START_MS + int(self._loop.time() * 1000) + self.wrong_ms

    def boot_s(self) -> float:
        return self._loop.time()

    def monotonic_s(self) -> float:
        return self._loop.time() - self.suspended_s

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)

    def timeout(self, delay_s: float | None) -> AbstractAsyncContextManager[object]:
        # A wait shorter than the last digit of the time would never be over.
        return asyncio.timeout(None if delay_s is None else max(delay_s, 0.001))


class SimDatabase:
    """The SQLite adapter's own functions, without its thread: gates before and after each commit."""

    def __init__(self, connection: sqlite3.Connection, process: Process, on_commit: Callable[[], None]) -> None:
        self._connection = connection
        self._process = process
        self._on_commit = on_commit
        process.on_death(self._cut)

    @classmethod
    def opener(cls, process: Process, on_commit: Callable[[], None]) -> Connect:
        async def connect(path: Path, *, create: bool) -> SimDatabase:
            path.parent.mkdir(parents=True, exist_ok=True)
            await process.gate("database.open")
            connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
            sqlite._prepare(connection, path)
            return cls(connection, process, on_commit)

        return connect

    async def transact(self, scripts: Sequence[ScriptFactory[Any]]) -> list[Outcome]:
        await self._go("commit.wait")
        names: dict[str, None] = {}
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            outcomes = sqlite._outcomes(self._connection, [named(script, names) for script in scripts])
            self._check(f"commit.before {'+'.join(names)}")
            self._connection.execute("COMMIT")
        except BaseException:
            if self._process.alive:
                sqlite._roll_back(self._connection)
            raise
        self._on_commit()
        self._check(f"commit.after {'+'.join(names)}")
        return outcomes

    async def read(self, script: ScriptFactory[Any]) -> Any:  # noqa: ANN401  # the script's own value
        await self._go("read")
        return sqlite._read(self._connection, script)

    async def close(self) -> None:
        if self._process.alive:
            self._connection.close()

    def _check(self, gate: str) -> None:
        """A dead process hears it as trouble of the disk: whoever waits for the commit must not wait for ever."""
        try:
            self._process.check(gate)
        except KilledError as error:
            raise StorageError(f"killed at {gate}") from error

    async def _go(self, gate: str) -> None:
        try:
            await self._process.gate(gate)
        except KilledError as error:
            raise StorageError(f"killed at {gate}") from error

    def _cut(self) -> None:
        """The kernel closes the file; what was not committed is gone."""
        self._connection.close()


def named(script: ScriptFactory[Any], names: dict[str, None]) -> ScriptFactory[Any]:
    """The same script; the names of its statements are noted."""

    def run() -> Script[Any]:
        inner = script()
        try:
            call = next(inner)
            while True:
                names[call.name] = None
                call = inner.send((yield call))
        except StopIteration as end:
            return end.value

    return run


def seeded_ids(chance: random.Random) -> Callable[[], str]:
    """Ids that are the same at every run of a seed."""
    return lambda: f"{chance.getrandbits(64):016x}"
