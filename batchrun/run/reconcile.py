"""Looks for submits of unknown outcome in the provider's list, beside the work, until each is found, void or undecidable.

Found: its prediction is written down and collected like any other. Absent by all the evidence of section 4a: void, and
the job is bought anew. Anything less: it stays unknown, its money held, for a person.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from batchrun.clock import Clock
from batchrun.provider.client import SUBMIT_TIMEOUT_S, Client
from batchrun.provider.outcome import Prediction, ProviderError, TryLaterError
from batchrun.queue.records import OpenSubmit
from batchrun.queue.states import AttemptState
from batchrun.queue.store import Queue
from batchrun.run.events import Event, Kind, Observer
from batchrun.run.evidence import OLDEST_MS, SLACK_MS, OpenAttempt, Verdict, judge
from batchrun.run.sent import inputs_of

_SWEEPS = 3
_PAGE = 100
_MAX_PAGES = 200
_SWEEPS_IN_SETTLE = 5
_HOPELESS_AFTER = 3
"""So many sweeps in a row that the provider refuses: it has no list for us."""


@dataclass(slots=True)
class _Watch:
    """How long one attempt has been looked for, by this run, awake and online."""

    since_s: float
    sweeps: int = 0


@dataclass(slots=True)
class Reconciler:
    """One a run."""

    queue: Queue
    client: Client
    clock: Clock
    observer: Observer
    moved: Callable[[], None]
    """Called when a job has got a new state: there may be something to claim."""
    settle_s: float
    poll_s: float
    _watches: dict[str, _Watch] = field(default_factory=dict)
    _inputs: dict[str, Prediction] = field(default_factory=dict)
    _refusals: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def look(self) -> None:
        """There is a new submit of unknown outcome."""
        self._wake.set()

    async def hopeful(self) -> bool:
        """Whether waiting can still settle something."""
        if self._refusals >= _HOPELESS_AFTER:
            return False
        opened = await self.queue.open_submits()
        return any(one.state == AttemptState.UNKNOWN and not self._is_exhausted(one) for one in opened)

    async def run(self) -> None:
        """Sweep while there is something to look for, until cancelled."""
        while True:
            opened = [_attempt(one) for one in await self.queue.open_submits()]
            unknown = [one for one in opened if one.unknown]
            if unknown and self._refusals < _HOPELESS_AFTER:
                await self._sweep_and_settle(opened, unknown)
            await self._pause()

    async def _sweep_and_settle(self, opened: list[OpenAttempt], unknown: list[OpenAttempt]) -> None:
        for attempt in unknown:
            self._watches.setdefault(attempt.attempt_id, _Watch(self.clock.monotonic_s()))
        try:
            listed = await self._sweep(opened)
        except TryLaterError:
            return  # offline time does not count
        except ProviderError:
            self._refusals += 1
            return
        self._refusals = 0
        # Read after the list: an answer that came meanwhile makes its prediction ours, not a stranger.
        ours = await self.queue.predictions_since(min(one.submitted_ms for one in opened) - SLACK_MS)
        verdict = judge(opened, listed, ours)
        for attempt in unknown:
            self._watches[attempt.attempt_id].sweeps += 1
            await self._settle(attempt, verdict, listed, ours)

    async def _sweep(self, opened: list[OpenAttempt]) -> list[Prediction]:
        """Every prediction in the window, with its inputs where the provider shows them anywhere."""
        after_ms = min(one.submitted_ms for one in opened) - SLACK_MS
        before_ms = self.clock.now_ms() + SLACK_MS
        found: dict[str, Prediction] = {}
        for model in sorted({one.model for one in opened}):
            for page in range(1, _MAX_PAGES + 1):
                items = await self.client.list_page(model, after_ms, before_ms, page, _PAGE)
                found |= {item.prediction_id: item for item in items}
                if len(items) < _PAGE:
                    break
        ours = await self.queue.predictions_since(after_ms)
        return [one if one.prediction_id in ours else await self._with_inputs(one) for one in found.values()]

    async def _with_inputs(self, prediction: Prediction) -> Prediction:
        if prediction.inputs:
            return prediction
        if prediction.prediction_id not in self._inputs:
            self._inputs[prediction.prediction_id] = await self.client.result(prediction.prediction_id)
        return replace(prediction, inputs=self._inputs[prediction.prediction_id].inputs)

    async def _settle(
        self, attempt: OpenAttempt, verdict: Verdict, listed: list[Prediction], ours: dict[str, int]
    ) -> None:
        prediction_id = verdict.found.get(attempt.attempt_id)
        if prediction_id is not None:
            if await self.queue.record_accepted(attempt.attempt_id, prediction_id, "found"):
                self._tell(Kind.ACCEPTED, attempt, prediction_id)
                self.moved()
        elif await self._is_absent(attempt, verdict, listed, ours):
            message = "void: the provider's list and billing show that nothing was created"
            if await self.queue.record_nothing_created(
                attempt.attempt_id, AttemptState.VOID, None, message, self.clock.now_ms(), "void"
            ):
                self._tell(Kind.NOT_SENT, attempt, message)
                self.moved()

    async def _is_absent(
        self, attempt: OpenAttempt, verdict: Verdict, listed: list[Prediction], ours: dict[str, int]
    ) -> bool:
        """All the evidence that a void needs (design, section 4a)."""
        now_ms = self.clock.now_ms()
        waited = (
            self._waited_s(attempt.attempt_id) >= self.settle_s and now_ms - attempt.until_ms >= self.settle_s * 1000
        )
        if not waited or self._watches[attempt.attempt_id].sweeps < _SWEEPS:
            return False
        if attempt.attempt_id in verdict.unclear or attempt.attempt_id not in verdict.witnessed:
            return False
        if now_ms - attempt.submitted_ms > OLDEST_MS:
            return False
        return not await self._unexplained_charge(attempt, listed, ours)

    async def _unexplained_charge(self, attempt: OpenAttempt, listed: list[Prediction], ours: dict[str, int]) -> bool:
        """Whether the billing, where it is open to us, shows a charge since then that nothing explains."""
        explained = {one.prediction_id for one in listed} | set(ours)
        try:
            charged = await self.client.charged_since(attempt.submitted_ms - SLACK_MS)
        except TryLaterError:
            return True
        except ProviderError:
            return False  # closed to this key
        return bool(charged - explained)

    def _waited_s(self, attempt_id: str) -> float:
        return self.clock.monotonic_s() - self._watches[attempt_id].since_s

    def _is_exhausted(self, one: OpenSubmit) -> bool:
        """Everything that waiting can bring has been waited for."""
        watch = self._watches.get(one.attempt_id)
        if watch is None:
            return False
        waited_s = self._waited_s(one.attempt_id)
        past_ms = self.clock.now_ms() - _until_ms(one)
        enough = waited_s >= self.settle_s and past_ms >= self.settle_s * 1000 and watch.sweeps > _SWEEPS
        return enough or waited_s > 2 * self.settle_s + 120

    async def _pause(self) -> None:
        self._wake.clear()
        with suppress(TimeoutError):
            async with self.clock.timeout(max(self.poll_s, self.settle_s / _SWEEPS_IN_SETTLE)):
                await self._wake.wait()

    def _tell(self, kind: Kind, attempt: OpenAttempt, detail: str) -> None:
        self.observer(Event(kind, attempt.batch, attempt.key, detail))


def _until_ms(one: OpenSubmit) -> int:
    """After this the request cannot leave: its connection was dropped, or its process is gone or past `send_by`."""
    latest_ms = one.send_by_ms + int(SUBMIT_TIMEOUT_S * 1000)
    return latest_ms if one.answered_ms is None else min(latest_ms, one.answered_ms)


def _attempt(one: OpenSubmit) -> OpenAttempt:
    return OpenAttempt(
        attempt_id=one.attempt_id,
        batch=one.batch,
        key=one.key,
        model=one.revision.model,
        unknown=one.state == AttemptState.UNKNOWN,
        submitted_ms=one.submitted_ms,
        until_ms=_until_ms(one),
        inputs=inputs_of(one.revision, one.image_url),
        is_marked=one.revision.image_url is None,
    )
