"""Time is handed in: nothing else in the package asks the system what time it is, or sleeps.

Three readings, because one does not do for all:

- `now_ms`: the wall clock, for what is stored and compared between processes and with the provider;
- `boot_s`: seconds that run on while the machine sleeps and never step, for "is it still safe to send this?";
- `monotonic_s`: the event loop's own time, for waiting.
"""

import asyncio
import heapq
import itertools
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


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


_STEP_S = 0.005
"""Of real time, between two looks of a `FastClock`: a busy machine, which comes late, makes it slower by that."""


@dataclass(order=True, slots=True)
class _Alarm:
    due_s: float
    order: int
    ring: Callable[[], None] = field(compare=False)
    is_off: bool = field(default=False, compare=False)


class FastClock:
    """Begins now and passes up to `speed` times as fast as the machine's clocks: for rehearsals.

    It never runs ahead of the work. It stands still while something real is under way (`hold`), while nobody waits for
    it, and until everybody who is due has been woken; and no more passes than belongs to one short look, however late
    that look comes. So a slow machine makes it slower, and nothing in it comes too late for want of a disk or processor.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._start_ms = SystemClock().now_ms()
        self._now_s = 0.0
        self._alarms: list[_Alarm] = []
        self._order = itertools.count()
        self._held_until_s: dict[int, float] = {}
        self._next_look: asyncio.Handle | None = None
        self._looked_s = 0.0
        self._ahead_s = 0.0
        """What may pass before the next look."""

    def now_ms(self) -> int:
        """See `Clock`."""
        return self._start_ms + int(self._now_s * 1000)

    def boot_s(self) -> float:
        """See `Clock`."""
        return self._now_s

    def monotonic_s(self) -> float:
        """See `Clock`."""
        return self._now_s

    async def sleep(self, delay_s: float) -> None:
        """See `Clock`."""
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        over = asyncio.Event()
        with self._alarm(delay_s, over.set):
            await over.wait()

    @asynccontextmanager
    async def timeout(self, delay_s: float | None) -> AsyncIterator[object]:
        """See `Clock`."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as block:
            if delay_s is None:
                yield block
                return
            with self._alarm(delay_s, lambda: block.reschedule(loop.time())):
                yield block

    def hold(self, at_most_s: float = math.inf) -> Callable[[], None]:
        """Stop the time while something real is under way, for so long in real seconds; call what is returned at its end."""
        number = next(self._order)
        self._held_until_s[number] = time.monotonic() + at_most_s

        def release() -> None:
            self._held_until_s.pop(number, None)
            if self._next_look is not None and not self._held_until_s:
                self._next_look.cancel()
                self._looked_s = time.monotonic()
                self._look_again(0)

        return release

    def _is_held(self, real_s: float) -> bool:
        for number, until_s in [*self._held_until_s.items()]:
            if until_s > real_s:
                return True
            del self._held_until_s[number]
        return False

    @contextmanager
    def _alarm(self, delay_s: float, ring: Callable[[], None]) -> Iterator[None]:
        alarm = _Alarm(self._now_s + delay_s, next(self._order), ring)
        heapq.heappush(self._alarms, alarm)
        if self._next_look is None:
            self._looked_s = time.monotonic()
            self._look_again(0)
        try:
            yield
        finally:
            alarm.is_off = True

    def _look_again(self, after_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._next_look = loop.call_later(after_s, self._look) if after_s else loop.call_soon(self._look)

    def _look(self) -> None:
        """Wake who is due, one at a time, or let some time pass."""
        real_s = time.monotonic()
        passed_s, self._looked_s = min(real_s - self._looked_s, _STEP_S) * self._speed, real_s
        self._ahead_s = 0.0 if self._is_held(real_s) else min(self._ahead_s + passed_s, _STEP_S * self._speed)
        while self._alarms and self._alarms[0].is_off:
            heapq.heappop(self._alarms)
        if not self._alarms:
            self._next_look = None
            return
        wait_s = max(0.0, self._alarms[0].due_s - self._now_s)
        if wait_s <= self._ahead_s:
            self._ahead_s -= wait_s
            self._now_s += wait_s
            heapq.heappop(self._alarms).ring()
            self._look_again(0)
        else:
            self._now_s += self._ahead_s
            wait_s -= self._ahead_s
            self._ahead_s = 0.0
            self._look_again(min(_STEP_S, max(wait_s / self._speed, 1e-6)))


class HoldingLoop(asyncio.SelectorEventLoop):
    """An event loop for a `FastClock`: while a thread is at work for it, no time passes."""

    def __init__(self, clock: FastClock) -> None:
        super().__init__()
        self._clock = clock

    def run_in_executor(  # type: ignore[override]  # the inherited types are wider than what is asked here
        self,
        executor: Executor | None,
        func: Callable[..., T],
        *args: Any,  # noqa: ANN401  # as inherited
    ) -> "asyncio.Future[T]":
        """As inherited."""
        release = self._clock.hold()
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(lambda _: release())
        return future


def day_of(now_ms: int, zone: tzinfo) -> str:
    """The calendar day of a moment in `zone`, such as `2026-11-22`."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(zone).date().isoformat()


def next_local_ms(now_ms: int, hour: int, minute: int) -> int:
    """The next moment at which this machine's own clock on the wall shows the time."""
    # Without a zone: `astimezone()` would keep today's distance from UTC, an hour wrong in the nights in which it changes.
    now = datetime.fromtimestamp(now_ms / 1000)  # noqa: DTZ006  # the clock on the wall
    at = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if at.timestamp() * 1000 <= now_ms:
        at += timedelta(days=1)
    return int(at.timestamp() * 1000)


def local_minute(now_ms: int) -> str:
    """A moment as this machine's clock on the wall shows it: `2026-11-22 09:20`."""
    return f"{datetime.fromtimestamp(now_ms // 1000).astimezone():%Y-%m-%d %H:%M}"


def rfc3339(now_ms: int) -> str:
    """A moment as the provider writes it: `2026-11-22T08:20:00.000Z`."""
    moment = datetime.fromtimestamp(now_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{now_ms % 1000:03d}Z"
