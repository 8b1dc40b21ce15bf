"""A clock that stands still until the test moves it."""

import asyncio
from contextlib import AbstractAsyncContextManager


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
