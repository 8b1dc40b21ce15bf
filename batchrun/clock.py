"""Time is handed in: nothing else in the package asks the system what time it is, or sleeps.

Three readings, because one does not do for all:

- `now_ms`: the wall clock, for what is stored and compared between processes and with the provider;
- `boot_s`: seconds that run on while the machine sleeps and never step, for "is it still safe to send this?";
- `monotonic_s`: the event loop's own time, for waiting.
"""

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since 1970-01-01 UTC."""

    def boot_s(self) -> float:
        """Seconds since some fixed moment, running on in suspend, never stepping."""

    def monotonic_s(self) -> float:
        """Seconds for waiting, never stepping."""

    async def sleep(self, delay_s: float) -> None:
        """Come back after `delay_s`."""

    def timeout(self, delay_s: float | None) -> AbstractAsyncContextManager[object]:
        """A block that raises TimeoutError when it is not left within `delay_s`."""


# CLOCK_MONOTONIC stands still while a Linux machine sleeps; elsewhere the monotonic clock is what there is.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """See `Clock`."""
        return time.time_ns() // 1_000_000

    def boot_s(self) -> float:
        """See `Clock`."""
        return time.clock_gettime(_BOOT_CLOCK)

    def monotonic_s(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(delay_s)

    def timeout(self, delay_s: float | None) -> AbstractAsyncContextManager[object]:
        """See `Clock`."""
        return asyncio.timeout(delay_s)


def day_of(now_ms: int, zone: tzinfo) -> str:
    """The calendar day of a moment in `zone`, such as `2026-11-22`."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(zone).date().isoformat()


def next_local_ms(now_ms: int, hour: int, minute: int) -> int:
    """The next moment at which this machine's own clock on the wall shows the time."""
    now = datetime.fromtimestamp(now_ms / 1000).astimezone()
    at = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if at <= now:
        at += timedelta(days=1)
    return int(at.timestamp() * 1000)


def local_minute(now_ms: int) -> str:
    """A moment as this machine's clock on the wall shows it: `2026-11-22 09:20`."""
    return f"{datetime.fromtimestamp(now_ms // 1000).astimezone():%Y-%m-%d %H:%M}"


def rfc3339(now_ms: int) -> str:
    """A moment as the provider writes it: `2026-11-22T08:20:00.000Z`."""
    moment = datetime.fromtimestamp(now_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{now_ms % 1000:03d}Z"
