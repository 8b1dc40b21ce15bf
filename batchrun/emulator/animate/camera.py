"""The plan's moves as curves over the frames: where the camera is, where it looks, how long its lens is. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchrun.emulator.animate.plan import Move, Plan

Array = NDArray[Any]
"""Floats or bytes, as said where it is used."""
FPS = 24
_SOFT = 0.22
"""The part of a move in which the camera starts, and the part in which it stops."""
_SNAP = (0.15, 0.55)
_ROCK_PEAK = 0.77
_BOB_HZ = 0.35
_SHAKE_HZ = (0.6, 1.1, 1.9, 3.2)
_CURVES = ("zoom", "x", "y", "z", "yaw", "pitch", "roll")


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """The camera in every frame: arrays of one number a frame. All 0 and zoom 1: the picture as it is."""

    zoom: Array
    """Of the lens: 1 shows the whole picture, more shows less of it."""
    x: Array
    """To the right, in distances of the subject; so are y (up) and z (forward)."""
    y: Array
    z: Array
    yaw: Array
    """To the right, in radians; pitch is up, roll clockwise."""
    pitch: Array
    roll: Array
    lift: Array
    """How far the lens is shifted down against the film, in focal lengths: moves the frame without turning the camera."""

    def __len__(self) -> int:
        return len(self.zoom)


def frame_count(duration_s: int) -> int:
    """Frames of a clip: 121 for 5 s, 241 for 10 s, as the real model delivers."""
    return duration_s * FPS + 1


def path_of(plan: Plan) -> Path:
    """The curves of a plan."""
    frames = frame_count(plan.duration_s)
    at = np.arange(frames) / (frames - 1)
    total = {name: np.zeros(frames) for name in _CURVES}
    counter = np.ones(frames)
    for number, move in enumerate(plan.moves):
        seconds = plan.duration_s * (move.span.end - move.span.start)
        local = np.clip((at - move.span.start) / (move.span.end - move.span.start), 0, 1)
        _add(total, move, local, seconds, plan.seed + number)
        if move.counter:
            counter *= 1 - dict(move.curves)["z"] * ease(local)
    # Nothing lies outside the picture: who moves back starts closer
    zoom, z = total["zoom"] - min(0.0, total["zoom"].min()), total["z"] - min(0.0, total["z"].min())
    angles = {name: np.radians(total[name]) for name in ("yaw", "pitch", "roll")}
    return Path(zoom=np.exp(zoom) * counter, x=total["x"], y=total["y"], z=z, lift=np.zeros(frames), **angles)


def _add(total: dict[str, Array], move: Move, local: Array, seconds: float, seed: int) -> None:
    for place, (name, amount) in enumerate(move.curves):
        way = amount * _way(move.pace, local, seconds, seed * 7 + place)
        total[name] += way
        if move.aim and name in ("x", "y"):
            total["yaw" if name == "x" else "pitch"] -= move.aim * np.degrees(np.arctan(way))


def _way(pace: str, local: Array, seconds: float, seed: int) -> Array:
    """The way travelled, 1 at the end (or at the widest point), over the move's own time from 0 to 1."""
    ways: dict[str, Callable[[], Array]] = {
        "ease": lambda: ease(local),
        "snap": lambda: ease(np.clip((local - _SNAP[0]) / (_SNAP[1] - _SNAP[0]), 0, 1)),
        "rock": lambda: np.sin(2 * np.pi * local) * np.sin(np.pi * local) / _ROCK_PEAK,
        "bob": lambda: np.sin(2 * np.pi * max(1, round(seconds * _BOB_HZ)) * local) * _envelope(local),
        "noise": lambda: _shake(local * seconds, seed) * _envelope(local),
    }
    return ways[pace]()


def ease(local: Array) -> Array:
    """The way travelled after a part of the time: soft start and stop, even speed between."""
    speed, left = 1 / (1 - _SOFT), 1 - local
    even = speed * (local - _SOFT / 2)
    start, stop = speed * local**2 / (2 * _SOFT), 1 - speed * left**2 / (2 * _SOFT)
    return np.asarray(np.where(local < _SOFT, start, np.where(left < _SOFT, stop, even)))


def _envelope(local: Array) -> Array:
    """0 at both ends, 1 between, without corners."""
    near = np.clip(np.minimum(local, 1 - local) / _SOFT, 0, 1)
    return np.asarray(near * near * (3 - 2 * near))


def _shake(seconds: Array, seed: int) -> Array:
    """A hand that holds a camera: four waves of unlike length, the quicker the smaller."""
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, len(_SHAKE_HZ))
    waves = [np.sin(2 * np.pi * hz * seconds + phase) / (1 + hz) for hz, phase in zip(_SHAKE_HZ, phases, strict=True)]
    return np.asarray(np.sum(waves, axis=0))
