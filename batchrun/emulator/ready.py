"""Small clips that are made once and served for every picture, where only time and money are rehearsed."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batchrun.emulator.animate.camera import frame_count
from batchrun.emulator.books import PRICE_USD_MICROS
from batchrun.emulator.spoil import write_frames

_WIDTH_PX, _HEIGHT_PX = 320, 180
_STEP_PX = 2
"""A moving slope of grey: neither black nor flat nor frozen."""


def ready_clips() -> dict[int, bytes]:
    """One whole clip for each length that is on offer, by seconds. Blocks for a moment."""
    found: dict[int, bytes] = {}
    with tempfile.TemporaryDirectory(prefix="batchrun-ready-") as folder:
        for duration_s in PRICE_USD_MICROS:
            clip = Path(folder) / f"{duration_s}.mp4"
            write_frames(_frames(frame_count(duration_s)), clip)
            found[duration_s] = clip.read_bytes()
    return found


def _frames(count: int) -> Iterator[NDArray[np.uint8]]:
    row = np.linspace(0, 255, _WIDTH_PX, dtype=np.uint8)
    slope = np.repeat(np.tile(row, (_HEIGHT_PX, 1))[:, :, None], 3, axis=2)
    for number in range(count):
        yield np.ascontiguousarray(np.roll(slope, _STEP_PX * number, axis=1))
