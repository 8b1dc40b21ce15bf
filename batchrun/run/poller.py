"""Looks at every running prediction, one heap for all: who is due is asked, within a budget of requests a second."""

import asyncio
import heapq
import itertools
import random
from dataclasses import dataclass, field

from batchrun.clock import Clock
from batchrun.provider.client import Client
from batchrun.provider.outcome import NotAllowedError, Prediction, Progress, ProviderError, TryLaterError
from batchrun.run.health import Health
from batchrun.run.polling import next_check_s
from batchrun.run.retry import POLL

MAX_CHECKS_A_SECOND = 50.0


class StuckError(Exception):
    """A prediction has been running for longer than `stuck_after`; the text says since when and what it said last."""


@dataclass(slots=True)
class _Watch:
    prediction_id: str
    submitted_ms: int
    future: "asyncio.Future[Prediction]"
    failures: int = 0


@dataclass(slots=True)
class Poller:
    """One a run. `run` must be running for `wait` to come back."""

    client: Client
    clock: Clock
    health: Health
    floor_s: float
    stuck_after_s: float
    chance: random.Random
    _heap: list[tuple[float, int, _Watch]] = field(default_factory=list)
    _order: "itertools.count[int]" = field(default_factory=itertools.count)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self, prediction_id: str, submitted_ms: int) -> Prediction:
        """The prediction once it has ended.

        Raises:
            NotAllowedError: the key is refused.
            StuckError: it is older than `stuck_after` and was looked at once more.
        """
        watch = _Watch(prediction_id, submitted_ms, asyncio.get_running_loop().create_future())
        age_s = self._age_s(watch)
        # A fresh prediction is looked at after the floor; one from an earlier run at once, phases spread.
        self._schedule(watch, self.floor_s if age_s < self.floor_s else self.chance.random() * min(1.0, self.floor_s))
        try:
            return await watch.future
        finally:
            watch.future.cancel()  # a watch nobody waits for is dropped when it is due

    async def run(self) -> None:
        """Ask whoever is due, until cancelled."""
        async with asyncio.TaskGroup() as checks:
            while True:
                watch = await self._next_due()
                checks.create_task(self._check(watch), name=f"check {watch.prediction_id}")
                await self.clock.sleep(1 / MAX_CHECKS_A_SECOND)

    async def _next_due(self) -> _Watch:
        while True:
            while self._heap and self._heap[0][2].future.done():
                heapq.heappop(self._heap)
            wait_s = self._heap[0][0] - self.clock.monotonic_s() if self._heap else None
            if wait_s is not None and wait_s <= 0:
                return heapq.heappop(self._heap)[2]
            self._wake.clear()
            try:
                async with self.clock.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _check(self, watch: _Watch) -> None:
        await self.health.ready()
        try:
            prediction = await self.client.result(watch.prediction_id)
        except NotAllowedError as error:
            self.health.worked()
            if not watch.future.done():
                watch.future.set_exception(error)
            return
        except ProviderError as error:
            self._failed(watch, error)
            return
        watch.failures = 0
        self.health.worked()
        if watch.future.done():
            return
        if prediction.progress is Progress.RUNNING:
            self._schedule(watch, next_check_s(self._age_s(watch), self.floor_s, self.stuck_after_s))
            self._give_up_when_stuck(watch, prediction.status_word)
        else:
            watch.future.set_result(prediction)

    def _failed(self, watch: _Watch, error: ProviderError) -> None:
        """Whatever went wrong, the id is paid for: ask again; a 404 proves nothing (design, section 4a)."""
        watch.failures += 1
        retry_after_s = None
        if isinstance(error, TryLaterError):
            retry_after_s = error.retry_after_s
            self.health.failed(str(error))
        else:
            self.health.worked()  # a refusal is an answer
        wait_s = POLL.wait_s(watch.failures, self.chance.random(), retry_after_s)
        self._schedule(watch, max(wait_s, self.floor_s))
        self._give_up_when_stuck(watch, str(error))

    def _give_up_when_stuck(self, watch: _Watch, last_word: str) -> None:
        age_s = self._age_s(watch)
        if age_s >= self.stuck_after_s and not watch.future.done():
            watch.future.set_exception(
                StuckError(f"prediction {watch.prediction_id} runs for {age_s / 60:.0f} min, last word {last_word!r}")
            )

    def _schedule(self, watch: _Watch, after_s: float) -> None:
        heapq.heappush(self._heap, (self.clock.monotonic_s() + after_s, next(self._order), watch))
        self._wake.set()

    def _age_s(self, watch: _Watch) -> float:
        return max(0.0, (self.clock.now_ms() - watch.submitted_ms) / 1000)
