"""Reads the provider's list as far as the open submits need it: complete, or not at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from batchrun.clock import Clock
from batchrun.provider.client import SUBMIT_TIMEOUT_S, Client
from batchrun.provider.outcome import NotAllowedError, NotFoundError, Prediction, RefusedError
from batchrun.queue.records import KnownPrediction, OpenSubmit
from batchrun.queue.states import AttemptState, JobState
from batchrun.queue.store import Queue
from batchrun.run.evidence import SLACK_MS, Fit, OpenAttempt, fit, host_of
from batchrun.run.sent import inputs_of

_GIVEN_UP_MS = 3_600_000
"""What was given up is looked for as long after it had left."""
_UNAUTHORIZED = 401
_GIVEN_UP = frozenset({AttemptState.VOID, AttemptState.LEFT})


@dataclass(frozen=True, slots=True)
class Sweep:
    """The list over the windows that were asked for, without doubles, and what of it is ours."""

    listed: Sequence[Prediction]
    ours: Mapping[str, KnownPrediction]
    unreadable: int = 0
    """Items that nobody can tell what they are: with one of them nothing is proven absent."""


@dataclass(slots=True)
class Sweeper:
    """One a run; remembers the inputs that it has asked for."""

    queue: Queue
    client: Client
    clock: Clock
    _inputs: dict[str, Prediction] = field(default_factory=dict)

    async def sweep(self, attempts: Sequence[OpenAttempt], settle_ms: int) -> Sweep:
        """One complete sweep.

        Raises:
            ProviderError: it is not complete.
        """
        ahead_ms = self.client.server_ahead_ms or 0
        spans = windows(attempts, self.clock.now_ms() + ahead_ms, settle_ms)
        found: dict[str, Prediction] = {}
        unreadable = 0
        for model in sorted({one.model for one in attempts}):
            for after_ms, before_ms in spans:
                some, lost = await self._read(model, after_ms, before_ms)
                found |= some
                unreadable += lost
        # Read after the list: an answer that came meanwhile makes its prediction ours, not a stranger.
        since_ms = min(one.submitted_ms for one in attempts) - _GIVEN_UP_MS
        ours = await self.queue.doubts.predictions_since(since_ms)
        shown = [await self._with_inputs(one, attempts, ours, settle_ms) for one in found.values()]
        shown = await self._with_an_echo_of_ours(shown, ours)
        if any(one is not found[one.prediction_id] for one in shown):  # asked meanwhile: again, for the same reason
            ours = await self.queue.doubts.predictions_since(since_ms)
        return Sweep(shown, ours, unreadable)

    async def _read(self, model: str, after_ms: int, before_ms: int) -> tuple[dict[str, Prediction], int]:
        found: dict[str, Prediction] = {}
        unreadable = 0
        async for page in self.client.listed(model, after_ms, before_ms):
            found |= {item.prediction_id: item for item in page.predictions}
            unreadable += page.unreadable
        return found, unreadable

    async def _with_an_echo_of_ours(
        self, listed: list[Prediction], ours: Mapping[str, KnownPrediction]
    ) -> list[Prediction]:
        """One of ours of each host with its inputs: only that shows whether such addresses are echoed as they were sent."""
        if not any(one.inputs for one in listed):
            return listed
        newest: dict[str, Prediction] = {}
        for one in sorted(listed, key=lambda one: (bool(one.inputs), one.created_ms or 0)):
            if one.prediction_id in ours:
                newest[host_of(ours[one.prediction_id].image_url)] = one
        shown = {one.prediction_id: await self._asked(one) for one in newest.values() if not one.inputs}
        return [shown.get(one.prediction_id, one) for one in listed]

    async def _with_inputs(
        self,
        prediction: Prediction,
        attempts: Sequence[OpenAttempt],
        ours: Mapping[str, KnownPrediction],
        settle_ms: int,
    ) -> Prediction:
        """With its inputs, where the provider shows them anywhere and they can matter."""
        if prediction.inputs or prediction.prediction_id in ours:
            return prediction
        if all(fit(one, prediction, settle_ms) is Fit.NO for one in attempts):
            return prediction
        return await self._asked(prediction)

    async def _asked(self, prediction: Prediction) -> Prediction:
        if prediction.prediction_id not in self._inputs:
            try:
                self._inputs[prediction.prediction_id] = await self.client.result(prediction.prediction_id)
            except (NotFoundError, RefusedError):
                return prediction  # listed all the same: it stays unexplained
            except NotAllowedError as error:
                if error.status == _UNAUTHORIZED:
                    raise
                return prediction  # somebody else's of the same organisation, perhaps
        return replace(prediction, inputs=self._inputs[prediction.prediction_id].inputs)


def windows(attempts: Sequence[OpenAttempt], now_ms: int, settle_ms: int) -> list[tuple[int, int]]:
    """Which parts of the list are needed, in milliseconds of the provider's time; overlapping ones are joined.

    Around what was given up, and from the first submit of unknown outcome until now, where the witnesses are.
    """
    spans: list[tuple[int, int]] = []
    for one in attempts:
        after_ms = one.submitted_ms + (one.ahead_ms or 0) - SLACK_MS
        until_ms = one.until_ms + (one.ahead_ms or 0) + settle_ms + _GIVEN_UP_MS
        spans.append((after_ms, min(until_ms, now_ms + SLACK_MS) if one.given_up else now_ms + SLACK_MS))
    joined: list[tuple[int, int]] = []
    for after_ms, before_ms in sorted(spans):
        if joined and after_ms <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], before_ms))
        else:
            joined.append((after_ms, before_ms))
    return joined


def until_ms(one: OpenSubmit) -> int:
    """After this the request cannot leave: its connection was dropped, or its process is gone or past `send_by`."""
    latest_ms = one.send_by_ms + int(SUBMIT_TIMEOUT_S * 1000)
    if one.answered_ms is None or one.answered_ms < one.submitted_ms:  # the latter: the clock was set back meanwhile
        return latest_ms
    return min(latest_ms, one.answered_ms)


def open_attempt(one: OpenSubmit) -> OpenAttempt:
    """A row of the queue as evidence sees it."""
    given_up = one.state in _GIVEN_UP
    return OpenAttempt(
        attempt_id=one.attempt_id,
        batch=one.batch,
        key=one.key,
        model=one.revision.model,
        unknown=one.state == AttemptState.UNKNOWN,
        parked=one.state == AttemptState.UNKNOWN and one.job_state is JobState.PARKED,
        given_up=given_up,
        submitted_ms=one.submitted_ms,
        until_ms=one.send_by_ms + int(SUBMIT_TIMEOUT_S * 1000) if given_up else until_ms(one),
        ahead_ms=one.server_ahead_ms,
        inputs=inputs_of(one.revision, one.image_url),
        is_marked=one.revision.image_url is None,
    )
