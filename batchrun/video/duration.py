"""How long a clip may be that was bought as 5 or 10 s: models deliver a frame more, and round to their own steps."""

_TOLERANCE_S = 0.35
_TOLERANCE = 0.1


def is_as_long(duration_s: float, asked_duration_s: int) -> bool:
    """Whether a clip of this duration is what was asked for."""
    return abs(duration_s - asked_duration_s) <= longest_s(asked_duration_s) - asked_duration_s


def longest_s(asked_duration_s: int) -> float:
    """The longest clip that is what was asked for."""
    return asked_duration_s + _TOLERANCE_S + _TOLERANCE * asked_duration_s
