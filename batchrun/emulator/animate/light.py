"""Effects of light: sweep, sparkle, flicker, glow, fade."""

import cv2
import numpy as np

from batchrun.emulator.animate.camera import Array
from batchrun.emulator.animate.paint import WHITE, Now, Stage, brighten, cover, pixels, stamp
from batchrun.emulator.animate.picture import Planes

_SMALL = 320


def _shrunk(plane: Array) -> Array:
    """A plane at a quarter of a large picture's size, floats."""
    scale = min(1.0, _SMALL / max(plane.shape))
    size = max(1, round(plane.shape[1] * scale)), max(1, round(plane.shape[0] * scale))
    return cv2.resize(plane, size, interpolation=cv2.INTER_AREA).astype(np.float32)


class Sweep:
    """A slanted band of light that glides over the subject."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        luma = _shrunk(stage.planes.y)
        where = np.full_like(luma, 0.6)
        if stage.scene.subject is not None:
            mask = cv2.erode(stage.scene.subject.mask.astype(np.float32), np.ones((3, 3)))
            where = cv2.resize(cv2.GaussianBlur(mask, (0, 0), 1.5), luma.shape[::-1])
        self._where = where * (0.45 + 0.55 * luma / WHITE)
        columns = np.flatnonzero(where.max(axis=0) > 0.3)  # noqa: PLR2004  # of what is seen of the subject
        first, last = (columns[0], columns[-1]) if len(columns) else (0, where.shape[1] - 1)
        height, width = where.shape
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        span = max(1.0, float(last - first))
        self._along = (x + 0.45 * (y - height / 2) - first) / span
        self._band = 0.10

    def paint(self, frame: Planes, now: Now) -> None:
        """Two seconds over the subject, then a pause."""
        at = -0.5 + 2.0 * min(1.0, (now.seconds % 2.5) / 2.0)
        band = np.exp(-(((self._along - at) / self._band) ** 2)) + 0.4 * np.exp(
            -(((self._along - at + 0.22) / (0.4 * self._band)) ** 2)
        )
        veil = self._stage.sampled(np.asarray(band * self._where, np.float32), now.look)
        cover(self._stage, frame, np.minimum(veil * np.float32(0.62 * now.level), 1), WHITE, 0.5)


class Sparkle:
    """Small stars that twinkle on the picture's own highlights."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        chance = np.random.default_rng(stage.seed)
        luma = _shrunk(stage.planes.y)
        around = cv2.GaussianBlur(luma, (0, 0), 4)
        bright = (luma - around + 4) * (1.1 - around / WHITE)  # a star on white is not seen
        if stage.scene.subject is not None:
            bright = bright * (0.15 + cv2.resize(stage.scene.subject.mask.astype(np.float32), luma.shape[::-1]))
        order = np.argsort(bright, axis=None)[::-1][: max(30, bright.size // 60)]
        chosen = chance.permutation(order)[:28]
        rows, columns = np.unravel_index(chosen, bright.shape)
        x, y = (columns + 0.5) / luma.shape[1], (rows + 0.5) / luma.shape[0]
        self._x, self._y = (np.asarray(one, np.float32)[None] for one in stage.point(x, y))
        self._period_s = chance.uniform(1.1, 2.4, len(chosen))
        self._phase = chance.uniform(0, 1, len(chosen))
        half = max(3, round(0.02 * stage.long_px))
        self._sprites = [_star(max(3, round(half * size))) for size in (0.6, 1.0, 1.5)]

    def paint(self, frame: Planes, now: Now) -> None:
        """Each star has a moment of its own."""
        u, v = self._stage.ground.seen(now.pose, self._x, self._y)
        beat = np.sin(np.pi * np.mod(now.seconds / self._period_s + self._phase, 1)) ** 10
        for number, (x, y) in enumerate(pixels(self._stage, u, v)):
            light = float(beat[number]) * now.level
            if light > 0.03:  # noqa: PLR2004  # darker ones are not seen
                stamp(frame.y, self._sprites[number % 3], x, y, light)


def _star(half: int) -> Array:
    """A sprite with a core and four rays."""
    y, x = np.abs(np.mgrid[-half : half + 1, -half : half + 1]) / half
    rays = np.exp(-x * 5 - (y * half / 0.9) ** 2) + np.exp(-y * 5 - (x * half / 0.9) ** 2)
    core = np.exp(-(x * x + y * y) * 28)
    return np.asarray(np.clip((0.9 * rays + core) * np.clip(1 - np.hypot(x, y), 0, 1), 0, 1), np.float32)


class _Lamp:
    """The picture's bright places, as the light that comes from them."""

    def __init__(self, stage: Stage) -> None:
        luma = _shrunk(stage.planes.y)
        warm = cv2.resize(np.clip(1 + (_shrunk(stage.planes.v) - 128) / 40, 0.6, 1.6), luma.shape[::-1])
        height = np.quantile(luma, 0.98)
        source = np.clip((luma * warm - 0.75 * height) / max(1.0, 0.25 * float(height)), 0, 1)
        wide = cv2.GaussianBlur(source, (0, 0), 0.10 * max(luma.shape))
        near = cv2.GaussianBlur(source, (0, 0), 0.025 * max(luma.shape))
        glow = wide / max(1e-3, float(wide.max())) + 0.7 * near / max(1e-3, float(near.max()))
        self.light = np.asarray(np.clip(0.12 + 0.7 * glow, 0, 1), np.float32)


class Flicker:
    """Light that trembles, most where the picture is bright."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._light = _Lamp(stage).light
        self._phases = np.random.default_rng(stage.seed).uniform(0, 2 * np.pi, 4)

    def paint(self, frame: Planes, now: Now) -> None:
        """Uneven waves, with a dip now and then."""
        waves = [np.sin(2 * np.pi * hz * now.seconds + self._phases[n]) for n, hz in enumerate((1.9, 3.7, 6.1, 0.6))]
        tremble = 0.10 * waves[0] + 0.07 * waves[1] + 0.05 * waves[2]
        dip = -0.30 * max(0.0, float(waves[3]) - 0.75) / 0.25
        light = self._stage.sampled(self._light, now.look)
        brighten(self._stage, frame, 1 + np.float32((tremble + dip - 0.05) * now.level) * light)


class Glow:
    """Light that comes up around the bright places and swells slowly."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._light = _Lamp(stage).light

    def paint(self, frame: Planes, now: Now) -> None:
        """One swell in two and a half seconds."""
        swell = np.float32((0.75 + 0.25 * np.sin(2 * np.pi * now.seconds / 2.5)) * now.level)
        light = self._stage.sampled(self._light, now.look)
        cover(self._stage, frame, light * swell * np.float32(0.16), WHITE, 0)
        brighten(self._stage, frame, 1 + light * swell * np.float32(0.25))


class FadeIn:
    """From black."""

    def __init__(self, _: Stage) -> None:
        self._seconds = 0.8

    def paint(self, frame: Planes, now: Now) -> None:
        """Brighter and brighter."""
        _fade(frame, now.seconds / self._seconds)


class FadeOut:
    """To black."""

    def __init__(self, _: Stage) -> None:
        self._seconds = 0.8

    def paint(self, frame: Planes, now: Now) -> None:
        """Darker and darker."""
        _fade(frame, now.left_s / self._seconds)


def _fade(frame: Planes, part: float) -> None:
    if part >= 1:
        return
    for plane, rest in ((frame.y, 16), (frame.u, 128), (frame.v, 128)):
        plane[:] = cv2.convertScaleAbs(plane, alpha=part, beta=rest * (1 - part))
