"""How near each point of a picture is, guessed. Pure.

Depth here is relative and inverse: 1 is the subject, 0.6 lies behind it, 1.3 before it. It is made so smooth that the
camera's way cannot fold the picture over itself: a fold shows as a ghost of the subject's edge.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from batchrun.emulator.animate.camera import Array, Path
from batchrun.emulator.animate.subject import Subject, find_subject, small_of

_SLOPE = 0.8
"""Of the floor: in depth over the height of the picture."""
_RANGE = (0.60, 1.35)
_BULGE = 0.09
_SCENE = (0.62, 1.04)
"""Where nothing stands in front: the top and the bottom of the picture."""
_PLATEAU = 1.8
_SIGMA = (0.010, 0.070)
"""Of the blur, in widths: the least, and the most."""
_STEEPEST = 0.62
"""How far two neighbours may move against each other, in their distance: 1 would be a fold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is known of a picture."""

    depth: Array
    """Floats (h, w) over the whole picture."""
    subject: Subject | None

    def rows(self) -> tuple[float, float] | None:
        """Where the subject begins and ends, in parts of the height."""
        if self.subject is None:
            return None
        rows = np.flatnonzero(self.subject.mask.any(axis=1))
        return float(rows[0]) / len(self.subject.mask), float(rows[-1] + 1) / len(self.subject.mask)

    def top(self) -> tuple[float, float, float]:
        """Where the subject ends above: x and y in parts of width and height, and its width there."""
        if self.subject is None:
            return 0.5, 0.45, 0.3
        rows = np.flatnonzero(self.subject.mask.any(axis=1))
        height, width = self.subject.mask.shape
        columns = np.flatnonzero(self.subject.mask[rows[0] : rows[0] + max(2, height // 20)].any(axis=0))
        return float(columns.mean()) / width, float(rows[0]) / height, max(0.08, float(np.ptp(columns)) / width)


def scene_of(rgb: Array, path: Path, focal: float) -> Scene:
    """Guess the depth of a picture (H, W, 3) of bytes, as smooth as this path of the camera needs it.

    Args:
        rgb: the picture.
        path: of the camera.
        focal: the focal length, in longer sides of the picture.
    """
    small = small_of(rgb)
    subject = find_subject(small)
    shift = _largest_shift(path, small.shape, focal)
    if subject is None:
        return Scene(depth=_unfolded(lambda sigma: _blurred(_scene_depth(small), sigma), shift), subject=None)
    floor, things = _standing(subject.mask)
    contrast = 0.5 + 0.5 * subject.weight
    things, floor = (1 + contrast * (one - 1) for one in (things, floor))
    flat = _unfolded(lambda sigma: _plateau(floor, things, subject.mask, sigma), shift)
    return Scene(depth=flat, subject=subject)


def _largest_shift(path: Path, shape: tuple[int, ...], focal: float) -> float:
    """How far, in pixels of the small picture, one unit of depth moves a point at most."""
    long_px = max(shape[:2])
    sideways = np.hypot(path.x, path.y) * focal + np.abs(path.z) * 0.6
    return float(sideways.max()) * long_px


def _standing(mask: Array) -> tuple[Array, Array]:
    """The floor's depth and the things', each thing standing on the floor with its lowest row: (h, w) each."""
    height, width = mask.shape
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    foot = stats[:, cv2.CC_STAT_TOP] + stats[:, cv2.CC_STAT_HEIGHT]
    rows = np.arange(height, dtype=np.float32)

    def floor_at(row: Array) -> Array:
        return np.asarray(np.clip(1 + _SLOPE * (row - foot[largest]) / height, *_RANGE))

    things = floor_at(foot.astype(np.float32))[labels]
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    for number in range(1, count):
        here = labels == number
        round_off = inside[here] / max(1.0, float(inside[here].max()))
        things[here] += _BULGE * np.sqrt(round_off)
    return np.repeat(floor_at(rows)[:, None], width, axis=1), things.astype(np.float32)


def _plateau(floor: Array, things: Array, mask: Array, sigma: float) -> Array:
    """The things' depth reaches out over their edges, so that the slope lies in the background and they stay stiff."""
    reach = 2 * round(_PLATEAU * sigma) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    spread = cv2.dilate(np.where(mask, things, np.float32(0)).astype(np.float32), kernel)
    depth = np.where(mask, things, np.where(spread > 0, spread, floor))
    return _blurred(depth, sigma)


def _scene_depth(small: Array) -> Array:
    """Without a subject: near below, far above, a little nearer in the middle and where it is sharp."""
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    height, width = grey.shape
    y, x = np.mgrid[0 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    depth = _SCENE[0] + (_SCENE[1] - _SCENE[0]) * y
    depth += 0.12 * np.exp(-2 * (x * x + (2 * y - 1.1) ** 2))
    sharp = cv2.GaussianBlur(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), (0, 0), max(1.0, 0.03 * width))
    depth += 0.12 * (sharp / max(1e-3, float(sharp.max())) - 0.3)
    return _guided(grey, depth.astype(np.float32), max(2, round(0.06 * width)))


def _guided(guide: Array, values: Array, radius: int) -> Array:
    """The guided filter: smooth, but with the guide's edges."""

    def mean(one: Array) -> Array:
        return cv2.blur(one, (2 * radius + 1, 2 * radius + 1))

    mean_g, mean_v = mean(guide), mean(values)
    slope = (mean(guide * values) - mean_g * mean_v) / (mean(guide * guide) - mean_g * mean_g + np.float32(1e-2))
    return np.asarray(mean(slope) * guide + mean(mean_v - slope * mean_g), np.float32)


def _blurred(depth: Array, sigma: float) -> Array:
    return cv2.GaussianBlur(depth.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


def _unfolded(smooth: Callable[[float], Array], shift: float) -> Array:
    """The least smooth depth that cannot fold; where even the smoothest would, with less contrast.

    Args:
        smooth: the depth for a blur, in pixels.
        shift: how far one unit of depth moves a point, in pixels.
    """
    least, most = _SIGMA
    depth = smooth(1.0)
    sigma = max(0.7, least * depth.shape[1])
    while True:
        depth = smooth(sigma)
        steep = _steepness(depth) * shift
        if steep <= _STEEPEST:
            return depth
        if sigma >= most * depth.shape[1]:
            return np.asarray(1 + (depth - 1) * np.float32(_STEEPEST / steep))
        sigma *= 1.3


def _steepness(depth: Array) -> float:
    """The most that two neighbours differ by."""
    rows, columns = np.gradient(depth)
    return float(np.hypot(rows, columns).max())
