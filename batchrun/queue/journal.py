"""Group commit: everything that waits goes into one transaction, then all are woken.

Durability costs one flush to disk for many jobs; while one group is being written the next one gathers.
"""

import asyncio
from collections import deque
from typing import Any, TypeVar

from batchrun.queue.script import Database, ScriptFactory

T = TypeVar("T")

MAX_GROUP = 500


class Journal:
    """The one writer of a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[tuple[ScriptFactory[Any], asyncio.Future[Any]]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def run(self, script: ScriptFactory[T]) -> T:
        """The script's value, once it is safely on disk.

        A caller that is cancelled does not take its item back: what was handed over is written.

        Raises:
            StorageError: it was not written.
            Exception: what the script raised; it changed nothing.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((script, future))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="journal")
        return await future

    async def drain(self) -> None:
        """Come back when nothing waits."""
        while self._writer is not None and not self._writer.done():
            await asyncio.wait([self._writer])

    async def _write(self) -> None:
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_GROUP))]
            try:
                outcomes = await self._database.transact([script for script, _ in group])
            except Exception as failure:  # noqa: BLE001  # each waiter gets it and decides
                outcomes = [(None, failure)] * len(group)
            for (_, future), (value, error) in zip(group, outcomes, strict=True):
                if future.done():
                    continue  # the waiter was cancelled; its item stands
                if error is None:
                    future.set_result(value)
                else:
                    future.set_exception(error)
