"""What looks wrong with a clip that is whole: black, of one colour, frozen, or not of the product. Arithmetic; pure.

It looks at thumbnails, four a second. In each cell of a thumbnail the noise of camera and codec is averaged away, while
a glint of ten pixels still shows. All limits are generous: a warning that is wrong is worse than one that is missing.
"""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from batchrun.video.looks import Look, contrast, distances

SIDE = 64
"""Cells a side of a thumbnail: those of a frame's look."""
Thumbnail = NDArray[np.uint8]
"""(64, 64, 3), RGB."""

_MARK = SIDE // 16
"""Rows at the bottom that are left out: our own previews carry their mark there, also over a black picture."""
_BLACK = 8
"""No cell is brighter. Black clips with grain reach 3; a black bottle's rim of three pixels makes a cell of 11."""
_BLACK_PART = 0.5
"""So much of a clip is black when it is called so: a fade at its start and end is none."""
_FLAT = 1
"""Most levels between the brightest and the darkest cell of each channel. A product that differs from its white ground
by 5 levels, with soft edges, leaves 2."""
_FROZEN = 0.0125
"""Most change of any two by two cells over the whole clip, as a part of the contrast. Stills encoded at crf 18 to 30: 0.003
to 0.012 (with heavy grain 0.013, at crf 38 0.019: not told); steam of three levels 0.019, a zoom by 0.2 % in all 0.019, a
glint of ten pixels 0.035, our own previews 0.47 and more."""
_FROZEN_LEVELS, _FAINT = 1.2, 20
"""The same in levels, where there is contrast of so many levels at least: codecs change stills of plain colours by 0.3 to
1.2. Fainter clips, white on white, move by no more than that when they move."""
_UNLIKE = 0.35
"""Distance to the picture. First frames of image-to-video, heavily cropped and tinted: at most 0.30; pictures of other
products: 0.35 and more in 19 of 20 pairs."""
_RECOGNISABLE = 12.0
"""Contrast (root mean square, levels) that a picture needs to be told from others: twice what distances ask for."""


class Sign(StrEnum):
    """One thing that looks wrong. The word is for scripts, `MEANING` for people."""

    BLACK = "black"
    FLAT = "flat"
    FROZEN = "frozen"
    UNLIKE_PICTURE = "unlike_picture"


MEANING: dict[str, str] = {
    Sign.BLACK: "at least half of it is black",
    Sign.FLAT: "it shows one colour and nothing else",
    Sign.FROZEN: "nothing moves in it",
    Sign.UNLIKE_PICTURE: "it does not start with the product's picture",
}


def in_words(signs: Sequence[str]) -> str:
    """The words with what they mean; a word from a newer version stands for itself."""
    return "; ".join(f"{sign} ({MEANING[sign]})" if sign in MEANING else sign for sign in signs)


def is_black(thumbnail: Thumbnail) -> bool:
    """Whether nothing is to be seen."""
    return int(thumbnail[:-_MARK].max()) <= _BLACK


def signs_of(thumbnails: Sequence[Thumbnail], picture: Look | None = None, beginning: int = 1) -> tuple[Sign, ...]:
    """What looks wrong: at most one of black, flat and frozen, and whether the clip is of another picture.

    Args:
        thumbnails: of the whole clip, evenly spaced; at least one.
        picture: the product's; None where it is not at hand.
        beginning: how many of the thumbnails may show it. The first second, not the first frame alone: a clip may fade in.
    """
    if sum(map(is_black, thumbnails)) >= _BLACK_PART * len(thumbnails):
        return (Sign.BLACK,)
    cells = np.stack(thumbnails)[:, :-_MARK]
    if (np.ptp(cells, axis=(1, 2)) <= _FLAT).all():
        return (Sign.FLAT,)
    found = (Sign.FROZEN,) if len(cells) > 1 and _is_frozen(cells) else ()
    return (*found, Sign.UNLIKE_PICTURE) if picture and _is_unlike(thumbnails[:beginning], picture) else found


def _is_frozen(cells: NDArray[np.uint8]) -> bool:
    # Four cells and three channels together: what the codec does to a still is a third of what it does to one cell
    count, rows, columns, _ = cells.shape
    grey = cells.reshape(count, rows // 2, 2, columns // 2, 2, 3).mean((2, 4, 5), dtype=np.float32)
    spread = float(np.ptp(grey))
    most = max(_FROZEN * spread, _FROZEN_LEVELS if spread >= _FAINT else 0.0)
    return bool(np.ptp(grey, axis=0).max() <= most)


def _is_unlike(thumbnails: Sequence[Thumbnail], picture: Look) -> bool:
    if contrast(picture) < _RECOGNISABLE:
        return False
    return all(float(distances([picture], Look(one.tobytes()))[0]) > _UNLIKE for one in thumbnails)
