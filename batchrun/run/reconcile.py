"""Looks for submits of unknown outcome in the provider's list, beside the work, until each is found, void or parked.

Found: its prediction is written down and collected like any other. Absent by all the evidence of section 4a: void, and
the job is bought anew; it is watched for a week more, because the provider may have been late. Anything less: parked for
a person, its money held.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from batchrun.clock import Clock
from batchrun.errors import BatchrunError
from batchrun.provider.client import Client
from batchrun.provider.outcome import NotAllowedError, NotFoundError, Progress, ProviderError, TryLaterError
from batchrun.queue.answers import Recorded
from batchrun.queue.records import OpenSubmit
from batchrun.queue.states import AttemptState
from batchrun.queue.store import Queue
from batchrun.run.events import Event, Kind, Observer
from batchrun.run.evidence import OLDEST_MS, SLACK_MS, OpenAttempt, Verdict, judge
from batchrun.run.mistakes import REPORT_IT
from batchrun.run.sweeps import Sweep, Sweeper, open_attempt

_SWEEPS = 3
_SWEEPS_IN_SETTLE = 5
_HOPELESS_AFTER = 3
"""So many sweeps in a row that the provider refuses, or that fail for a reason nobody knows: there is no list for us."""
_CLIP_S = 3600.0
"""So long a run waits for the clip of a prediction that may be ours; tasks take minutes, the slowest of them an hour."""
_SHOWN_CANDIDATES = 5
_UNAUTHORIZED = 401


class Matcher(Protocol):
    """Tells by the first frames which candidates belong to which attempts."""

    async def match(self, submits: Sequence[OpenSubmit], verdict: Verdict, sweep: Sweep) -> Mapping[str, str]:
        """Prediction by attempt, only the certain ones. Raises ProviderError."""


@dataclass(slots=True)
class _Watch:
    """How long one attempt has been looked for by this run, awake and online."""

    since_s: float
    online_s: float = 0.0
    last_s: float | None = None
    sweeps: int = 0
    tried: bool = False
    """A sweep has ended, however."""
    promising: bool = True
    """The evidence so far speaks for a decision; only time is missing."""
    clip_to_come: bool = False
    """A prediction that may be this attempt's is still worked on: its first frame may tell."""

    def swept(self, now_s: float) -> None:
        """One more complete sweep."""
        self.online_s += now_s - self.last_s if self.last_s is not None else 0.0
        self.last_s = now_s
        self.sweeps += 1
        self.tried = True

    def missed(self) -> None:
        """A sweep that could not be completed: the time since the last one was not online."""
        self.last_s = None
        self.tried = True


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
    matcher: Matcher | None = None
    refused: Callable[[NotAllowedError], None] = lambda _: None
    """Called when the key itself is refused."""
    heard: Callable[[], None] = lambda: None
    """Called when the provider has answered."""
    in_words: Callable[[Exception], str] = repr
    """Of an error that nobody has foreseen."""
    _watches: dict[str, _Watch] = field(default_factory=dict)
    _sweeper: Sweeper | None = None
    _refusals: int = 0
    _news: bool = False
    """A prediction of ours was taken since the last sweep: it may be a witness."""
    _busy: bool = False
    """In the middle of a sweep, or of writing down what it has shown."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def look(self) -> None:
        """There is a new submit of unknown outcome."""
        self._wake.set()

    def accepted(self) -> None:
        """There is a new prediction of ours."""
        self._news = True

    async def hopeful(self) -> bool:
        """Whether waiting can still settle something."""
        if self._busy:
            return True
        if self._refusals >= _HOPELESS_AFTER:
            return False
        hopeful = any(self._is_hopeful(open_attempt(one)) for one in await self.queue.doubts.open_submits())
        if hopeful and self._news:
            self._wake.set()  # nothing else is left to do: look at once
        return hopeful

    def _is_hopeful(self, attempt: OpenAttempt) -> bool:
        """Unknown ones until they are settled; what waits for a person only while something speaks for a decision.

        A possible witness is worth one more sweep in any case.
        """
        watch = self._watches.get(attempt.attempt_id)
        if not self._is_wanted(attempt) or attempt.given_up or watch is None:
            return self._is_wanted(attempt)
        return self._news or ((not attempt.parked or watch.promising) and not self._is_exhausted(attempt))

    def _is_wanted(self, attempt: OpenAttempt) -> bool:
        """Whether to look for it; for what was given up, once a run."""
        watch = self._watches.get(attempt.attempt_id)
        return attempt.unknown or (attempt.given_up and (watch is None or not watch.tried))

    async def run(self) -> None:
        """Sweep while there is something to look for, until cancelled."""
        while True:
            submits = await self.queue.doubts.open_submits()
            if any(self._is_wanted(open_attempt(one)) for one in submits):
                self._busy = True
                try:
                    await self._sweep_and_settle(submits)
                finally:
                    self._busy = False
                self.moved()
            await self._pause()

    async def _sweep_and_settle(self, submits: Sequence[OpenSubmit]) -> None:
        attempts = [open_attempt(one) for one in submits]
        wanted = [one for one in attempts if one.may_be_found]
        for attempt in wanted:
            self._watches.setdefault(attempt.attempt_id, _Watch(self.clock.monotonic_s()))
        settle_ms = int(self.settle_s * 1000)
        self._news = False
        if self._sweeper is None:
            self._sweeper = Sweeper(self.queue, self.client, self.clock)
        try:
            sweep = await self._sweeper.sweep(attempts, settle_ms)
            verdict = judge(attempts, sweep.listed, sweep.ours, settle_ms)
            seen = await self._seen(submits, verdict, sweep)
        except TryLaterError as error:
            for attempt in wanted:  # offline time does not count
                self._watches[attempt.attempt_id].missed()
            self.observer(Event(Kind.WAITING, detail=f"submits of unknown outcome cannot be looked for now: {error}"))
            return
        except ProviderError as error:
            if isinstance(error, NotAllowedError) and error.status == _UNAUTHORIZED:
                self.refused(error)
            await self._in_vain(submits, "the provider's list is closed to this key")
            return
        except BatchrunError:
            raise
        except Exception as error:  # noqa: BLE001  # a mistake of ours must not stop what has nothing to do with it
            text = self.in_words(error)
            self.observer(Event(Kind.NOTE, detail=f"looking for submits of unknown outcome: {text}; {REPORT_IT}"))
            await self._in_vain(submits, f"looking for it met an {text}")
            return
        self._refusals = 0
        self.heard()
        for attempt in wanted:
            watch = self._watches[attempt.attempt_id]
            watch.swept(self.clock.monotonic_s())
            watch.clip_to_come = self.matcher is not None and _is_worked_on(attempt, verdict, sweep)
            prediction_id = verdict.found.get(attempt.attempt_id) or seen.get(attempt.attempt_id)
            await self._settle(attempt, verdict, sweep, prediction_id)

    async def _in_vain(self, submits: Sequence[OpenSubmit], why: str) -> None:
        """Looking led to nothing, and may never do: after some times it is a matter for a person."""
        for attempt in map(open_attempt, submits):
            if attempt.may_be_found:
                self._watches[attempt.attempt_id].missed()
        self._refusals += 1
        if self._refusals >= _HOPELESS_AFTER:
            await self._park_all(submits, why)

    async def _seen(self, submits: Sequence[OpenSubmit], verdict: Verdict, sweep: Sweep) -> Mapping[str, str]:
        """What the first frames tell of those that the list leaves unclear."""
        if self.matcher is None or not verdict.unclear:
            return {}
        try:
            return await self.matcher.match(submits, verdict, sweep)
        except ProviderError:
            return {}  # a clip that cannot be had now leaves its case open, and no other

    async def _settle(self, attempt: OpenAttempt, verdict: Verdict, sweep: Sweep, prediction_id: str | None) -> None:
        if prediction_id is not None:
            await self._adopt(attempt, prediction_id)
            await self.queue.doubts.wake_twins()
        elif attempt.given_up:
            return
        elif await self._is_absent(attempt, verdict, sweep):
            message = "void: the provider's list and billing show that nothing was created"
            if await self.queue.record_nothing_created(
                attempt.attempt_id, AttemptState.VOID, None, message, self.clock.now_ms(), "void"
            ):
                self._tell(Kind.NOT_SENT, attempt, message)
                await self.queue.doubts.wake_twins()
                self.moved()
        elif not attempt.parked and self._is_exhausted(attempt):
            await self._park(attempt, self._why_undecided(attempt, verdict))

    async def _adopt(self, attempt: OpenAttempt, prediction_id: str) -> None:
        recorded = await self.queue.record_accepted(attempt.attempt_id, prediction_id, "found")
        if recorded is Recorded.RUNNING:
            self._tell(Kind.ACCEPTED, attempt, prediction_id)
        elif recorded in (Recorded.LATE_RUNNING, Recorded.LATE_APART):
            self._tell(Kind.LATE, attempt, f"prediction {prediction_id} was created after all")
        self.moved()

    # ------------------------------------------------------------------ absent

    async def _is_absent(self, attempt: OpenAttempt, verdict: Verdict, sweep: Sweep) -> bool:
        """All the evidence that a void needs (design, section 4a)."""
        now_ms, watch = self.clock.now_ms(), self._watches[attempt.attempt_id]
        watch.promising = (
            not sweep.unreadable
            and attempt.attempt_id not in verdict.unclear
            and attempt.attempt_id in verdict.witnessed
            and now_ms - attempt.submitted_ms <= OLDEST_MS
        )
        if not (watch.promising and self._has_waited(attempt, watch)):
            return False
        unexplained = await self._unexplained_charge(attempt, sweep)
        watch.promising = not unexplained  # when nobody could ask, the next sweep may
        return unexplained is False

    def _has_waited(self, attempt: OpenAttempt, watch: _Watch) -> bool:
        past_ms = self.clock.now_ms() - attempt.until_ms
        return watch.online_s >= self.settle_s and past_ms >= self.settle_s * 1000 and watch.sweeps >= _SWEEPS

    async def _unexplained_charge(self, attempt: OpenAttempt, sweep: Sweep) -> bool | None:
        """Whether the billing, where it is open to us, shows a charge that nothing explains; None: it did not answer."""
        explained = {one.prediction_id for one in sweep.listed} | set(sweep.ours)
        try:
            since_ms = attempt.submitted_ms + (attempt.ahead_ms or 0) - SLACK_MS
            charged = await self.client.charged_since(since_ms, attempt.model)
        except (NotAllowedError, NotFoundError):
            return False  # closed to this key
        except ProviderError:
            return None
        # Read after the billing: what was taken meanwhile is ours.
        explained |= set(await self.queue.doubts.predictions_since(attempt.submitted_ms - SLACK_MS))
        return bool(charged - explained)

    # ------------------------------------------------------------------ undecided

    def _is_exhausted(self, attempt: OpenAttempt) -> bool:
        """Everything that waiting can bring has been waited for."""
        watch = self._watches.get(attempt.attempt_id)
        if watch is None:
            return False
        waited_s = self.clock.monotonic_s() - watch.since_s
        if watch.clip_to_come and waited_s < _CLIP_S:
            return False
        enough = self._has_waited(attempt, watch) and watch.sweeps > _SWEEPS
        return enough or waited_s > 2 * self.settle_s + 120

    async def _park_all(self, submits: Sequence[OpenSubmit], why: str) -> None:
        for attempt in map(open_attempt, submits):
            if attempt.unknown and not attempt.parked:
                await self._park(attempt, why)

    async def _park(self, attempt: OpenAttempt, why: str) -> None:
        message = f"nobody can tell whether the submit of attempt {attempt.attempt_id} was taken: {why}"
        if await self.queue.doubts.park(attempt.attempt_id, message):
            self._tell(Kind.PARKED, attempt, message)

    def _why_undecided(self, attempt: OpenAttempt, verdict: Verdict) -> str:
        candidates = verdict.unclear.get(attempt.attempt_id, ())
        if candidates:
            shown = ", ".join(candidates[:_SHOWN_CANDIDATES])
            more = f" and {len(candidates) - _SHOWN_CANDIDATES} more" if len(candidates) > _SHOWN_CANDIDATES else ""
            return f"it may be prediction {shown}{more}"
        if attempt.attempt_id not in verdict.witnessed:
            return "the provider's list shows nothing of it, nor any later prediction of ours that would prove it fresh"
        if self._watches[attempt.attempt_id].promising:
            return "the provider's list shows nothing of it, its billing could not be asked"
        return "the provider's list shows nothing of it, its billing shows a charge that nothing explains"

    # ------------------------------------------------------------------ helpers

    async def _pause(self) -> None:
        self._wake.clear()
        with suppress(TimeoutError):
            async with self.clock.timeout(max(self.poll_s, self.settle_s / _SWEEPS_IN_SETTLE)):
                await self._wake.wait()

    def _tell(self, kind: Kind, attempt: OpenAttempt, detail: str) -> None:
        self.observer(Event(kind, attempt.batch, attempt.key, detail))


def _is_worked_on(attempt: OpenAttempt, verdict: Verdict, sweep: Sweep) -> bool:
    """Whether a clip that would tell whose it is has yet to come."""
    possible = verdict.unclear.get(attempt.attempt_id, ())
    return any(one.progress is Progress.RUNNING for one in sweep.listed if one.prediction_id in possible)
