"""Whether the provider answers at all: one failed request is weather, nothing but failures is an outage.

In an outage the run stops asking, says so, sends one free request after each pause, and goes on with the first answer.
Submits wait for that answer: a POST into an outage ends with an unknown outcome.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from batchrun.clock import Clock
from batchrun.provider.outcome import ProviderError, TryLaterError

GIVE_UP_AFTER_S = 180.0
_OPEN_AFTER = 5
"""Failures in a row, at the least."""
_OPEN_AFTER_SHARE = 1 / 18
"""The first of them must be as old as this part of the time after which the run gives up."""
_FIRST_PAUSE_SHARE = 1 / 36
_LONGEST_PAUSE_SHARE = 1 / 6


@dataclass(slots=True)
class Health:
    """One a run, told about every request that may be repeated. A circuit breaker; `run` must be running."""

    clock: Clock
    chance: random.Random
    on_outage: Callable[[str], None]
    """Called once, with the last error, when nothing has worked for too long."""
    probe: Callable[[], Awaitable[object]]
    """Asks the provider something that costs nothing, for when nobody else wants to ask."""
    say: Callable[[str], None] = lambda _: None
    give_up_after_s: float = GIVE_UP_AFTER_S
    failing_since_s: float | None = None
    _failures: int = 0
    _last: str = ""
    _given_up: bool = False
    _pauses: int = 0
    _closed: asyncio.Event = field(default_factory=lambda: _set(asyncio.Event()))
    _opened: asyncio.Event = field(default_factory=asyncio.Event)
    _waiting: deque["asyncio.Future[None]"] = field(default_factory=deque)

    @property
    def is_open(self) -> bool:
        """Whether the run has stopped asking."""
        return not self._closed.is_set()

    def worked(self) -> None:
        """An answer came."""
        self.failing_since_s, self._failures, self._pauses = None, 0, 0
        if self.is_open:
            self.say("the provider answers again")
            self._opened.clear()
            self._closed.set()
            while self._waiting:
                _wake(self._waiting.popleft())

    def failed(self, message: str) -> None:
        """No answer, or one that says that the provider is in trouble."""
        now_s = self.clock.monotonic_s()
        self._failures, self._last = self._failures + 1, message
        if self.failing_since_s is None:
            self.failing_since_s = now_s
        failing_s = now_s - self.failing_since_s
        if failing_s >= self.give_up_after_s and self._failures >= _OPEN_AFTER and not self._given_up:
            self._given_up = True
            self.on_outage(message)
        if self._failures >= _OPEN_AFTER and failing_s >= self.give_up_after_s * _OPEN_AFTER_SHARE:
            self._closed.clear()
            self._opened.set()

    async def ready(self) -> None:
        """Come back when it makes sense to ask: at once, or in an outage as the one that tries."""
        if self.is_open:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn

    async def closed(self) -> None:
        """Come back when the provider answers."""
        await self._closed.wait()

    async def run(self) -> None:
        """Let one request through after each pause of an outage, until cancelled."""
        while True:
            await self._opened.wait()
            pause_s = self._next_pause_s()
            self.say(f"the provider does not answer ({self._last}): asking again in {pause_s:.0f} s")
            await self.clock.sleep(pause_s)
            if self.is_open:
                await self._try_one()

    def _next_pause_s(self) -> float:
        self._pauses += 1
        longest_s = self.give_up_after_s * _LONGEST_PAUSE_SHARE
        pause_s = min(longest_s, self.give_up_after_s * _FIRST_PAUSE_SHARE * 2.0 ** (self._pauses - 1))
        return pause_s * (0.5 + self.chance.random() / 2)

    async def _try_one(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if _wake(turn):
                return
        try:
            await self.probe()
        except TryLaterError as error:
            self.failed(str(error))
        except ProviderError:
            self.worked()  # a refusal is an answer
        else:
            self.worked()


def _wake(turn: "asyncio.Future[None]") -> bool:
    """Whether somebody was still waiting."""
    if turn.done():
        return False
    turn.set_result(None)
    return True


def _set(event: asyncio.Event) -> asyncio.Event:
    event.set()
    return event
