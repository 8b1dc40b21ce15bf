"""Records in their order, however many: the newest are in memory, the others in a file without a name that goes with them.

A million jobs as Python objects take a gigabyte; spooled they take the memory of one chunk, and a second a pass.
"""

import pickle
import tempfile
import threading
import weakref
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar, overload

from batchrun.errors import StorageError

CHUNK = 1000
_IN_MEMORY_BYTES = 4 * 2**20
"""What is smaller never touches the disk."""

T = TypeVar("T")


class Spool(Sequence[T]):
    """A list that is only added to. Records must be plain values: they are copies when they are read back.

    Raises (when it is added to or read):
        StorageError: the disk for temporary files is full or gone.
    """

    def __init__(self, records: Iterable[T] = ()) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115  # closed by `finalize`
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()
        self._ends = [0]
        self._newest: list[T] = []
        self.extend(records)

    def append(self, record: T) -> None:
        """Add one."""
        self._newest.append(record)
        if len(self._newest) == CHUNK:
            self._store()

    def extend(self, records: Iterable[T]) -> None:
        """Add them all."""
        for record in records:
            self.append(record)

    def __len__(self) -> int:
        return (len(self._ends) - 1) * CHUNK + len(self._newest)

    def __iter__(self) -> Iterator[T]:
        for number in range(len(self._ends) - 1):
            yield from self._chunk(number)
        yield from self._newest

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...
    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        number, rest = divmod(range(len(self))[at], CHUNK)
        return (self._newest if number == len(self._ends) - 1 else self._chunk(number))[rest]

    def _store(self) -> None:
        data = zlib.compress(
            pickle.dumps(self._newest, pickle.HIGHEST_PROTOCOL), 1
        )  # a fifth of it, for a second a million
        with self._lock:
            try:
                self._file.seek(self._ends[-1])
                self._file.write(data)
            except OSError as error:
                raise _no_room(error) from error
        self._ends.append(self._ends[-1] + len(data))
        self._newest = []

    def _chunk(self, number: int) -> list[T]:
        begin, end = self._ends[number : number + 2]
        with self._lock:
            try:
                self._file.seek(begin)
                data = self._file.read(end - begin)
            except OSError as error:
                raise _no_room(error) from error
        records: list[Any] = pickle.loads(zlib.decompress(data))  # noqa: S301  # our own bytes, in a file without a name
        return records


def _no_room(error: OSError) -> StorageError:
    return StorageError(
        f"temporary files in {tempfile.gettempdir()} cannot be written or read: {error.strerror or error}; make room, or "
        "set TMPDIR to another folder"
    )


def chunks(records: Iterable[T]) -> Iterator[list[T]]:
    """The records in lists of `CHUNK`, the last one shorter."""
    rest = iter(records)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
