"""The standard streams, as whoever starts the program has left them: closed, on a full disk, a pipe that nobody reads on."""

import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer


class _Patient(io.FileIO):
    """An output that may fail: the work goes on, and its exit status stays true."""

    failure: OSError | None = None
    has_begun = False

    def write(self, data: "Buffer", /) -> int:
        """All of it counts as written, also after a failure: half of an output with a hole in it helps nobody."""
        self.has_begun = True
        if self.failure is None:
            try:
                return self._write(data)
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes

    def _write(self, data: "Buffer") -> int:
        while (taken := super().write(data)) is None:  # another program that shares the terminal has made it so
            select.select([], [self.fileno()], [])
        return taken


def prepare() -> None:
    """Called once, before anything is opened: three streams that are there and raise nothing."""
    for number in range(3):
        _open_if_closed(number)
    # What Python found closed at its start is None, whatever the types say.
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # as long as the program
    sys.stdout = _patient(sys.stdout, 1, by_line=sys.stdout is not None and sys.stdout.isatty())
    sys.stderr = _patient(sys.stderr, 2, by_line=True)


def lost_output() -> OSError | None:
    """Why standard output could not be written. Whoever has read enough, as `head` does, has lost nothing."""
    raw = _output()
    failure = raw.failure if raw is not None else None
    return None if isinstance(failure, BrokenPipeError) else failure


def has_output() -> bool:
    """Whether anything stands on standard output: of `--json` the one object, or the beginning of it."""
    raw = _output()
    return raw is not None and raw.has_begun


def _output() -> _Patient | None:
    """Standard output with all that was printed, where `prepare` has made it."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Patient) else None


def _open_if_closed(number: int) -> None:
    """With /dev/null. Else the next file would get the number, a queue's perhaps, and what is printed would go there."""
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        os.set_inheritable(number, True)  # noqa: FBT003  # as it is called


def _patient(stream: TextIO | None, number: int, *, by_line: bool) -> TextIO:
    out = io.BufferedWriter(_Patient(number, "w", closefd=False))
    encoding, errors = ("utf-8", "replace") if stream is None else (stream.encoding, stream.errors)
    if errors == "strict":  # a name that the terminal's encoding lacks must not end a run
        errors = "backslashreplace"
    return io.TextIOWrapper(out, encoding, errors, line_buffering=by_line)
