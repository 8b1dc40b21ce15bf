"""Lines appended to a file that several processes may share, and that is cut into generations before it gets too long."""

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from batchrun.errors import UsageError

_FULL = (errno.ENOSPC, errno.EDQUOT)


class LogFile:
    """`FILE`, and before it `FILE.1` … `FILE.N`. A line is one write, so that lines of several processes do not mix.

    Not `logging.handlers.RotatingFileHandler`: of two processes that share a file, the second moves away what the first has
    just begun, and what it writes itself goes into an old generation.
    """

    def __init__(self, path: Path, max_bytes: int, keep: int, warn: Callable[[str], None]) -> None:
        """Open it.

        Args:
            path: the newest generation; its folder is made when needed.
            max_bytes: a generation is not longer than this, but for its last line.
            keep: so many old generations stay.
            warn: hears once that lines are lost, because a run goes on without its log.

        Raises:
            UsageError: it cannot be written, for another reason than a full disk.
        """
        self._path = path.absolute()
        self._max_bytes = max_bytes
        self._keep = keep
        self.warn = warn
        self._has_warned = False
        self._fd: int | None = None
        self._is_torn = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = self._open()
        except OSError as error:
            if error.errno not in _FULL:
                raise UsageError(f"--log-file {path} cannot be written: {error.strerror}") from error
            self._lost(error)

    def write(self, line: str) -> None:
        """Append it; what the disk does not take is lost."""
        data = (line + "\n").encode("utf-8", errors="replace")
        try:
            fd = self._current(len(data))
            taken = os.write(fd, b"\n" + data if self._is_torn else data)
            self._is_torn = taken < len(data)
        except OSError as error:
            self._lost(error)

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            with suppress(OSError):
                os.close(self._fd)
            self._fd = None

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def _current(self, more_bytes: int) -> int:
        """The file that has the name now, with room for so much."""
        if self._fd is None:
            self._fd = self._open()
        if not self._is_newest(self._fd):  # another process has begun a new one
            self._reopen()
        if self._is_full(self._fd, more_bytes):
            fcntl.flock(self._fd, fcntl.LOCK_EX)  # of all that see it full one moves it; closing gives the lock back
            if self._is_newest(self._fd):
                self._shift()
            self._reopen()
        return self._fd

    def _reopen(self) -> None:
        fd = self._open()
        self.close()
        self._fd = fd

    def _is_newest(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self._path.stat())
        except FileNotFoundError:
            return False

    def _is_full(self, fd: int, more_bytes: int) -> bool:
        size = os.fstat(fd).st_size  # of a pipe or a device none
        return size > 0 and size + more_bytes > self._max_bytes

    def _shift(self) -> None:
        names = [self._path, *(Path(f"{self._path}.{number}") for number in range(1, self._keep + 1))]
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            with suppress(FileNotFoundError):
                newer.replace(older)
        if not self._keep:
            self._path.unlink()

    def _lost(self, error: OSError) -> None:
        if not self._has_warned:
            self._has_warned = True
            self.warn(f"--log-file {self._path} cannot be written ({error.strerror}); the run goes on without it")
