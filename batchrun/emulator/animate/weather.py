"""Effects of air and water: steam, fog, rain, snow, dust."""

import cv2
import numpy as np

from batchrun.emulator.animate.camera import Array
from batchrun.emulator.animate.paint import WHITE, Now, Stage, cover, disc, floating, noise, pixels, stamp, tiled
from batchrun.emulator.animate.picture import Planes

_BRIGHT = 170


class Steam:
    """Wisps that rise from the top of the subject."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._tile = noise(stage.seed)
        x, y, width = stage.scene.top()
        at_x, at_y = stage.point(np.array(x), np.array(y))
        ground = stage.ground
        self._foot = float(at_x), float(at_y) + 0.045  # inside the rim
        self._width = max(0.04, 0.5 * width * ground.width / ground.focal_px)
        # As high as there is room above
        self._height = max(0.12, min(0.36, float(at_y) + ground.height / 2 / ground.focal_px + 0.04))
        rows = slice(0, max(2, round(ground.height * max(0.1, y))))
        around = stage.planes.y[rows].mean()
        # On a bright ground white cannot be seen: there it is a cool shade
        bright = around > _BRIGHT
        self._luma, self._tint, self._thick = (180, (133, 125), 0.66) if bright else (228, (130, 127), 0.62)

    def paint(self, frame: Planes, now: Now) -> None:
        """Two clouds of noise that rise unlike fast; where both are thick there is a wisp."""
        p_x, p_y = now.look.grid
        up = (self._foot[1] - p_y) / self._height
        lean = 0.05 * np.sin(5 * up - 1.1 * now.seconds) * np.clip(up, 0, 1)
        side = (p_x - self._foot[0] - lean) / (self._width * (0.55 + 0.9 * np.clip(up, 0, 1)))
        shape = np.exp(-side * side * 1.8) * np.clip(up * 7, 0, 1) * np.clip(1.05 - up, 0, 1) ** 1.2
        shape[(up < 0) | (up > 1)] = 0
        one = tiled(self._tile, (p_x - lean) * 1.7, p_y * 0.75 + 0.11 * now.seconds)
        two = tiled(self._tile, (p_x - 1.6 * lean) * 3.1 + 0.37, p_y * 1.3 + 0.19 * now.seconds)
        wisp = np.clip((one * 0.6 + two * 0.6 - 0.45) * 2.6, 0, 1)
        alpha = np.asarray(shape * wisp * (self._thick * now.level), np.float32)
        cover(self._stage, frame, alpha, self._luma, 0.8, self._tint)


class Fog:
    """A low, slow mist, thicker far away."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._tile = noise(stage.seed, rough=1.9)
        self._far = np.clip(1.35 - stage.ground.depth, 0.15, 0.75).astype(np.float32)

    def paint(self, frame: Planes, now: Now) -> None:
        """Two layers that drift against each other."""
        p_x, p_y = now.look.grid
        one = tiled(self._tile, p_x * 0.6 + 0.025 * now.seconds, p_y * 1.1)
        two = tiled(self._tile, p_x * 1.1 - 0.018 * now.seconds + 0.5, p_y * 1.9 + 0.3)
        far = self._stage.sampled(self._far, now.look)
        alpha = np.asarray((0.25 + 0.75 * one * (0.4 + 0.6 * two)) * far * (0.85 * now.level), np.float32)
        cover(self._stage, frame, alpha, 205, 0.8)


class _Particles:
    """Points that float between the camera and the picture, each at a depth of its own."""

    def __init__(self, stage: Stage, count: int, radius: tuple[float, float]) -> None:
        self.stage = stage
        self.chance = np.random.default_rng(stage.seed)
        self.x, self.y = self.chance.uniform(0, 1, (2, count))
        self.depth = self.chance.uniform(0.75, 1.7, count)
        self.phase = self.chance.uniform(0, 2 * np.pi, count)
        sizes = np.sort(np.linspace(*radius, 6))
        self._sprites = [disc(max(0.8, one * stage.long_px)) for one in sizes]
        self._small = [disc(max(0.8, one * stage.long_px / 2)) for one in sizes]
        # The nearer, the larger
        self._size = np.clip((self.depth - 0.75) / 0.95 * 6 + self.chance.uniform(-0.8, 0.8, count), 0, 5).astype(int)

    def draw(self, frame: Planes, now: Now, x: Array, y: Array, light: Array, *, white: bool = False) -> None:
        """At parts of width and height that begin anew outside the picture; white, or in the colour of what is behind."""
        over = 0.12  # beyond the edge, so that nothing begins inside
        x, y = (np.mod(one + over, 1 + 2 * over) - over for one in (x, y))
        u, v = floating(now, *self.stage.point(x, y), self.depth)
        for number, (column, row) in enumerate(pixels(self.stage, u, v)):
            size, strength = self._size[number], float(light[number]) * now.level
            stamp(frame.y, self._sprites[size], column, row, strength)
            if white:
                for plane in (frame.u, frame.v):
                    stamp(plane, self._small[size], column / 2, row / 2 - 0.25, strength, 128)


class Dust:
    """Motes that hang in the light."""

    def __init__(self, stage: Stage) -> None:
        self._motes = _Particles(stage, 70, (0.0008, 0.0038))

    def paint(self, frame: Planes, now: Now) -> None:
        """Slowly up and to and fro; now and then one catches the light."""
        motes = self._motes
        x = motes.x + 0.012 * np.sin(0.5 * now.seconds + motes.phase) + 0.006 * now.seconds
        y = motes.y - 0.010 * now.seconds * motes.depth + 0.008 * np.sin(0.8 * now.seconds + 2 * motes.phase)
        light = 0.22 + 0.5 * np.sin(0.9 * now.seconds + 3 * motes.phase) ** 2
        motes.draw(frame, now, x, y, light)


class Snow:
    """Flakes that fall and sway."""

    def __init__(self, stage: Stage) -> None:
        self._flakes = _Particles(stage, 170, (0.0011, 0.0055))

    def paint(self, frame: Planes, now: Now) -> None:
        """The nearer, the faster."""
        flakes = self._flakes
        x = flakes.x + 0.020 * np.sin(1.1 * now.seconds + flakes.phase)
        y = flakes.y + 0.11 * now.seconds * flakes.depth
        flakes.draw(frame, now, x, y, np.full(len(flakes.x), 0.85), white=True)


class Rain:
    """Thin streaks in two layers."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        chance = np.random.default_rng(stage.seed)
        self._x, self._y = chance.uniform(0, 1, (2, 190))
        self._near = chance.uniform(0.5, 1.0, 190)
        self._layer = np.zeros_like(stage.planes.y)

    def paint(self, frame: Planes, now: Now) -> None:
        """Lines with their ends between pixels; a streak is as long as the way of a drop in half a frame."""
        height, width = self._layer.shape
        self._layer[:] = 0
        y = np.mod(self._y + 1.6 * self._near * now.seconds, 1.2) - 0.1
        x = np.mod(self._x + 0.10 * y, 1.1) - 0.05
        length = 0.045 * self._near
        for column, row, long, near in zip(x, y, length, self._near, strict=True):
            start = round(16 * column * width), round(16 * row * height)
            end = round(16 * (column + 0.1 * long) * width), round(16 * (row + long) * height)
            light = round(75 * near * near * now.level)
            cv2.line(self._layer, start, end, light, 1, cv2.LINE_AA, 4)
        cv2.add(frame.y, cv2.GaussianBlur(self._layer, (3, 3), 0), dst=frame.y)
        np.minimum(frame.y, WHITE, out=frame.y)
