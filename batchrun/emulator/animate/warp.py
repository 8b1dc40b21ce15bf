"""Which point of the picture each pixel of a frame shows, when the camera has moved. Pure.

For a point q of the frame with lens and turn undone, and a camera moved by (tx, ty, tz) subject distances, the picture's
point is p = (1 - d·tz)·q + d·(tx, ty), with the depth d read at p itself. As the depth cannot fold (see `depth`), a
few rounds of this find p. Points are in focal lengths from the middle of the picture; depth is relative and inverse.

No frame shows what lies outside the picture: where one would, its lens is made a little longer.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from batchrun.emulator.animate.camera import FPS, Array, Path

FOCAL = 1.25
"""The focal length, in longer sides of the picture."""
_ROUNDS = 6
_HALVINGS = 12
_LONGEST = 3.0
"""The most that the lens is made longer."""
_GENTLER = 0.85
"""So much is left of the moves where that is not enough."""
_CALM_FRAMES = FPS // 6
_CELL_PX = (2, 4)
"""The distance of the points that are worked out, in a small and in a large frame; between them lie straight lines."""
_LARGE_PX = 480
_FREE = 0.04
"""What is left free above and below the subject, of half a frame, where that is possible."""


@dataclass(frozen=True, slots=True)
class Pose:
    """The camera in some frames: eight numbers, or columns (frames, 1)."""

    zoom: Array
    x: Array
    y: Array
    z: Array
    yaw: Array
    pitch: Array
    roll: Array
    lift: Array

    def turned(self, u: Array, v: Array) -> tuple[Array, Array]:
        """A point of the frame with lens and turn undone."""
        u, v = u / self.zoom, v / self.zoom + self.lift
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        u, v = cos * u - sin * v, sin * u + cos * v
        cos, sin = np.cos(self.pitch), np.sin(self.pitch)
        v, w = cos * v - sin, sin * v + cos
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        u, w = cos * u + sin * w, cos * w - sin * u
        return u / w, v / w

    def turned_back(self, q_x: Array, q_y: Array) -> tuple[Array, Array]:
        """The reverse of `turned`."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        u, w = cos * q_x - sin, sin * q_x + cos
        cos, sin = np.cos(self.pitch), np.sin(self.pitch)
        v, w = cos * q_y + sin * w, cos * w - sin * q_y
        u, v = u / w, v / w
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        return (cos * u + sin * v) * self.zoom, (cos * v - sin * u - self.lift) * self.zoom


def pose_at(path: Path, frame: int | slice) -> Pose:
    """The camera in one frame, or in many as columns."""
    curves = (path.zoom, path.x, path.y, path.z, path.yaw, path.pitch, path.roll, path.lift)
    if isinstance(frame, slice):
        return Pose(*(np.asarray(one[frame, None], np.float32) for one in curves))
    return Pose(*(np.asarray(one[frame], np.float32) for one in curves))


@dataclass(frozen=True)
class Ground:
    """A picture's size and depth, and what follows from them."""

    width: int
    height: int
    depth: Array
    """Floats (h, w) over the whole picture."""

    @property
    def focal_px(self) -> float:
        """The focal length."""
        return FOCAL * max(self.width, self.height)

    def source(self, pose: Pose, u: Array, v: Array) -> tuple[Array, Array]:
        """The picture's points (p) behind points of the frame; both in focal lengths from the middle, (n, m) each."""
        q_x, q_y = pose.turned(u, v)
        p_x, p_y = q_x, q_y
        if not (np.any(pose.x) or np.any(pose.y) or np.any(pose.z)):
            return p_x, p_y
        for _ in range(_ROUNDS):
            depth = self.depth_at(p_x, p_y)
            near = 1 - depth * pose.z
            p_x, p_y = near * q_x + depth * pose.x, near * q_y - depth * pose.y
        return p_x, p_y

    def seen(self, pose: Pose, p_x: Array, p_y: Array) -> tuple[Array, Array]:
        """The reverse of `source`: where points of the picture stand in the frame, (n, m) each."""
        depth = self.depth_at(p_x, p_y)
        near = 1 - depth * pose.z
        return pose.turned_back((p_x - depth * pose.x) / near, (p_y + depth * pose.y) / near)

    def depth_at(self, p_x: Array, p_y: Array) -> Array:
        """The depth at points of the picture."""
        rows, columns = self.depth.shape
        at_x = np.asarray((p_x * (self.focal_px / self.width) + 0.5) * columns - 0.5, np.float32)
        at_y = np.asarray((p_y * (self.focal_px / self.height) + 0.5) * rows - 0.5, np.float32)
        return cv2.remap(self.depth, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    @cached_property
    def cell_px(self) -> int:
        """The distance of two points that are worked out."""
        return _CELL_PX[max(self.width, self.height) >= _LARGE_PX]

    @cached_property
    def grid(self) -> tuple[Array, Array]:
        """Those points, the middles of the cells, one cell over the frame's edge on each side: (n, m) each."""
        columns = np.arange(-1, -(-self.width // self.cell_px) + 1)
        rows = np.arange(-1, -(-self.height // self.cell_px) + 1)
        u = ((columns + 0.5) * self.cell_px - self.width / 2) / self.focal_px
        v = ((rows + 0.5) * self.cell_px - self.height / 2) / self.focal_px
        u, v = np.meshgrid(u.astype(np.float32), v.astype(np.float32))
        return u, v

    def edge(self) -> tuple[Array, Array]:
        """Points along the frame's edge, in the middles of its outermost pixels: (1, n) each."""
        half_u = (self.width - 1) / 2 / self.focal_px
        half_v = (self.height - 1) / 2 / self.focal_px
        across = np.linspace(-half_u, half_u, max(8, self.width // self.cell_px // 2), dtype=np.float32)
        down = np.linspace(-half_v, half_v, max(8, self.height // self.cell_px // 2), dtype=np.float32)
        u = [across, across, np.full_like(down, -half_u), np.full_like(down, half_u)]
        v = [np.full_like(across, -half_v), np.full_like(across, half_v), down, down]
        return np.concatenate(u)[None], np.concatenate(v)[None]


@dataclass(frozen=True, slots=True)
class Look:
    """Where a frame looks: the maps of its pixels, and of the coarse grid."""

    luma: tuple[Array, Array]
    """The picture's column and row of each pixel (H, W)."""
    chroma: tuple[Array, Array]
    """The same at half size, in the chroma planes' own columns and rows."""
    grid: tuple[Array, Array]
    """The picture's points on the grid, in focal lengths."""


def look(ground: Ground, pose: Pose) -> Look:
    """The maps of one frame."""
    p_x, p_y = ground.source(pose, *ground.grid)
    columns = p_x * np.float32(ground.focal_px) + np.float32(ground.width / 2 - 0.5)
    rows = p_y * np.float32(ground.focal_px) + np.float32(ground.height / 2 - 0.5)
    luma = widened(ground, columns), widened(ground, rows)
    # A chroma sample stands on every second column, between two rows
    chroma_x = (widened(ground, columns, half=True) - np.float32(0.5)) * np.float32(0.5)
    chroma_y = (widened(ground, rows, half=True) - np.float32(0.5)) * np.float32(0.5)
    return Look(luma, (chroma_x, chroma_y), (p_x, p_y))


def widened(ground: Ground, values: Array, *, half: bool = False) -> Array:
    """Values on the grid for every pixel of the frame, or of a chroma plane."""
    part = 2 if half else 1
    cell, width, height = ground.cell_px // part, ground.width // part, ground.height // part
    large = cv2.resize(values, (values.shape[1] * cell, values.shape[0] * cell), interpolation=cv2.INTER_LINEAR)
    return large[cell : cell + height, cell : cell + width]


def kept_inside(ground: Ground, path: Path, margin: float, rows: tuple[float, float] | None = None) -> Path:
    """The path with a lens that is never so short that a frame shows what lies outside; frame 0 stays as it is.

    Args:
        ground: the picture.
        path: of the camera.
        margin: how far outside is allowed, as a part of width and height: what is shown there is mirrored.
        rows: where the subject begins and ends, in parts of the height: a longer lens must not cut it off when a shift
            of the lens can help.
    """
    while (longer := _longer(ground, path, margin)).max() >= _LONGEST:
        path = _gentler(path)
    kept = replace(path, zoom=path.zoom * longer)
    level = not (np.any(path.y) or np.any(path.pitch) or np.any(path.roll))
    if rows is None or not level:
        return kept
    kept = replace(kept, lift=_lift(ground, kept, longer, rows))
    return replace(kept, zoom=kept.zoom * _longer(ground, kept, margin))


def _gentler(path: Path) -> Path:
    """The same moves, each a little smaller: several strong ones at once lead further out than a lens can make up for."""
    moves = ("x", "y", "z", "yaw", "pitch", "roll")
    return replace(path, **{name: getattr(path, name) * _GENTLER for name in moves})


def _longer(ground: Ground, path: Path, margin: float) -> Array:
    """How much longer the lens becomes. Never shorter again: that would pump, and take back a zoom that is asked for."""
    needed = _needed(ground, pose_at(path, slice(None)), margin)
    return calmed(np.maximum.accumulate(needed), _CALM_FRAMES)


def _lift(ground: Ground, path: Path, longer: Array, rows: tuple[float, float]) -> Array:
    """The shift that keeps the subject in the frame, within the room that the longer lens leaves above and below."""
    half = ground.height / 2 / ground.focal_px
    top, bottom = ((row - 0.5) * 2 * half / (1 - path.z) for row in rows)
    reach = half / path.zoom
    free = _FREE * reach
    highest, lowest = top - free + reach, bottom + free - reach
    wanted = np.where(lowest > highest, (highest + lowest) / 2, np.clip(0, lowest, np.maximum(lowest, highest)))
    room = half / path.zoom * (longer - 1)
    return np.asarray(np.clip(wanted, -room, room))


def _needed(ground: Ground, pose: Pose, margin: float) -> Array:
    """How much longer the lens must be in each frame, at least: found by halving."""
    edge_u, edge_v = ground.edge()
    most_x = ((ground.width - 1) / 2 + margin * ground.width + 0.01) / ground.focal_px
    most_y = ((ground.height - 1) / 2 + margin * ground.height + 0.01) / ground.focal_px
    zeros = np.zeros_like(pose.zoom)

    def inside(longer: Array) -> Array:
        posed = replace(pose, zoom=pose.zoom * longer)
        p_x, p_y = ground.source(posed, edge_u + zeros, edge_v + zeros)
        return np.asarray(((np.abs(p_x) <= most_x) & (np.abs(p_y) <= most_y)).all(axis=1, keepdims=True))

    low, high = np.ones_like(pose.zoom), np.full_like(pose.zoom, _LONGEST)
    high = np.where(inside(low), low, high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        good = inside(middle)
        low, high = np.where(good, low, middle), np.where(good, middle, high)
    return np.asarray(high[:, 0])


def calmed(needed: Array, reach: int) -> Array:
    """A curve that is never below the given one, without its corners; the first value stays.

    The highest of the neighbours, then their mean, each over windows that shrink to nothing towards frame 0: the mean
    of a window holds only maxima that had this frame in their own window.
    """
    frames = len(needed)
    wide = [needed[max(0, at - min(reach, at)) : at + min(reach, at) + 1].max() for at in range(frames)]
    narrow = [min(reach, at // 2) for at in range(frames)]
    ends = np.concatenate([wide, np.full(reach, wide[-1])])
    return np.array([ends[at - some : at + some + 1].mean() for at, some in enumerate(narrow)])
