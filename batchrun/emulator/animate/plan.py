"""What a preview will show: camera moves and effects with their times, and what is left out. Values only."""

from dataclasses import dataclass


class UnreadablePictureError(ValueError):
    """The bytes are not a picture that can be animated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for, beside the picture."""

    prompt: str
    negative_prompt: str = ""
    guidance: float = 0.5
    """0 to 1: how closely the prompt is followed, here how far the camera goes."""
    duration_s: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A part of the clip: 0 is its first frame, 1 its last."""

    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One camera move over a part of the clip."""

    name: str
    curves: tuple[tuple[str, float], ...]
    """How far, by curve: zoom as a natural logarithm; x (right), y (up), z (forward) in subject distances; yaw (right),
    pitch (up), roll in degrees."""
    span: Span
    pace: str = "ease"
    aim: float = 0.0
    """How much the camera turns back to the subject while it moves sideways."""
    counter: bool = False
    """Whether the lens keeps the subject as large as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Something light that is drawn on top, over a part of the clip."""

    name: str
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole clip."""

    moves: tuple[Move, ...]
    effects: tuple[Effect, ...]
    understood: tuple[str, ...]
    """For people: what is done, in the clip's order."""
    not_shown: tuple[str, ...]
    """For people: what the prompt asks for and the clip does not show."""
    seed: int
    """Of everything that looks like chance: the same wish gives the same clip."""
    duration_s: int
