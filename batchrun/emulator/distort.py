"""Pictures that are not what was sent: a clip's start as real models change it, and strangers' own pictures."""

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STRANGER_PX = (320, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distortion:
    """How the frames of a clip differ from the picture, all alike: image-to-video models return no exact copy."""

    crop: float = 0.0
    """The part of width and height that is cut away, half of it on each side: 0 to 0.9."""
    scale: float = 1.0
    """The model's inner size, as a part of the clip's: 0.5 goes through half the width and height."""
    shift: tuple[int, int, int] = (0, 0, 0)
    """Added to red, green and blue: -255 to 255."""
    brightness: float = 1.0
    """Multiplies every channel, before the shift."""

    def applied(self, image: Image.Image) -> Image.Image:
        """The changed picture, of the same size."""
        width, height = image.size
        left, top = width * self.crop / 2, height * self.crop / 2
        inner = max(1, round(width * self.scale)), max(1, round(height * self.scale))
        small = image.resize(inner, Image.Resampling.LANCZOS, box=(left, top, width - left, height - top))
        moved = np.asarray(small, np.float32) * self.brightness + np.asarray(self.shift, np.float32)
        changed: NDArray[np.uint8] = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
        return Image.fromarray(changed).resize(image.size, Image.Resampling.BICUBIC)


def random_picture(number: int) -> Image.Image:
    """A small picture of coloured squares; the same number gives the same."""
    chance = random.Random(number)  # noqa: S311  # a picture, not a secret
    squares = bytes(chance.randrange(256) for _ in range(8 * 8 * 3))
    return Image.frombytes("RGB", (8, 8), squares).resize(_STRANGER_PX, Image.Resampling.NEAREST)
