"""Answers of the provider that the database would not take: disk full, file locked, I/O error.

What the provider answered to a submit exists nowhere else, so it goes to a file beside the queue, flushed to disk. The
file's room is set aside when a run starts: on a full disk it can still be written. The next run reads it first. A lock
on the file tells whether its run is still there.
"""

import fcntl
import glob
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_ROOM_BYTES = 256 * 1024
_MARK, _ASIDE = ".rescue-", ".unbooked-"


class Rescue:
    """The rescue file of one run."""

    def __init__(self, queue: Path, run_id: str) -> None:
        self._queue = queue
        self.path = queue.with_name(f"{queue.name}{_MARK}{run_id}")
        self._fd: int | None = None
        self._used_bytes = 0
        self._lock = threading.Lock()  # a failed group fails many answers, each in a thread of its own

    def prepare(self) -> None:
        """Set room aside. Blocks.

        Raises:
            OSError: there is none.
        """
        with self._lock:
            self._prepare()

    def _prepare(self) -> None:
        while self._fd is None:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if not _is_at(fd, self.path):  # taken for an orphan before it was locked
                os.close(fd)
                continue
            self._fd = fd
            os.posix_fallocate(fd, 0, _ROOM_BYTES)
            os.fsync(fd)

    def keep(self, name: str, args: list[Any]) -> Path:
        """Write one answer down, flushed to disk; where it stands. Blocks.

        Raises:
            OSError: not even this worked.
        """
        with self._lock:
            self._prepare()
            assert self._fd is not None  # noqa: S101  # _prepare has just set it
            line = json.dumps([name, args]).encode() + b"\n"
            while line:
                written = os.pwrite(self._fd, line, self._used_bytes)
                self._used_bytes += written
                line = line[written:]
            os.fsync(self._fd)
        return self.path

    def close(self) -> None:
        """Remove the file when nothing was kept in it; otherwise leave it to the next run."""
        if self._fd is not None:
            if not self._used_bytes:
                self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None

    def orphans(self) -> "list[Orphan]":
        """The files of runs that are gone, locked for us. Blocks.

        Raises:
            OSError: one of them cannot be read.
        """
        found: list[Orphan] = []
        for path in sorted(self._queue.parent.glob(f"{glob.escape(self._queue.name)}{_MARK}*")):
            if path == self.path:
                continue
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)  # its run is still there
                continue
            if not _is_at(fd, path):
                os.close(fd)
                continue
            answers, unreadable = _read(fd)
            aside = f"{self._queue.name}{_ASIDE}{path.name.removeprefix(self._queue.name + _MARK)}"
            found.append(Orphan(path, fd, answers, unreadable, path.with_name(aside)))
        return found


@dataclass(slots=True)
class Orphan:
    """The rescue file of a run that is gone."""

    path: Path
    fd: int
    answers: list[tuple[str, list[Any]]]
    unreadable: int
    """Whole lines that are no answers."""
    aside: Path
    """Its name once nothing more can be booked of it."""

    def __enter__(self) -> Self:
        """The lock is held already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        os.close(self.fd)

    def remove(self) -> None:
        """Everything in it is booked."""
        self.path.unlink(missing_ok=True)

    def set_aside(self) -> Path:
        """Give it a name under which it is not read again; where it is then. Blocks.

        Raises:
            OSError: it cannot be renamed.
        """
        names = (self.aside.with_name(f"{self.aside.name}{more}") for more in ("", *(f"-{n}" for n in range(2, 1000))))
        free = next(name for name in names if not name.exists())
        self.path.rename(free)
        return free


def _is_at(fd: int, path: Path) -> bool:
    """Whether the open file still stands under its name."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _read(fd: int) -> tuple[list[tuple[str, list[Any]]], int]:
    """The answers, and how many whole lines are none.

    The rest of the room is zeros, and the last line of a power cut may be half a line: nobody was told that it is kept.
    """
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    lines = data.split(b"\0", 1)[0].split(b"\n")[:-1]
    answers = [answer for line in lines if (answer := _answer(line)) is not None]
    return answers, len(lines) - len(answers)


def _answer(line: bytes) -> tuple[str, list[Any]] | None:
    try:
        name, args = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return None
    return (name, args) if isinstance(name, str) and isinstance(args, list) else None
