"""When to look at a prediction next. Pure."""

_GROWTH = 0.08
"""The next check comes after this part of the prediction's age: late news cost at most that part of its time."""
_CEILING_S = 60.0
_STUCK_S = 300.0


def next_check_s(age_s: float, floor_s: float, stuck_after_s: float) -> float:
    """Seconds until the next check of a prediction that is `age_s` old and still running."""
    if age_s >= stuck_after_s:
        return max(_STUCK_S, floor_s)
    return max(floor_s, min(age_s * _GROWTH, _CEILING_S))


def backoff_s(failures: int, spread: float, retry_after_s: float | None, ceiling_s: float = 60.0) -> float:
    """Seconds to wait after the `failures`th failure in a row: full jitter, at least what the server asked for.

    Args:
        failures: 1 or more.
        spread: a random number from 0 to 1.
        retry_after_s: what the server said, if anything; believed up to an hour.
        ceiling_s: the longest own wait.
    """
    own_s = min(ceiling_s, 0.5 * 2.0 ** min(failures, 20)) * (0.5 + spread / 2)
    return max(own_s, min(retry_after_s or 0.0, 3600.0))
