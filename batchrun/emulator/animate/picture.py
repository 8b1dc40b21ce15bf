"""A picture from its file: upright, on white, at the clip's size, as the planes that the encoder takes (BT.709)."""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from batchrun.emulator.animate.camera import Array
from batchrun.emulator.animate.plan import UnreadablePictureError

# As the client does: more than one MiB of packed notes or of a colour profile is no reason to refuse a PNG.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
_KR, _KB = 0.2126, 0.0722
"""Of BT.709."""


@dataclass(frozen=True, slots=True)
class Planes:
    """One yuv420p picture in limited range, bytes: Y (H, W), U and V (H/2, W/2), chroma sited left as in H.264."""

    y: Array
    u: Array
    v: Array

    @classmethod
    def within(cls, buffer: Array) -> "Planes":
        """The planes in one buffer (H · 3/2, W), below each other, as PyAV takes them."""
        height, width = buffer.shape[0] * 2 // 3, buffer.shape[1]
        u, v = buffer[height:].reshape(2, height // 2, width // 2)
        return cls(buffer[:height], u, v)


def output_size(size: tuple[int, int], area_px: int) -> tuple[int, int]:
    """Width and height of the clip: the given area at the picture's own aspect, both even."""
    aspect = size[0] / size[1]
    width = math.sqrt(area_px * aspect)
    return max(2, round(width / 2) * 2), max(2, round(width / aspect / 2) * 2)


def load(picture: Path, area_px: int) -> Image.Image:
    """The picture as it is seen, in RGB, at the size of the clip.

    Raises:
        UnreadablePictureError: it cannot be opened or decoded.
    """
    try:
        with Image.open(picture) as opened:
            width, height = output_size(opened.size, area_px)
            side = 2 * max(width, height)
            opened.draft("RGB", (side, side))  # a large JPEG is decoded at a part of its size
            image = _upright_rgb(opened)
    except (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadablePictureError(str(error)) from error
    return image.resize(output_size(image.size, area_px), Image.Resampling.LANCZOS)


def _upright_rgb(opened: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion makes them all white
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def planes_of(image: Image.Image) -> Planes:
    """The planes of a picture whose sides are even."""
    red, green, blue = cv2.split(np.asarray(image, np.float32))
    luma = _KR * red + (1 - _KR - _KB) * green + _KB * blue
    return Planes(
        _to_bytes(16 + luma * (219 / 255)),
        _chroma((blue - luma) / (2 - 2 * _KB)),
        _chroma((red - luma) / (2 - 2 * _KR)),
    )


def _chroma(difference: Array) -> Array:
    """At half size: a sample stands on each second column, between two rows."""
    soft = cv2.sepFilter2D(difference, -1, np.array([0.25, 0.5, 0.25]), np.array([1.0]))[:, ::2]
    return _to_bytes(128 + (soft[::2] + soft[1::2]) / 2 * (224 / 255))


def _to_bytes(values: Array) -> Array:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
