"""Bytes from the provider into a part file: streamed, bounded, counted, flushed."""

import hashlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from batchrun.clock import Clock
from batchrun.provider.outcome import NotFoundError, RefusedError, TryLaterError

MAX_CLIP_BYTES = 2 * 1024**3
MAX_DOWNLOAD_S = 1800.0
_GONE = (403, 404, 410)
_OK = 200

Stream = Callable[
    [str, Mapping[str, str]], AbstractAsyncContextManager[tuple[int, Mapping[str, str], AsyncIterator[bytes]]]
]


@dataclass(frozen=True, slots=True)
class PartFile:
    """A file that is whole by its length; nothing else is known of it yet."""

    path: Path
    size_bytes: int
    sha256: str


async def download(clock: Clock, stream: Stream, url: str, part: Path, max_bytes: int = MAX_CLIP_BYTES) -> PartFile:
    """Fetch the URL into `part`, which is overwritten.

    Raises:
        NotFoundError: this address does not work any more; a fresh one may.
        TryLaterError: the network or the host.
        RefusedError: too large.
        OSError: the disk.
    """
    try:
        async with (
            clock.timeout(MAX_DOWNLOAD_S),
            stream(url, {"Accept-Encoding": "identity"}) as (status, headers, pieces),
        ):
            if status in _GONE:
                raise NotFoundError(f"download: HTTP {status}")
            if status != _OK:
                raise TryLaterError(f"download: HTTP {status}")
            return await _write(pieces, _length(headers), part, max_bytes)
    except TimeoutError as error:
        raise TryLaterError(f"download: not finished within {MAX_DOWNLOAD_S:.0f} s") from error


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


async def _write(pieces: AsyncIterator[bytes], length_bytes: int | None, part: Path, max_bytes: int) -> PartFile:
    if (length_bytes or 0) > max_bytes:
        raise RefusedError(f"download: the clip has {length_bytes} bytes, more than the {max_bytes} that are accepted")
    digest = hashlib.sha256()
    size_bytes = 0
    part.parent.mkdir(parents=True, exist_ok=True)
    # Writing goes to the page cache; what may take long is the flush, which the caller's thread does (`flush`).
    with part.open("wb") as file:
        async for piece in pieces:
            size_bytes += len(piece)
            if size_bytes > max_bytes:
                raise RefusedError(f"download: the clip has more than the {max_bytes} bytes that are accepted")
            digest.update(piece)
            file.write(piece)
    if length_bytes is not None and size_bytes != length_bytes:
        raise TryLaterError(f"download: {size_bytes} of {length_bytes} bytes came")
    return PartFile(part, size_bytes, digest.hexdigest())


def flush(path: Path) -> None:
    """Make sure that the file's bytes are on the disk. Blocks."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """The digest of a file. Blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
