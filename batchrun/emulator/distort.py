"""Pictures that nobody of ours sent."""

import random

from PIL import Image

_STRANGER_PX = (320, 300)


def random_picture(number: int) -> Image.Image:
    """A small picture of coloured squares; the same number gives the same."""
    chance = random.Random(number)  # noqa: S311  # a picture, not a secret
    squares = bytes(chance.randrange(256) for _ in range(8 * 8 * 3))
    return Image.frombytes("RGB", (8, 8), squares).resize(_STRANGER_PX, Image.Resampling.NEAREST)
