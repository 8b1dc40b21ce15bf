"""How a request to the provider ends, by what the caller does next.

A submit ends in exactly one of four values (design, section 4a); everything that can be asked again without spending
(read, list, upload, price, balance, billing, download) raises one of the errors below.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Progress(StrEnum):
    """Where a prediction is, whatever word the provider uses for it."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the provider says of one prediction."""

    prediction_id: str
    model: str | None
    progress: Progress
    status_word: str
    """The provider's own word."""
    outputs: tuple[str, ...]
    code: int
    """The task's own code: 0 is fine, 1xxx and 5xxx are failures."""
    error: str
    created_ms: int | None
    is_known_word: bool = True
    """An unknown word counts as running."""
    took_ms: int | None = None
    """How long it was worked on, where the provider says so; without its wait in the provider's queue."""
    inputs: Mapping[str, object] = field(default_factory=dict)
    """The echoed inputs, where the provider shows them."""
    not_shown: tuple[str, ...] = ()
    """What was asked for and the clip does not show, as our own server says of its previews."""


class RefusalKind(StrEnum):
    """Why a submit was refused, by what to do next."""

    REQUEST = "request"
    """This job is wrong; others may be fine."""
    KEY = "key"
    """The key is refused: stop."""
    ACCOUNT = "account"
    """The account may not use the model, or is suspended: stop."""
    CREDIT = "credit"
    """The account cannot pay: pause everything, burn no attempts."""
    THROTTLED = "throttled"
    """Too many at once or in a minute: wait, then go slower."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took it; the prediction's id is known."""

    prediction: Prediction


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider said no in its own envelope: nothing was created."""

    kind: RefusalKind
    code: int
    message: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class NotSent:
    """Not one byte of the request's body left: nothing was created."""

    message: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Anything else: it may exist and be billed."""

    message: str


SubmitOutcome = Accepted | Refused | NotSent | Unknown


class ProviderError(Exception):
    """A request that costs nothing did not work."""


class TryLaterError(ProviderError):
    """Network, server trouble or throttling: the same request may work later."""

    def __init__(self, message: str, retry_after_s: float | None = None, *, throttled: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.throttled = throttled


class NotFoundError(ProviderError):
    """404: never heard of it, or no longer."""


class NotAllowedError(ProviderError):
    """401 or 403: the key may not do this."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class RefusedError(ProviderError):
    """The provider refuses the request as it is: asking again changes nothing."""


class UnsafeUrlError(ProviderError):
    """The provider named an address that must not be followed."""
