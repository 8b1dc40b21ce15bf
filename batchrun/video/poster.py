"""One frame of a clip as a small picture, for lists and reports. Nice to have: nothing fails when it cannot be written.

It is not flushed to the disk either: an empty one that a power cut has left counts as none (`is_poster`).
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import (
    Image,
    WebPImagePlugin,  # noqa: F401  # or `save` imports every format there is, to find out who writes this one
)

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

LONGEST_PX = 512
_QUALITY = 80
_METHOD = 2
"""Of WebP's effort, 0 to 6: a third of the time of the usual 4, for files 4 % larger."""


def write_poster(frame: "VideoFrame", target: Path) -> bool:
    """Keep the frame as WebP, at most 512 px a side. Whether it could be. Blocks for some ten milliseconds."""
    import av  # noqa: PLC0415  # 30 MB of codecs: `batchrun --help` does not need them

    scale = min(1.0, LONGEST_PX / max(frame.width, frame.height))
    size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    # What Pillow and PyAV raise is many things, KeyError (a Pillow without WebP) among them
    with suppress(OSError, ValueError, KeyError, av.error.FFmpegError):
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = frame.reformat(*size, "rgb24", interpolation="AREA", threads=1).to_ndarray()
        Image.fromarray(pixels).save(part, "WEBP", quality=_QUALITY, method=_METHOD)
        part.replace(target)
        return True
    with suppress(OSError):
        part.unlink(missing_ok=True)
    return False


def is_poster(path: Path) -> bool:
    """Whether one stands there that is not empty. Blocks."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
