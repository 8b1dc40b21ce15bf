"""Which prediction belongs to which submit of unknown outcome, and what may be concluded when none does. Pure.

Rules: design, section 4a. An echoed picture address that belongs to one attempt alone is proof, whenever it turns up;
equal inputs are proof only one to one; what cannot be told apart is left alone. Times of the provider and ours are
compared through the distance of the two clocks when the attempt was written (`ahead_ms`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

from batchrun.provider.outcome import Prediction
from batchrun.queue.records import KnownPrediction

SLACK_MS = 180_000
"""The provider's clock and ours may differ so much from what is known."""
_AGREE_MS = SLACK_MS // 2
OLDEST_MS = 6 * 86_400_000
"""What is older cannot be judged by a list that reaches back seven days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAttempt:
    """A submit whose prediction is not known. Times in milliseconds of our clock."""

    attempt_id: str
    batch: str
    key: str
    model: str
    unknown: bool
    """Its outcome is unknown; otherwise its answer may still come."""
    parked: bool = False
    """Unknown, and left to a person so far."""
    given_up: bool = False
    """Void by evidence, or left by a person; it may turn up all the same."""
    submitted_ms: int
    until_ms: int
    """The request cannot have left after this."""
    ahead_ms: int | None = None
    """The provider's clock less ours then, where it was known."""
    inputs: Mapping[str, object]
    """What was sent."""
    is_marked: bool
    """The picture's address belongs to this attempt alone."""

    @property
    def may_be_found(self) -> bool:
        """Nobody waits for its answer any more."""
        return self.unknown or self.given_up


class Fit(Enum):
    """How a prediction fits an attempt."""

    NO = 0
    OTHER = 1
    """The same picture and other inputs: another request, or an echo that is cut or written otherwise. Nobody adopts it."""
    MAYBE = 2
    """Nothing speaks against it, nothing proves it."""
    EQUAL = 3
    """Everything that was sent is echoed, but others may have sent the same."""
    MARKED = 4
    """The echoed picture belongs to this attempt alone."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one complete sweep of the list shows."""

    found: Mapping[str, str] = field(default_factory=dict)
    """Prediction by attempt."""
    unclear: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Attempts for which some predictions in the list may be theirs, with these."""
    witnessed: frozenset[str] = frozenset()
    """Attempts after which the list shows a later prediction of ours: it is fresh enough to judge them."""


def fit(attempt: OpenAttempt, prediction: Prediction, settle_ms: int, *, verbatim: bool = True) -> Fit:
    """How well a prediction that belongs to no attempt of ours fits this one.

    Args:
        attempt: the attempt.
        prediction: from the list, with its inputs where the provider shows them.
        settle_ms: a request may be worked on so long after it has left.
        verbatim: the provider is known to echo such addresses as they were sent; else a differing one proves nothing.
    """
    if prediction.model is not None and prediction.model != attempt.model:
        return Fit.NO
    image = prediction.inputs.get("image")
    if image is not None and attempt.is_marked:
        if image == attempt.inputs["image"]:
            return Fit.MARKED
        if verbatim:
            return Fit.NO
    if not _in_window(attempt, prediction, settle_ms):
        return Fit.NO
    if image is None or (image != attempt.inputs["image"] and not verbatim):
        return Fit.MAYBE
    if image != attempt.inputs["image"]:
        return Fit.NO
    shown = {name: value for name, value in prediction.inputs.items() if name in attempt.inputs}
    return Fit.EQUAL if all(_same(value, attempt.inputs[name]) for name, value in shown.items()) else Fit.OTHER


def host_of(image: object) -> str:
    """The host in a picture's address, or nothing."""
    try:
        return urlsplit(str(image)).netloc
    except ValueError:
        return ""


def _in_window(attempt: OpenAttempt, prediction: Prediction, settle_ms: int) -> bool:
    if prediction.created_ms is None:
        return True
    created_ms = prediction.created_ms - (attempt.ahead_ms or 0)
    return attempt.submitted_ms - SLACK_MS <= created_ms <= attempt.until_ms + settle_ms + SLACK_MS


def _same(one: object, other: object) -> bool:
    """JSON numbers come as Decimal, and 0.5 may come as 0.50."""
    if isinstance(other, (int, float)) and not isinstance(one, str):
        return one == other or str(one).rstrip("0") == str(other).rstrip("0")
    return one == other


def judge(
    attempts: Sequence[OpenAttempt],
    listed: Sequence[Prediction],
    ours: Mapping[str, KnownPrediction],
    settle_ms: int,
) -> Verdict:
    """What a complete sweep shows.

    Args:
        attempts: every attempt of the queue without a prediction.
        listed: the sweep, without doubles.
        ours: the predictions that the queue knows, by id.
        settle_ms: a request may be worked on so long after it has left.
    """
    # By hosts: the provider's own addresses may be echoed as they are, and those of others as copies that it has made.
    verbatim = {
        host_of(known.image_url)
        for one in listed
        if (known := ours.get(one.prediction_id)) is not None and one.inputs.get("image") == known.image_url
    }
    strangers = [prediction for prediction in listed if prediction.prediction_id not in ours]
    fits = {
        (one.attempt_id, other.prediction_id): fit(
            one, other, settle_ms, verbatim=host_of(one.inputs["image"]) in verbatim
        )
        for one in attempts
        for other in strangers
    }
    found: dict[str, str] = {}
    unclear: dict[str, tuple[str, ...]] = {}
    for attempt in attempts:
        candidates = [one for one in strangers if fits[attempt.attempt_id, one.prediction_id] is not Fit.NO]
        match = _certain(attempt, candidates, attempts, fits)
        if match is not None and attempt.may_be_found:
            found[attempt.attempt_id] = match
        elif candidates:
            unclear[attempt.attempt_id] = tuple(one.prediction_id for one in candidates)
    # A witness also shows that the two clocks agree: else the window may have missed what it was to show.
    agreeing = [one for one in listed if _agrees(one, ours)]
    newest_ms = max((ours[one.prediction_id].submitted_ms for one in agreeing), default=0)
    # By both clocks: ours may have been set back between the two.
    created_ms = max((one.created_ms or 0 for one in agreeing), default=0)
    witnessed = frozenset(
        one.attempt_id
        for one in attempts
        if newest_ms > one.until_ms and created_ms > one.until_ms + (one.ahead_ms or 0) - _AGREE_MS
    )
    return Verdict(found, unclear, witnessed)


def _agrees(prediction: Prediction, ours: Mapping[str, KnownPrediction]) -> bool:
    known = ours.get(prediction.prediction_id)
    if known is None or prediction.created_ms is None:
        return False
    return abs(prediction.created_ms - (known.ahead_ms or 0) - known.submitted_ms) <= _AGREE_MS


_NOT_ITS = frozenset({Fit.NO, Fit.OTHER})


def _certain(
    attempt: OpenAttempt,
    candidates: Sequence[Prediction],
    attempts: Sequence[OpenAttempt],
    fits: Mapping[tuple[str, str], Fit],
) -> str | None:
    candidates = [one for one in candidates if fits[attempt.attempt_id, one.prediction_id] not in _NOT_ITS]
    marked = [one for one in candidates if fits[attempt.attempt_id, one.prediction_id] is Fit.MARKED]
    if len(marked) == 1:
        return marked[0].prediction_id
    if marked or len(candidates) != 1 or fits[attempt.attempt_id, candidates[0].prediction_id] is not Fit.EQUAL:
        return None
    (candidate,) = candidates
    rivals = [one for one in attempts if fits[one.attempt_id, candidate.prediction_id] not in _NOT_ITS]
    return candidate.prediction_id if rivals == [attempt] else None
