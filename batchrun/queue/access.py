"""What the queue's facades share: reading, writing in groups, and answers that must not be lost."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from batchrun.clock import Clock
from batchrun.errors import StorageError
from batchrun.queue.answers import ANSWERS
from batchrun.queue.journal import Journal
from batchrun.queue.rescue import Orphan, Rescue
from batchrun.queue.script import Database, Row, Script, ScriptFactory, ask

T = TypeVar("T")


class Access:
    """One process's way into the queue's database."""

    def __init__(self, database: Database, clock: Clock, rescue: Rescue) -> None:
        self.clock = clock
        self.rescue = rescue
        self._database = database
        self._journal = Journal(database)
        self._answering: set[asyncio.Task[object]] = set()

    async def read(self, script: ScriptFactory[T]) -> T:
        """Any script that only looks, on one snapshot."""
        value: T = await self._database.read(script)
        return value

    async def run(self, script: ScriptFactory[T]) -> T:
        """Any script, written in the next group. Raises StorageError when it was not written."""
        return await self._journal.run(script)

    async def write(self, statement: str, /, **params: object) -> Sequence[Row]:
        """One statement."""
        return await self._journal.run(lambda: ask(statement, **params))

    async def book(self, script: Callable[..., Script[T]], *args: object) -> T:
        """A script that can be run again later with the same effect; it gets the time of writing."""
        now_ms = self.clock.now_ms()
        return await self._journal.run(lambda: script(*args, now_ms))

    async def answer(self, name: str, *args: str | int | None) -> object:
        """An answer of the provider, by its name in `answers.ANSWERS`: written, or at least kept in the rescue file.

        Raises:
            StorageError: it could not be written; the next start of a run reads it from the rescue file.
        """
        # Whoever waits may be cancelled, when others have met the same trouble: the answer is written or kept all the same.
        task = asyncio.create_task(self._answered(name, [*args, self.clock.now_ms()]))
        self._answering.add(task)
        task.add_done_callback(self._has_answered)
        return await asyncio.shield(task)

    def _has_answered(self, task: asyncio.Task[object]) -> None:
        self._answering.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: perhaps nobody waits for it any more, and what it says is kept

    async def _answered(self, name: str, args: list[str | int | None]) -> object:
        try:
            return await self._journal.run(lambda: ANSWERS[name](*args))
        except StorageError as error:
            raise StorageError(f"{error}; {await self._rescue(name, args)}") from error

    async def _rescue(self, name: str, args: list[str | int | None]) -> str:
        try:
            path = await asyncio.to_thread(self.rescue.keep, name, args)
        except OSError as error:
            return f"nor could the provider's answer be kept ({error.strerror}): {name} {args}"
        return f"the provider's answer is kept in {path} for the next run"

    async def replay(self) -> list[Path]:
        """Book what earlier runs could not; the files of which something can never be booked, now under other names.

        Going on without such an answer is safe: its attempt stays as it was written before the answer came, its money
        held, and is asked for at the provider as after a kill.

        Raises:
            StorageError: it cannot be written now either; nothing is lost.
        """
        try:
            orphans = await asyncio.to_thread(self.rescue.orphans)
        except OSError as error:
            raise StorageError(
                f"what an earlier run has kept in {error.filename} cannot be read: {error.strerror}"
            ) from error
        aside: list[Path] = []
        for orphan in orphans:
            with orphan:
                booked = [await self._is_booked(name, args) for name, args in orphan.answers]
                if all(booked) and not orphan.unreadable:
                    await asyncio.to_thread(orphan.remove)
                else:
                    aside.append(await asyncio.to_thread(_set_aside, orphan))
        return aside

    async def _is_booked(self, name: str, args: list[Any]) -> bool:
        """False for what no script here can book: of a newer version, or out of all bounds."""
        try:
            await self._journal.run(partial(ANSWERS[name], *args))
        except StorageError:
            raise
        except Exception:  # noqa: BLE001  # whatever it is, it would be so at every start; it changed nothing
            return False
        return True

    async def close(self) -> None:
        """Write what waits, then close."""
        await self._journal.drain()
        while self._answering:
            await asyncio.wait(self._answering)
        await self._database.close()
        self.rescue.close()


def _set_aside(orphan: Orphan) -> Path:
    """Where it is now; under its old name when it cannot be renamed, and then the next start reads it again. Blocks."""
    try:
        return orphan.set_aside()
    except OSError:
        return orphan.path
