"""How far a first frame is from a picture, as arithmetic on thumbnails. Pure.

The frame of image-to-video is the picture, perhaps cropped, set between bars, brighter, noisier or compressed. So the
distance asks how much must be changed until the one fits on the other: the window of the picture that the frame shows
and one gain with one offset a channel are fitted, and what is left over is measured where it is worst. The worst place
and not the mean, because another colour of the same product, on the same white ground, differs in one place only. What
had to be changed is added: a queue whose frames come uncropped learns to refuse the same product in another crop.

Every pair is fitted coarsely, over a fixed set of windows at once; only those that are at all alike are fitted finely.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

SIDE = 32
"""Cells a side of a picture's thumbnail."""
FRAME_SIDE = 64
"""A frame is kept finer: a cropped one is laid on the picture's cells by area, without guessing between its own."""

_COARSE = 8
_SMALL_STEPS = 2
"""Steps of the fine fit on halved thumbnails, before one on whole ones. More change no figure by more than 0.002."""
_GAIN = (0.75, 1.33)
"""Of more or less contrast than this it is another picture."""
_FLOOR = 6.0
"""A picture of less contrast (root mean square, levels of 255) shows nothing by which it could be recognised."""
_BARS = (0.08, 0.17, 0.28, 0.40)
_CROPS = ((0.0, 1.0), (0.05, 0.95), (0.1, 0.9), (0.0, 0.9), (0.1, 1.0))
_OUTSIDE, _INSIDE = -0.45, 0.22
"""A window's edge may lie so far outside (bars) or inside (crop) the picture, as a part of its side."""
_LONGEST_STEP = 0.05
_COVERED = 0.8
"""A cell counts as shown when so much of it is inside the frame."""
_EDGES = 2.0
"""Beside an edge, a shift by a part of a cell leaves over as much as another colour does elsewhere: so much is allowed
for. Of 0, 1, 2 and 4 this leaves the fewest own pairs above the nearest look-alikes, and so does a box of 4 cells
among 2, 3, 4 and 6."""
_BOX = 4
_CHANGED = 0.3
"""Each part of a side that is cropped, and each part of the scale by which the colours are off, adds so much of it."""
_ALIKE = 0.4
"""What the coarse fit leaves over as a part of the contrast. Above it no pair came under 0.3 when fitted finely."""
_BATCH = 128
_FRAMES = 64
_ELEMENTS = 2_000_000


def table(pictures: Bytes, frames: Bytes) -> Floats:
    """The distance of every frame to every picture, 0 (the same) to 1.

    Args:
        pictures: (N, 32, 32, 3), RGB.
        frames: (M, 64, 64, 3).

    Returns:
        (M, N).
    """
    out = np.empty((len(frames), len(pictures)), np.float32)
    for start in range(0, len(frames), _FRAMES):
        out[start : start + _FRAMES] = _rows(pictures, frames[start : start + _FRAMES])
    return out


def _rows(pictures: Bytes, frames: Bytes) -> Floats:
    left, best = _coarse(pictures, frames)
    out = np.asarray(left / (1 + left))
    windows = _windows()
    of_frame, of_picture = np.nonzero(left < _ALIKE)
    for start in range(0, len(of_frame), _BATCH):
        at = of_frame[start : start + _BATCH], of_picture[start : start + _BATCH]
        out[at] = _fine(pictures[at[1]], frames[at[0]], windows[best[at]])
    return out


def _windows() -> Floats:
    """The windows of the coarse fit: left, right, top, bottom, as parts of the picture's sides."""
    crops = [(*x, *y) for x in _CROPS for y in _CROPS]
    wide = [(-bar, 1 + bar, 0.0, 1.0) for bar in _BARS]
    high = [(0.0, 1.0, -bar, 1 + bar) for bar in _BARS]
    around = [(-rim, 1 + rim, -rim, 1 + rim) for rim in (0.06, 0.12)]
    return np.array(crops + wide + high + around, np.float32)


def _blind(side: int) -> Floats:
    """Ones, and zeros where our own previews carry their mark: the lowest sixteenth, bottom left."""
    seen = np.ones((side, side), np.float32)
    seen[side - max(1, side // 16) :, : -(-side * 7 // 16)] = 0
    return seen


def _planes(images: Bytes, side: int) -> Floats:
    """Box means of thumbnails: (B, S, S, 3) bytes to (B, 3, side, side)."""
    count, whole = images.shape[0], images.shape[1]
    part = whole // side
    if part == 1:
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
    rows = images.reshape(count, side, part, whole * 3).sum(2, dtype=np.uint16)
    cells = rows.reshape(count, side, side, part, 3).sum(3, dtype=np.float32)
    return np.asarray(np.ascontiguousarray(cells.transpose(0, 3, 1, 2)) / np.float32(part * part))


def _laid(windows: Floats, cells: int, side: int) -> tuple[Floats, NDArray[np.bool_]]:
    """How the frame's pixels add up to the picture's cells along one axis, and which cells the frame shows.

    Args:
        windows: (B, 2), where the frame starts and ends on the picture.
        cells: of the picture.
        side: pixels of the frame.

    Returns:
        Weights (B, cells, side), and whether shown (B, cells).
    """
    scale = side / (windows[:, 1:] - windows[:, :1])
    edges = (np.arange(cells + 1, dtype=np.float32) / cells - windows[:, :1]) * scale
    pixel = np.arange(side, dtype=np.float32)
    low, high = edges[:, :-1, None], edges[:, 1:, None]
    weights = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None)
    covered = weights.sum(2)
    shown = covered > _COVERED * (high - low)[..., 0]
    return np.asarray(weights / np.maximum(covered, 1e-6)[..., None], np.float32), shown


def _warp(frames: Floats, windows: Floats, cells: int) -> tuple[Floats, Floats]:
    """The frames on the pictures' cells (B, 3, cells, cells), and the mask of what is seen (B, 1, cells, cells)."""
    side = frames.shape[2]
    columns, seen_x = _laid(windows[:, :2], cells, side)
    rows, seen_y = _laid(windows[:, 2:], cells, side)
    laid = np.matmul(np.matmul(rows[:, None], frames), columns.transpose(0, 2, 1)[:, None])
    mask = (seen_y[:, None, :, None] & seen_x[:, None, None, :]) * _blind(cells)
    return laid, mask


def _coarse(pictures: Bytes, frames: Bytes) -> tuple[Floats, NDArray[np.intp]]:
    """What the best of the fixed windows leaves over as a part of the contrast, and which window it is: (M, N) each."""
    windows, cells = _windows(), _COARSE * _COARSE
    tries, count = len(windows), len(frames)
    small = _planes(frames, 2 * _COARSE)
    warped, masks = _warp(np.repeat(small, tries, 0), np.tile(windows, (count, 1)), _COARSE)
    mask = masks[:tries].reshape(tries, cells)
    seen = mask.sum(1)
    flat = warped.reshape(count, tries, 3, cells) * mask[:, None]
    sum_f = flat.sum(3)
    var_f = (flat * flat).sum((2, 3)) - (sum_f * sum_f).sum(2) / seen
    left = np.empty((count, len(pictures)), np.float32)
    best = np.empty((count, len(pictures)), np.intp)
    step = max(1, _ELEMENTS // (count * tries))
    for start in range(0, len(pictures), step):
        some = slice(start, start + step)
        grid = _planes(pictures[some], _COARSE).reshape(-1, 3, cells)
        sum_p = np.matmul(grid, mask.T)
        var_p = (grid * grid).sum(1) @ mask.T - (sum_p * sum_p).sum(1) / seen
        both = flat.reshape(count * tries, -1) @ grid.reshape(len(grid), -1).T
        cov = both.reshape(count, tries, -1) - np.einsum("mtc,nct->mtn", sum_f / seen[:, None], sum_p)
        gain = np.clip(cov / np.maximum(var_f, 1e-3)[..., None], *_GAIN)
        squares = var_p.T - 2 * gain * cov + gain * gain * var_f[..., None]
        score = np.maximum(squares, 0) / np.maximum(var_p, 3 * seen * _FLOOR**2).T
        best[:, some] = score.argmin(1)
        left[:, some] = np.sqrt(score.min(1))
    return left, best


def _fine(pictures: Bytes, frames: Bytes, windows: Floats) -> Floats:
    """The distances of B pairs, fitted from the given windows (B, 4) on."""
    wanted, shown = _planes(pictures, SIDE), _planes(frames, FRAME_SIDE)
    small_wanted, small_shown = _halved(wanted), _halved(shown)
    for _ in range(_SMALL_STEPS):
        windows = _better(small_wanted, small_shown, windows)
    return _distance(wanted, shown, _better(wanted, shown, windows))


def _halved(planes: Floats) -> Floats:
    rows = planes[:, :, ::2] + planes[:, :, 1::2]
    return np.asarray((rows[..., ::2] + rows[..., 1::2]) / np.float32(4))


def _better(wanted: Floats, shown: Floats, windows: Floats) -> Floats:
    """One Gauss-Newton step of the window's four edges, with gain and offsets fitted along: (B, 4)."""
    cells = wanted.shape[2]
    warped, mask = _warp(shown, windows, cells)
    columns = np.empty((len(wanted), 3, 6, cells, cells), np.float32)
    columns[:, :, :4] = _moved_edges(warped, windows)
    columns[:, :, 4] = warped
    columns[:, :, 5] = wanted
    columns *= mask[:, :, None]
    flat = columns.reshape(len(wanted), 3, 6, -1)
    sums = flat.sum(3)[..., None]
    seen = np.maximum(mask.sum((1, 2, 3)), 1)[:, None, None]
    squares = np.matmul(flat, flat.transpose(0, 1, 3, 2)).sum(1)
    # A channel's own offset is the mean: taking the means off fits it
    products = (squares - np.matmul(sums, sums.transpose(0, 1, 3, 2)).sum(1) / seen).astype(np.float64)
    normal, right = products[:, :5, :5], products[:, :5, 5:]
    # Where a picture says nothing about an edge, that edge stays
    damping = 1e-3 * np.einsum("bii->bi", normal) + 1e-3
    damping[:, :4] += 1e-4 * np.einsum("bii->b", normal[:, :4, :4])[:, None]
    solved = np.linalg.solve(normal + damping[:, :, None] * np.eye(5), right)[..., 0]
    moves = solved[:, :4] / np.clip(solved[:, 4:], *_GAIN)
    moved = windows + np.clip(moves, -_LONGEST_STEP, _LONGEST_STEP)
    low, high = np.array([_OUTSIDE, 1 - _INSIDE]), np.array([_INSIDE, 1 - _OUTSIDE])
    return np.asarray(np.clip(moved, np.tile(low, 2), np.tile(high, 2)), np.float32)


def _moved_edges(warped: Floats, windows: Floats) -> Floats:
    """How each cell changes when the window's left, right, top or bottom edge moves: (B, 3, 4, cells, cells)."""
    cells = warped.shape[2]
    at = (np.arange(cells, dtype=np.float32) + 0.5) / cells
    slope_y, slope_x = np.gradient(warped, np.float32(1 / cells), axis=(2, 3))
    x = (at - windows[:, :1]) / (windows[:, 1:2] - windows[:, :1])
    y = (at - windows[:, 2:3]) / (windows[:, 3:] - windows[:, 2:3])
    by_x, by_y = slope_x * x[:, None, None, :], slope_y * y[:, None, :, None]
    return np.stack([by_x - slope_x, -by_x, by_y - slope_y, -by_y], 2)


def _distance(wanted: Floats, shown: Floats, windows: Floats) -> Floats:
    """What is left over where it is worst, and how much had to be changed for it."""
    warped, mask = _warp(shown, windows, SIDE)
    seen = np.maximum(mask.sum((2, 3)), 1)
    mean_w, mean_s = ((one * mask).sum((2, 3)) / seen for one in (wanted, warped))
    flat_w = (wanted - mean_w[..., None, None]) * mask
    flat_s = (warped - mean_s[..., None, None]) * mask
    gain = np.clip(_dot(flat_w, flat_s) / np.maximum(_dot(flat_s, flat_s), 1e-3), *_GAIN)
    contrast = _dot(flat_w, flat_w) / (3 * seen[:, 0])
    rest = _box_means(flat_w - gain[:, None, None, None] * flat_s)
    steep = _box_means(_steepness(flat_w, mask))
    allowed = np.maximum(contrast, 1e-3)[:, None, None] + _EDGES**2 * (steep * steep).sum(1) / 3
    worst = np.sqrt(((rest * rest).sum(1) / allowed).max((1, 2)) / 3)
    cropped = np.abs(windows - np.array([0, 1, 0, 1], np.float32)).max(1)
    shifted = np.abs(mean_w - mean_s).max(1) / 255
    distance = np.minimum(1, worst / (1 + worst) + _CHANGED * (cropped + shifted))
    return np.where(contrast < _FLOOR**2, np.float32(1), distance)


def _dot(one: Floats, other: Floats) -> Floats:
    return np.asarray(np.einsum("bcyx,bcyx->b", one, other))


def _steepness(values: Floats, mask: Floats) -> Floats:
    """How much each cell differs from its upper and its left neighbour, 0 where one of them is not seen."""
    steep = np.zeros_like(values)
    steep[:, :, :, 1:] = np.abs(values[:, :, :, 1:] - values[:, :, :, :-1]) * mask[:, :, :, :-1]
    steep[:, :, 1:] += np.abs(values[:, :, 1:] - values[:, :, :-1]) * mask[:, :, :-1]
    return steep * mask


def _box_means(values: Floats) -> Floats:
    """The mean of every box of 4 by 4 cells: (B, 3, 29, 29)."""
    total = np.pad(values, ((0, 0), (0, 0), (1, 0), (1, 0))).cumsum(2).cumsum(3)
    high = total[:, :, _BOX:] - total[:, :, :-_BOX]
    return np.asarray((high[..., _BOX:] - high[..., :-_BOX]) / np.float32(_BOX * _BOX))
