"""What the queue's facades share: reading, writing in groups, and answers that must not be lost."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from batchrun.clock import Clock
from batchrun.errors import StorageError
from batchrun.queue.answers import ANSWERS
from batchrun.queue.journal import Journal
from batchrun.queue.rescue import Rescue
from batchrun.queue.script import Database, Row, Script, ScriptFactory, ask

T = TypeVar("T")


class Access:
    """One process's way into the queue's database."""

    def __init__(self, database: Database, clock: Clock, rescue: Rescue) -> None:
        self.clock = clock
        self.rescue = rescue
        self._database = database
        self._journal = Journal(database)

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
        now_ms = self.clock.now_ms()
        try:
            return await self._journal.run(lambda: ANSWERS[name](*args, now_ms))
        except StorageError as error:
            raise StorageError(f"{error}; {await self._rescue(name, [*args, now_ms])}") from error

    async def _rescue(self, name: str, args: list[str | int | None]) -> str:
        try:
            path = await asyncio.to_thread(self.rescue.keep, name, args)
        except OSError as error:
            return f"nor could the provider's answer be kept ({error.strerror}): {name} {args}"
        return f"the provider's answer is kept in {path} for the next run"

    async def replay(self) -> int:
        """Book what earlier runs could not; returns how many answers that were.

        Raises:
            StorageError: it cannot be written now either; nothing is lost.
        """
        count = 0
        try:
            orphans = await asyncio.to_thread(self.rescue.orphans)
        except OSError as error:
            raise StorageError(
                f"what an earlier run has kept in {error.filename} cannot be read: {error.strerror}"
            ) from error
        for orphan in orphans:
            with orphan:
                for name, args in orphan.answers:
                    await self._journal.run(partial(ANSWERS[name], *args))
                    count += 1
                await asyncio.to_thread(orphan.remove)
        return count

    async def close(self) -> None:
        """Write what waits, then close."""
        await self._journal.drain()
        await self._database.close()
        self.rescue.close()
