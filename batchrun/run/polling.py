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
