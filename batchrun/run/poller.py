"""Looks at every running prediction, one heap for all: who is due is asked, within a budget of requests a second."""

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from batchrun.clock import Clock
from batchrun.provider.client import Client
from batchrun.provider.outcome import NotAllowedError, Prediction, Progress, ProviderError, TryLaterError
from batchrun.run.health import Health
from batchrun.run.latencies import ClipKind, Latencies
from batchrun.run.polling import next_check_s, took_s
from batchrun.run.retry import POLL

MAX_CHECKS_A_SECOND = 200.0
"""Of all predictions together: what 3,000 at once need for 12 checks each, half as many again as the Gold level allows, and
what the vendor's own client asks for 200. With more of them every pause grows by the same time."""
_SPREAD = 0.1
"""Every pause is longer by a random part of it, up to this one: what began together is not asked together."""


class StuckError(Exception):
    """A prediction has been running for longer than `stuck_after`; the text says since when and what it said last."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A prediction that has ended, and how long it took where that could be seen."""

    prediction: Prediction
    took_s: float | None


@dataclass(slots=True)
class _Watch:
    prediction_id: str
    submitted_s: float
    """On the clock that never steps: how old it is must not change when the clock on the wall is set."""
    kind: ClipKind
    future: "asyncio.Future[Ended]"
    running_at_s: float | None
    """The age at which it was last known to run; of an earlier run's prediction nothing is known at first."""
    failures: int = 0


@dataclass(slots=True)
class Poller:
    """One a run. `run` must be running for `wait` to come back."""

    client: Client
    clock: Clock
    health: Health
    latencies: Latencies
    floor_s: float
    stuck_after_s: float
    chance: random.Random
    note: Callable[[str], None] = lambda _: None
    """Told what a person should see."""
    _strange_words: set[str] = field(default_factory=set)
    _since_ms: int = field(init=False)
    _free_s: float = 0.0
    _heap: list[tuple[float, int, _Watch]] = field(default_factory=list)
    _order: "itertools.count[int]" = field(default_factory=itertools.count)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """What was submitted from now on is fresh."""
        self._since_ms = self.clock.now_ms()

    async def wait(self, prediction_id: str, submitted_ms: int, kind: ClipKind) -> Ended:
        """The prediction once it has ended.

        Raises:
            NotAllowedError: the key is refused.
            StuckError: it is older than `stuck_after` and was looked at once more.
        """
        future: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        is_fresh = submitted_ms >= self._since_ms
        age_s = max(0, self.clock.now_ms() - submitted_ms) / 1000
        watch = _Watch(prediction_id, self.clock.boot_s() - age_s, kind, future, 0.0 if is_fresh else None)
        if is_fresh:
            self._schedule(watch, max(0.0, self._pause_s(watch, 0.0) - self._age_s(watch)))
        else:  # it may have ended long ago: it is looked at once, phases spread
            self._schedule(watch, self.chance.random() * min(1.0, self.floor_s))
        try:
            return await watch.future
        finally:
            watch.future.cancel()  # a watch nobody waits for is dropped when it is due

    async def run(self) -> None:
        """Ask whoever is due, the longest overdue first, until cancelled."""
        async with asyncio.TaskGroup() as checks:
            while True:
                watch = await self._next_due()
                await self.health.ready()  # here and not in each check: after an outage they come one by one as well
                checks.create_task(self._check(watch), name=f"check {watch.prediction_id}")
                self._free_s = self.clock.monotonic_s() + 1 / MAX_CHECKS_A_SECOND

    async def _next_due(self) -> _Watch:
        while True:
            while self._heap and self._heap[0][2].future.done():
                heapq.heappop(self._heap)
            wait_s = max(self._heap[0][0], self._free_s) - self.clock.monotonic_s() if self._heap else None
            if wait_s is not None and wait_s <= 0:
                return heapq.heappop(self._heap)[2]
            self._wake.clear()
            try:
                async with self.clock.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _check(self, watch: _Watch) -> None:
        asked_at_s = self._age_s(watch)
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
        except Exception as error:
            if watch.future.done():
                raise
            watch.future.set_exception(error)  # a mistake of ours: this prediction's, and not every one's
            return
        watch.failures = 0
        self.health.worked()
        if watch.future.done():
            return
        if prediction.progress is Progress.RUNNING:
            self._note_word(prediction)
            watch.running_at_s = asked_at_s
            self._schedule(watch, self._pause_s(watch, self._age_s(watch)))
            self._give_up_when_stuck(watch, prediction.status_word)
        else:
            watch.future.set_result(Ended(prediction, self._took_s(watch, prediction)))

    def _note_word(self, prediction: Prediction) -> None:
        """Said once for each word."""
        word = prediction.status_word
        if not (prediction.is_known_word or word in self._strange_words):
            self._strange_words.add(word)
            self.note(
                f"prediction {prediction.prediction_id} has the status {word!r}, which batchrun does not know; "
                "it counts as running"
            )

    def _took_s(self, watch: _Watch, prediction: Prediction) -> float | None:
        if watch.running_at_s is None:
            return None
        told_s = None if prediction.took_ms is None else prediction.took_ms / 1000
        return took_s(watch.running_at_s, self._age_s(watch), told_s)

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

    def _pause_s(self, watch: _Watch, age_s: float) -> float:
        pause_s = next_check_s(age_s, self.latencies.of(watch.kind), self.floor_s, self.stuck_after_s)
        return pause_s * (1 + _SPREAD * self.chance.random())

    def _schedule(self, watch: _Watch, after_s: float) -> None:
        entry = (self.clock.monotonic_s() + after_s, next(self._order), watch)
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._wake.set()

    def _age_s(self, watch: _Watch) -> float:
        return self.clock.boot_s() - watch.submitted_s
