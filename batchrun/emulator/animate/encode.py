"""Frames to an H.264 file as browsers like it: BT.709 and tagged so, index in front, a key frame every two seconds."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from batchrun.emulator.animate.camera import FPS, Array

_OPTIONS = {"preset": "veryfast", "crf": "18", "g": "48"}
_BT709 = 1
_LIMITED = 1


def write_clip(target: Path, frames: Iterable[Array], tags: Mapping[str, str]) -> None:
    """Write a clip, frame by frame.

    The bytes may differ from one run to the next although the frames do not: x264 decides by what its memory held.

    Args:
        target: the MP4 file.
        frames: yuv420p as PyAV takes it: planes below each other, bytes (H · 3/2, W); may be one buffer again and again.
        tags: of the file: title, comment.
    """
    with av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata.update(tags)
        stream = container.add_stream("libx264", rate=FPS, options=_OPTIONS)
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, FPS)
        stream.codec_context.thread_count = 1
        _tag_colours(stream.codec_context)
        for number, planes in enumerate(frames):
            if number == 0:
                stream.width, stream.height = planes.shape[1], planes.shape[0] * 2 // 3
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            _tag_colours(frame)
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _tag_colours(thing: Any) -> None:  # noqa: ANN401  # a codec context or a frame: PyAV gives both the same names
    thing.color_range = _LIMITED
    thing.colorspace = _BT709
    thing.color_primaries = _BT709
    thing.color_trc = _BT709
