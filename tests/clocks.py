"""A clock that stands still until the test moves it, and one that does not let anybody sleep for long."""

import asyncio
from contextlib import AbstractAsyncContextManager

from batchrun.clock import SystemClock


class StillClock:
    """Readings that only the test changes; waiting is the event loop's."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self.ms = now_ms

    def advance(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)

    def now_ms(self) -> int:
        return self.ms

    def boot_s(self) -> float:
        return self.ms / 1000

    def monotonic_s(self) -> float:
        return self.ms / 1000

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(0)

    def timeout(self, delay_s: float | None) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(delay_s)


class HastyClock(SystemClock):
    """The machine's clock; but whoever sleeps is woken so many times sooner."""

    def __init__(self, times: float) -> None:
        self._times = times

    async def sleep(self, delay_s: float) -> None:
        await super().sleep(delay_s / self._times)
