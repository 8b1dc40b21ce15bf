"""Bytes from the provider into a part file: streamed, bounded, counted, flushed."""

import errno
import hashlib
import os
import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from batchrun.clock import Clock
from batchrun.files import open_regular
from batchrun.manifest.jobs import MAX_CLIP_MB
from batchrun.provider.outcome import NotFoundError, RefusedError, TryLaterError

MAX_DOWNLOAD_S = 1800.0
_GONE = (403, 404, 410)
_OK, _PARTIAL, _RANGE_REFUSED = 200, 206, 416
_CONTENT_RANGE = re.compile(r"bytes (?P<first>\d{1,15})-\d{1,15}/(?P<total>\d{1,15})")

_GZIP, _GZIP_MAGIC = "gzip", b"\x1f\x8b"
_UNPACKED_BYTES = 1024 * 1024
"""At a time: a packed piece may hold a thousand times its size."""

Stream = Callable[
    [str, Mapping[str, str]], AbstractAsyncContextManager[tuple[int, Mapping[str, str], AsyncIterator[bytes]]]
]


@dataclass(frozen=True, slots=True)
class PartFile:
    """A file that is whole by its length; nothing else is known of it yet."""

    path: Path
    size_bytes: int
    sha256: str


class TooLargeError(RefusedError):
    """More bytes than are accepted."""


class Download:
    """One clip on its way into a part file.

    A cut transfer is gone on with where it stopped, when the host can prove that its bytes are still the same: `Range`
    with `If-Range` (RFC 9110, sections 13.1.5 and 14).
    """

    def __init__(self, clock: Clock, stream: Stream, part: Path, max_bytes: int = MAX_CLIP_MB * 1_000_000) -> None:
        """Into `part`, which is overwritten."""
        self._clock = clock
        self._stream = stream
        self._part = part
        self._max_bytes = max_bytes
        self.restart()

    def restart(self) -> None:
        """Forget what has come: the next fetch begins at the first byte."""
        self._validator: str | None = None
        self._size_bytes = 0
        self._total_bytes: int | None = None
        self._digest = hashlib.sha256()
        self._gunzip: _Gunzip | None = None

    async def fetch(self, url: str) -> PartFile:
        """The rest of the clip.

        Raises:
            NotFoundError: this address does not work any more; a fresh one may.
            TryLaterError: the network or the host.
            TooLargeError: more bytes than are accepted.
            OSError: the disk.
        """
        headers = {"Accept-Encoding": "identity"}
        if self._validator is not None and self._size_bytes:
            headers |= {"Range": f"bytes={self._size_bytes}-", "If-Range": self._validator}
        else:
            self.restart()
        try:
            async with self._clock.timeout(MAX_DOWNLOAD_S), self._stream(url, headers) as (status, answered, pieces):
                self._begin(status, answered)
                return await self._write(pieces)
        except TimeoutError as error:
            raise TryLaterError(f"download: not finished within {MAX_DOWNLOAD_S:.0f} s") from error

    def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Decide from the answer's head where its bytes belong."""
        if status in _GONE:
            raise NotFoundError(f"download: HTTP {status}")
        if status == _PARTIAL:
            if not self._continues(headers):
                self.restart()
                raise TryLaterError("download: the rest that came does not fit what is there")
        elif status == _OK:
            self.restart()
            if headers.get("Content-Encoding", "").strip().lower() == _GZIP:
                # Kept packed by its host, whatever was asked for: length, ranges and ETag are of the packed bytes.
                self._gunzip = _Gunzip()
            else:
                self._validator = validator_of(headers)
                self._total_bytes = _length(headers)
        else:
            if status == _RANGE_REFUSED:
                self.restart()
            raise TryLaterError(f"download: HTTP {status}")
        if (self._total_bytes or 0) > self._max_bytes:
            raise TooLargeError(
                f"download: the clip has {self._total_bytes} bytes, more than the {self._max_bytes} that are accepted"
            )

    def _continues(self, headers: Mapping[str, str]) -> bool:
        found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if found is None or self._validator is None:
            return False
        first, total_bytes = int(found["first"]), int(found["total"])
        same_length = self._total_bytes in (None, total_bytes)
        # A host that does not know If-Range sends the rest of whatever lies there now.
        same_clip = validator_of(headers) == self._validator
        self._total_bytes = total_bytes
        return first == self._size_bytes and same_length and same_clip

    async def _write(self, pieces: AsyncIterator[bytes]) -> PartFile:
        # Writing goes to the page cache; what may take long is the flush, which the caller's thread does (`flush`).
        with _opened(self._part, "r+" if self._size_bytes else "w") as file:
            if self._size_bytes:
                file.truncate(self._size_bytes)
                file.seek(self._size_bytes)
            async for piece in self._unpacked(pieces):
                if self._size_bytes + len(piece) > self._max_bytes:
                    raise TooLargeError(
                        f"download: the clip has more than the {self._max_bytes} bytes that are accepted"
                    )
                _write_all(file, piece)
                self._digest.update(piece)
                self._size_bytes += len(piece)
        size_bytes, total_bytes, sha256 = self._size_bytes, self._total_bytes, self._digest.hexdigest()
        if total_bytes is not None and size_bytes != total_bytes:
            if size_bytes > total_bytes:
                self.restart()
            raise TryLaterError(f"download: {size_bytes} of {total_bytes} bytes came")
        self.restart()
        return PartFile(self._part, size_bytes, sha256)

    async def _unpacked(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        gunzip = self._gunzip
        async for piece in pieces:
            for plain in (piece,) if gunzip is None else gunzip.plain(piece):
                yield plain
        if gunzip is not None and not gunzip.is_whole:
            raise TryLaterError("download: the packed clip ended before its end")


class _Gunzip:
    """Unpacks a clip that its host keeps packed; a clip that is only called so stays as it is."""

    def __init__(self) -> None:
        self._unpack = zlib.decompressobj(wbits=31)
        self._is_packed: bool | None = None

    @property
    def is_whole(self) -> bool:
        """Its end and its checksum came."""
        return not self._is_packed or self._unpack.eof

    def plain(self, piece: bytes) -> Iterator[bytes]:
        """What is in the piece. Raises TryLaterError."""
        if self._is_packed is None:
            self._is_packed = _GZIP_MAGIC.startswith(piece[:2])
        if not self._is_packed:
            yield piece
            return
        rest = piece
        while rest and not self._unpack.eof:
            try:
                yield self._unpack.decompress(rest, _UNPACKED_BYTES)
            except zlib.error as error:
                raise TryLaterError("download: the packed clip is damaged") from error
            rest = self._unpack.unconsumed_tail


def _opened(part: Path, mode: str) -> FileIO:
    """Unbuffered, its folder made when needed: few system calls, for each of them lets go of the interpreter."""
    try:
        return FileIO(part, mode)
    except (FileNotFoundError, NotADirectoryError):
        part.parent.mkdir(parents=True, exist_ok=True)
        return FileIO(part, mode)


def _write_all(file: FileIO, piece: bytes) -> None:
    """Of an unbuffered file a disk that is almost full may take a part only; the next write then says why."""
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]


def validator_of(headers: Mapping[str, str]) -> str | None:
    """What proves that bytes at an address are the same as before: a strong ETag, else the time of the last change."""
    etag = headers.get("ETag", "")
    if etag.startswith('"'):
        return etag
    return headers.get("Last-Modified")


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def flush(path: Path) -> None:
    """Make sure that the file's bytes are on the disk. Blocks."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_names(folder: Path) -> None:
    """Make sure that the names in a folder are on the disk. Blocks.

    A file system that has no such call for folders (some of Windows' shares and of FUSE) looks after names itself.
    """
    try:
        flush(folder)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise


def sha256_of(path: Path) -> str:
    """The digest of a regular file; of anything else an OSError. Blocks."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
