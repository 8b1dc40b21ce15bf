"""What a picture file really is: its digest, type and size, by content and not by name."""

import hashlib
import io
import stat
import warnings
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from batchrun.manifest.catalogue import PictureRules

_CONTENT_TYPE = {"JPEG": "image/jpeg", "PNG": "image/png"}
_SAME_AS = {"MPO": "JPEG"}  # what phones write: a JPEG with further pictures behind it


@dataclass(frozen=True, slots=True)
class Picture:
    """A local picture that the model accepts."""

    sha256: str
    size_bytes: int
    width_px: int
    height_px: int
    content_type: str


class PictureError(ValueError):
    """The picture cannot be used; the text says why and what is accepted."""


def read_picture(path: Path, rules: PictureRules) -> tuple[Picture, bytes]:
    """The facts of the picture, and its bytes.

    Raises:
        PictureError: missing, not a regular file, too large, of another type, too small, too long.
    """
    data = _read(path, rules)
    kind, width_px, height_px = _header(data, path, rules)
    if min(width_px, height_px) < rules.min_side_px:
        raise PictureError(
            f"{path.name} is {width_px}×{height_px} px; both sides must be at least {rules.min_side_px} px"
        )
    if Decimal(max(width_px, height_px)) / min(width_px, height_px) > rules.max_aspect:
        raise PictureError(f"{path.name} is {width_px}×{height_px} px; the aspect must be between 1:2.5 and 2.5:1")
    return Picture(hashlib.sha256(data).hexdigest(), len(data), width_px, height_px, _CONTENT_TYPE[kind]), data


def _read(path: Path, rules: PictureRules) -> bytes:
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise PictureError(f"{path} is not a regular file")
        if facts.st_size > rules.max_bytes:
            raise PictureError(
                f"{path.name} has {facts.st_size / 1e6:.1f} MB; at most {rules.max_bytes / 1e6:.0f} MB are accepted"
            )
        with path.open("rb") as file:
            return file.read(rules.max_bytes + 1)
    except FileNotFoundError:
        raise PictureError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, PictureError):
            raise
        raise PictureError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _header(data: bytes, path: Path, rules: PictureRules) -> tuple[str, int, int]:
    accepted = " or ".join(rules.formats)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # the bomb limit is judged below by the model's own rules; nothing is decoded
            with Image.open(io.BytesIO(data)) as image:
                kind, (width_px, height_px) = image.format or "", image.size
                kind = _SAME_AS.get(kind, kind)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PictureError(f"{path.name} is not a picture that can be opened; {accepted} is accepted") from error
    if kind not in rules.formats:
        raise PictureError(f"{path.name} is {kind} by its content; {accepted} is accepted")
    return kind, width_px, height_px
