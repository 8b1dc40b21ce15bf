"""Clips that are whole and wrong: black, of one colour, frozen, or of another picture. What a check by looks must find."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from batchrun.emulator.animate.camera import FPS, frame_count
from batchrun.emulator.animate.plan import Wish
from batchrun.emulator.distort import random_picture
from batchrun.emulator.faults import Fault

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIZE_PX = (480, 360)


def spoilt(fault: Fault, seed: str) -> Callable[[Path, Wish, Path], Sequence[str]]:
    """A rendering that goes wrong in one of the ways of `CLIP_FAULTS`; the seed gives the other picture."""

    def render(picture: Path, wish: Wish, target: Path) -> Sequence[str]:
        write_frames(_frames(fault, picture, zlib.crc32(seed.encode()), frame_count(wish.duration_s)), target)
        return ()

    return render


def write_frames(frames: Iterator["NDArray[np.uint8]"], target: Path) -> None:
    """An H.264 clip of RGB frames (height, width, 3), all of one size with even sides. Blocks."""
    import av  # noqa: PLC0415  # heavy; only a server that renders needs it

    with av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "18", "g": "48"})
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, FPS)
        stream.codec_context.thread_count = 1
        for number, pixels in enumerate(frames):
            if number == 0:
                stream.height, stream.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _frames(fault: Fault, picture: Path, seed: int, count: int) -> Iterator["NDArray[np.uint8]"]:
    match fault:
        case Fault.CLIP_BLACK:
            still = Image.new("RGB", _SIZE_PX, "black")
        case Fault.CLIP_FLAT:
            still = Image.new("RGB", _SIZE_PX, (150, 140, 120))
        case Fault.CLIP_FROZEN:
            with Image.open(picture) as opened:
                still = opened.convert("RGB").resize(_SIZE_PX)
        case _:
            still = random_picture(seed).resize(_SIZE_PX)
    pixels = np.asarray(still, np.uint8)
    step = 1 if fault is Fault.CLIP_OTHER else 0
    for number in range(count):
        yield np.ascontiguousarray(np.roll(pixels, step * number, axis=1))
