"""Opening files whose names a person controls."""

import errno
import os
import re
import stat
from collections.abc import Callable
from io import FileIO
from pathlib import Path

_HEAD_BYTES = 4096


def open_regular(path: Path) -> FileIO:
    """The file, unbuffered, for reading. Never waits: opening a pipe would wait until somebody writes into it.

    Raises:
        OSError: it cannot be read, or is a folder, a pipe or a device.
    """
    file = FileIO(path, "rb", opener=_without_waiting)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "is not a regular file", str(path))


def begins_as(path: Path, pattern: re.Pattern[bytes]) -> bool:
    """Whether a file's first bytes match; those of what cannot be read, or is no file, do not. Blocks."""
    try:
        with open_regular(path) as file:
            return pattern.match(file.read(_HEAD_BYTES)) is not None
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether it is one. What nobody may look at, or what no file can be named, is none: reading it says why."""
    try:
        return path.is_dir()
    except OSError:  # of other errors pathlib makes an answer by itself
        return False


def where_missing(folder: Path, stands: Callable[[Path], bool] = Path.exists) -> tuple[Path, Path]:
    """Of a folder that is not there: the innermost one above it that is, and what is missing in that. Blocks."""
    missing = folder
    while not stands(missing.parent) and missing.parent != missing:
        missing = missing.parent
    return missing.parent, missing


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
