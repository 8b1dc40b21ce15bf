"""When something is tried again, and what a task's failure means. Decisions only.

What costs nothing is tried again by a rule of its own kind; a submit is never repeated, its job is queued once more after
an outcome that proves that nothing was created. Sources: the provider's `docs/error-retries`, `docs/error-codes` and
`docs/troubleshooting-guide`; "full jitter" is Brooker's (AWS Architecture Blog, 2015).
"""

from dataclasses import dataclass

from batchrun.queue.failures import FailureKind


@dataclass(frozen=True, slots=True)
class RetryRule:
    """How one kind of request is repeated."""

    tries: int
    """In one go, the first one included; afterwards the job is put off."""
    first_s: float
    """The longest wait after the first failure; it doubles with each."""
    ceiling_s: float
    patience_s: float = 3600.0
    """What a server may ask to wait is believed up to this."""

    def wait_s(self, failures: int, spread: float, retry_after_s: float | None = None) -> float:
        """Seconds to wait after the `failures`th failure in a row, at least what the server asked for.

        Args:
            failures: 1 or more.
            spread: a random number from 0 to 1.
            retry_after_s: what the server said, if anything.
        """
        own_s = min(self.ceiling_s, self.first_s * 2.0 ** min(failures - 1, 30)) * spread
        if retry_after_s is None:
            return own_s
        return max(own_s, min(retry_after_s, self.patience_s) * (1 + spread / 10))


UPLOAD = RetryRule(tries=12, first_s=1.0, ceiling_s=15.0, patience_s=120.0)
"""Who is to wait longer is put off: a job that holds its place for hours goes on past every deadline."""
POLL = RetryRule(tries=0, first_s=1.0, ceiling_s=60.0)
"""Without end: the prediction is paid for, and `stuck_after` is its bound."""
DOWNLOAD = RetryRule(tries=12, first_s=1.0, ceiling_s=15.0, patience_s=120.0)
BROKEN = RetryRule(tries=8, first_s=1.0, ceiling_s=5.0)
"""Downloads that come whole and are not a clip."""
NOT_SENT = RetryRule(tries=0, first_s=2.0, ceiling_s=2.0)
"""A submit that provably did not leave: its job may be bought at the next turn."""

_THROTTLED_S = 65.0
"""A 429 without `Retry-After`: the provider's window is a minute."""
_THROTTLED_BOUNDS_S = (1.0, 600.0)


def throttled_wait_s(retry_after_s: float | None, spread: float) -> float:
    """How long nothing is submitted after a 429 to a submit."""
    if retry_after_s is None:
        return _THROTTLED_S * (1 + spread / 10)
    return min(max(retry_after_s, _THROTTLED_BOUNDS_S[0]), _THROTTLED_BOUNDS_S[1])


_BY_CODE = {
    1200: FailureKind.MODERATION,
    1400: FailureKind.PARAMETERS,
    1401: FailureKind.PARAMETERS,
    1402: FailureKind.PICTURE_UNREACHABLE,
    1403: FailureKind.TASK_FAILED,
    1405: FailureKind.TASK_FAILED,
    1406: FailureKind.PROVIDER_ERROR,
    1407: FailureKind.NO_CREDIT,
    5000: FailureKind.PROVIDER_ERROR,
    5003: FailureKind.PROVIDER_ERROR,
    5004: FailureKind.PROVIDER_ERROR,
}
_BY_WORD = {
    "cancelled": FailureKind.TASK_CANCELLED,
    "canceled": FailureKind.TASK_CANCELLED,
    "deleted": FailureKind.TASK_CANCELLED,
    "timeout": FailureKind.PROVIDER_ERROR,
}


def failure_kind(status_word: str, code: int) -> FailureKind:
    """The kind of a task failure by its code, else by the provider's word.

    Codes that are not documented: 5xxx is trouble at the provider, anything else a failed task.
    """
    if code in _BY_CODE:
        return _BY_CODE[code]
    if 5000 <= code < 6000:  # noqa: PLR2004  # the provider's 5xxx, see above
        return FailureKind.PROVIDER_ERROR
    return _BY_WORD.get(status_word, FailureKind.TASK_FAILED)
