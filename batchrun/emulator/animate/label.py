"""The small mark that says what a preview is, burnt into its lower left corner."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from batchrun.emulator.animate.camera import Array

_TEXTS = ("PREVIEW · camera move, not AI", "PREVIEW")
_MOST = 7 / 16, 1 / 8
"""Of width and height; a picture too small for the shortest text has no mark."""
_SMALLEST_PX = 9
_PAPER, _INK = 40, 235


@dataclass(frozen=True, slots=True)
class Label:
    """Where it stands, what it shows, and how strongly."""

    rows: slice
    columns: slice
    shade: Array
    strength: Array

    def burn(self, luma: Array) -> None:
        """Put it on a frame's luma (H, W)."""
        under = luma[self.rows, self.columns]
        under[:] = under * (1 - self.strength) + self.shade * self.strength


def label_for(width_px: int, height_px: int) -> Label | None:
    """The mark for a size of the clip."""
    size = max(_SMALLEST_PX, round(min(width_px, height_px) * 0.026))
    font = ImageFont.load_default(size)
    pad = size // 2 if size > _SMALLEST_PX else size // 4
    for text in _TEXTS:
        left, top, right, bottom = font.getbbox(text)
        width, height = int(right - left) + 2 * pad, int(bottom - top) + 2 * pad
        if width + pad <= _MOST[0] * width_px and height + pad <= _MOST[1] * height_px:
            break
    else:
        return None
    pill = Image.new("L", (width, height), 0)
    ImageDraw.Draw(pill).rounded_rectangle((0, 0, width - 1, height - 1), height // 3, fill=_PAPER)
    ImageDraw.Draw(pill).text((pad - left, pad - top), text, fill=_INK, font=font)
    shade = np.asarray(pill, np.float32)
    strength = np.where(shade > _PAPER, 0.85, np.where(shade > 0, 0.45, 0)).astype(np.float32)
    rows = slice(height_px - pad - height, height_px - pad)
    return Label(rows, slice(pad, pad + width), shade, strength)
