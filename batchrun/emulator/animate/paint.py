"""What effects have in common: the frame they paint on, and few ways to put light on it. All are 0 at their beginning."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from batchrun.emulator.animate.camera import Array
from batchrun.emulator.animate.depth import Scene
from batchrun.emulator.animate.picture import Planes
from batchrun.emulator.animate.warp import FOCAL, Ground, Look, Pose, widened

WHITE = 235
"""The brightest luma; black is 16, no colour is 128."""
_UNSEEN = 0.004


@dataclass(frozen=True, slots=True)
class Stage:
    """What an effect knows of the clip."""

    ground: Ground
    scene: Scene
    planes: Planes
    """The picture."""
    seed: int

    @property
    def long_px(self) -> int:
        """The longer side."""
        return max(self.ground.width, self.ground.height)

    def point(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Parts of width and height in focal lengths from the middle."""
        focal = self.ground.focal_px
        return (x - 0.5) * self.ground.width / focal, (y - 0.5) * self.ground.height / focal

    def sampled(self, values: Array, look: Look) -> Array:
        """A map over the whole picture (h, w), on the grid of a frame."""
        rows, columns = values.shape
        x, y = look.grid
        at_x = np.asarray((x * (self.ground.focal_px / self.ground.width) + 0.5) * columns - 0.5, np.float32)
        at_y = np.asarray((y * (self.ground.focal_px / self.ground.height) + 0.5) * rows - 0.5, np.float32)
        return cv2.remap(values, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


@dataclass(frozen=True, slots=True)
class Now:
    """One frame of an effect."""

    seconds: float
    """Since the effect began."""
    left_s: float
    """Until it ends."""
    level: float
    """0 to 1: it comes and goes softly."""
    pose: Pose
    look: Look


class Effect(Protocol):
    """Something that is painted on each frame."""

    def paint(self, frame: Planes, now: Now) -> None:
        """Change the frame in place."""


def cover(
    stage: Stage, frame: Planes, alpha: Array, luma: int, mute: float, tint: tuple[int, int] = (128, 128)
) -> None:
    """Lay a veil of one brightness on the frame.

    Args:
        stage: of the clip.
        frame: is changed.
        alpha: how thick it is, on the grid: 0 to 1.
        luma: its brightness.
        mute: how much of the frame's colour it takes away where it is thick: 0 to 1.
        tint: its own colour, in U and V.
    """
    _towards(frame.y, widened(stage.ground, alpha), luma)
    if mute:
        thin = widened(stage.ground, alpha * np.float32(mute), half=True)
        _towards(frame.u, thin, tint[0])
        _towards(frame.v, thin, tint[1])


def _towards(plane: Array, alpha: Array, value: int) -> None:
    """Blend a plane with one value, where there is anything to blend."""
    rows = np.flatnonzero(alpha.max(axis=1) > _UNSEEN)
    if not len(rows):
        return
    some = slice(int(rows[0]), int(rows[-1]) + 1)
    under, weight = plane[some], np.ascontiguousarray(alpha[some])
    flat = np.full_like(under, value)
    plane[some] = cv2.blendLinear(under, flat, 1 - weight, weight)


def brighten(stage: Stage, frame: Planes, gain: Array) -> None:
    """Multiply the light of the frame by a gain on the grid."""
    wide = widened(stage.ground, gain)
    lit = cv2.multiply(frame.y.astype(np.float32) - np.float32(16), wide) + np.float32(16)
    frame.y[:] = np.clip(lit, 16, WHITE)


def stamp(plane: Array, sprite: Array, x: float, y: float, light: float, value: int = WHITE) -> None:
    """Draw a plane towards a value under a small sprite (0 to 1, odd sides), its middle between pixels where it must be."""
    half = sprite.shape[0] // 2
    left, top = int(np.floor(x)) - half, int(np.floor(y)) - half
    side = sprite.shape[0] + 1
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + side, plane.shape[1]), min(top + side, plane.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    shift = np.array([[1, 0, x - np.floor(x)], [0, 1, y - np.floor(y)]])
    moved = cv2.warpAffine(sprite, shift, (side, side))[y0 - top : y1 - top, x0 - left : x1 - left]
    under = plane[y0:y1, x0:x1]
    under[:] = np.rint(under + (value - under.astype(np.float32)) * np.clip(moved * light, 0, 1))


def disc(radius_px: float) -> Array:
    """A soft round sprite."""
    half = max(1, round(2.2 * radius_px))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    return np.asarray(np.exp(-(x * x + y * y) / (2 * (radius_px / 1.4) ** 2)), np.float32)


def floating(now: Now, p_x: Array, p_y: Array, depth: Array) -> tuple[Array, Array]:
    """Where points that float at their own depth stand in the frame; all in focal lengths, (n,) each."""
    near = np.maximum(1 - depth * now.pose.z, 0.2)
    return now.pose.turned_back((p_x - depth * now.pose.x) / near, (p_y + depth * now.pose.y) / near)


def pixels(stage: Stage, u: Array, v: Array) -> Iterator[tuple[float, float]]:
    """Points of the frame in its pixels."""
    focal = FOCAL * stage.long_px
    columns = u.reshape(-1) * focal + stage.ground.width / 2 - 0.5
    rows = v.reshape(-1) * focal + stage.ground.height / 2 - 0.5
    return zip(columns.tolist(), rows.tolist(), strict=True)


def noise(seed: int, side: int = 256, rough: float = 1.6) -> Array:
    """A cloudy tile that fits to itself on all sides: floats (side, side) from 0 to 1."""
    chance = np.random.default_rng(seed)
    waves = np.fft.fft2(chance.standard_normal((side, side)))
    step = np.fft.fftfreq(side) * side
    length = np.hypot(step[:, None], step[None, :])
    length[0, 0] = 1
    tile = np.fft.ifft2(waves / length**rough).real
    low, high = np.quantile(tile, [0.02, 0.98])
    return np.asarray(np.clip((tile - low) / (high - low), 0, 1), np.float32)


def tiled(tile: Array, x: Array, y: Array) -> Array:
    """A tile's values at points (floats, in tiles), over and over."""
    side = tile.shape[0]
    at_x, at_y = np.asarray(x * side, np.float32), np.asarray(y * side, np.float32)
    return cv2.remap(tile, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
