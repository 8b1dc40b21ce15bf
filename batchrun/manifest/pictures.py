"""What a picture file really is: its digest, type and size, by content and not by name."""

import hashlib
import io
import os
import stat
import sys
import warnings
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from batchrun.manifest.catalogue import PictureRules
from batchrun.manifest.whole import is_whole

_CONTENT_TYPE = {"JPEG": "image/jpeg", "PNG": "image/png"}
_MOST_MPX = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
"""Pillow takes more for an attack."""
_CENT = Decimal("0.01")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Editors put more than Pillow's one MiB of packed notes, or of a colour profile, into a PNG; 64 MiB together stay the limit.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
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


class NoPictureError(PictureError):
    """There is no such file."""


class PictureChangedError(PictureError):
    """The file holds another picture than before."""


class Facts(NamedTuple):
    """What a file system says of a file, by which it is known to be the same as before."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def facts_of(path: Path) -> Facts | None:
    """The facts of a regular file; None of everything else."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return _facts(found) if stat.S_ISREG(found.st_mode) else None


def facts_of_open(file: BinaryIO) -> Facts:
    """The facts of a file that is open, whatever has come to its name since."""
    return _facts(os.fstat(file.fileno()))


def _facts(found: os.stat_result) -> Facts:
    return Facts(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def read_picture(path: Path, rules: PictureRules) -> tuple[Picture, Facts | None]:
    """The picture, and its file's facts; None when it changed while it was read.

    Raises:
        PictureError: missing, not a regular file, too large, of another type, too small, too long, cut off.
    """
    data, facts = _read(path, rules)
    kind, width_px, height_px = _header(data, path, rules)
    digest = hashlib.sha256(data).hexdigest()
    picture = Picture(digest, len(data), width_px, height_px, sys.intern(_CONTENT_TYPE[kind]))
    check_picture(picture, path.name, rules)
    if not is_whole(kind, data):
        raise PictureError(f"{path.name} is cut off: its end is missing; copy it again")
    return picture, facts


def read_same_picture(path: Path, sha256: str, rules: PictureRules) -> tuple[str, bytes]:
    """Content type and bytes of a picture that was read and accepted before.

    Raises:
        PictureChangedError: it is another one by now.
        PictureError: it cannot be read any more.
    """
    data, _ = _read(path, rules)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise PictureChangedError(f"{path} changed since the manifest was read")
    return _CONTENT_TYPE["PNG" if data.startswith(_PNG_SIGNATURE) else "JPEG"], data


def check_picture(picture: Picture, name: str, rules: PictureRules) -> None:
    """Whether the model takes it.

    Raises:
        PictureError: naming what is in the way.
    """
    width_px, height_px = picture.width_px, picture.height_px
    if picture.size_bytes > rules.max_bytes:
        raise PictureError(_too_large(name, picture.size_bytes, rules))
    if picture.content_type not in {_CONTENT_TYPE[kind] for kind in rules.formats}:
        raise PictureError(f"{name} is {picture.content_type}; {' or '.join(rules.formats)} is accepted")
    if min(width_px, height_px) < rules.min_side_px:
        raise PictureError(f"{name} is {width_px}×{height_px} px; both sides must be at least {rules.min_side_px} px")
    aspect = Decimal(max(width_px, height_px)) / min(width_px, height_px)
    if aspect > rules.max_aspect:
        shown = aspect.quantize(_CENT, ROUND_UP).normalize()  # up: what is too long never reads as what is accepted
        own, most = (f"{one:f} to 1" if width_px > height_px else f"1 to {one:f}" for one in (shown, rules.max_aspect))
        raise PictureError(f"{name} is {width_px}×{height_px} px, {own}; at most {most} is accepted")


def _too_large(name: str, size_bytes: int, rules: PictureRules) -> str:
    return f"{name} has {size_bytes / 1e6:.1f} MB; at most {rules.max_bytes / 1e6:.0f} MB are accepted"


def _read(path: Path, rules: PictureRules) -> tuple[bytes, Facts | None]:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise PictureError(f"{path} is not a regular file")
        if found.st_size > rules.max_bytes:
            raise PictureError(_too_large(path.name, found.st_size, rules))
        with path.open("rb") as file:
            before = facts_of_open(file)
            data = file.read(rules.max_bytes + 1)
            after = facts_of_open(file)
    except FileNotFoundError:
        raise NoPictureError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, PictureError):
            raise
        raise PictureError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return data, before if before == after and before.size_bytes == len(data) else None


def _header(data: bytes, path: Path, rules: PictureRules) -> tuple[str, int, int]:
    accepted = " or ".join(rules.formats)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many pixels; nothing is decoded here
            with Image.open(io.BytesIO(data)) as image:
                kind, (width_px, height_px) = image.format or "", image.size
                kind = _SAME_AS.get(kind, kind)
    except Image.DecompressionBombError as error:
        raise PictureError(f"{path.name} has more than {_MOST_MPX} million pixels; make it smaller") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise PictureError(f"{path.name} is not a picture that can be opened; {accepted} is accepted") from error
    if kind not in rules.formats:
        raise PictureError(f"{path.name} is {kind} by its content; {accepted} is accepted")
    return kind, width_px, height_px
