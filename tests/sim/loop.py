"""An event loop whose time stands still while there is something to do, and jumps when there is not."""

import asyncio
import heapq
import selectors
from collections.abc import Callable
from typing import Any

from tests.sim.machine import current


class _NoSockets(selectors.SelectSelector):
    """Nothing is ever ready: there are no sockets, and asking the kernel at every step costs."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Hours pass in milliseconds, in the same order at every run. Threads are run in line."""

    def __init__(self) -> None:
        super().__init__(_NoSockets())
        self._virtual_s = 0.0
        self.steps = 0

    def time(self) -> float:
        return self._virtual_s

    def _run_once(self) -> None:
        self.steps += 1
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]  # asyncio's own, in no stub
        while scheduled and scheduled[0].cancelled():
            self._timer_cancelled_count -= 1  # type: ignore[attr-defined]  # asyncio's own, in no stub
            heapq.heappop(scheduled)._scheduled = False
        if not self._ready and not self._stopping:  # type: ignore[attr-defined]  # asyncio's own, in no stub
            if not scheduled:
                raise RuntimeError("deadlock: nothing is ready and nobody waits for a time")
            # At least a microsecond: a wait shorter than the last digit of the time would never be over.
            self._virtual_s = max(self._virtual_s + 1e-6, scheduled[0].when())
        super()._run_once()  # type: ignore[misc]  # asyncio's own, in no stub

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # noqa: ANN401  # as in asyncio
        """Work on files: at once, and not at all in a process that is dead."""
        future = self.create_future()
        process = current.get(None)
        try:
            if process is not None:
                process.check(f"file.before {_name(func, args)}")
            result = func(*args)
            if process is not None:
                process.check(f"file.after {_name(func, args)}")
        except BaseException as error:  # noqa: BLE001  # whoever waits for the thread gets it
            future.set_exception(error)
        else:
            future.set_result(result)
        return future


def _name(func: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """`asyncio.to_thread` hands over a partial of `Context.run` with the function as its first argument."""
    inner = getattr(func, "args", None) or args
    return getattr(inner[0], "__name__", "?") if inner else getattr(func, "__name__", "?")
