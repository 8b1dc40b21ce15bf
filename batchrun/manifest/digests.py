"""Pictures that did not change since they were read are not read again: a small file of their facts.

A picture is known by its path, size, mtime_ns, ctime_ns and inode (design, section 4a). One that was touched within two
seconds of being read is not remembered: it could change again without any of these moving. What is sent is hashed once
more while it is uploaded, so that a wrong memory could not buy the wrong clip.

The file is a line with the sha256 of the rest, and a line of JSON for each picture. It is replaced as a whole, so that
parallel runs leave one whole file, the last one's; what does not add up is left aside as a whole and costs a reading of the
pictures, nothing else.
"""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from batchrun.files import open_regular
from batchrun.manifest.catalogue import PictureRules
from batchrun.manifest.neighbours import Neighbours
from batchrun.manifest.pictures import (
    Facts,
    NoPictureError,
    Picture,
    PictureError,
    check_picture,
    facts_of,
    read_picture,
)

MAX_PICTURES = 250_000
MAX_FILE_BYTES = 512 * 2**20
YOUNG_NS = 2_000_000_000
_HEADER = b"batchrun digests 1 "

_Known = tuple[Facts, Picture]


class DigestCache:
    """The facts of pictures, kept between runs. Safe to delete; never an error."""

    def __init__(self, path: Path, now_ms: Callable[[], int]) -> None:
        self._path = path
        self._now_ms = now_ms
        self._known: dict[str, _Known] = _read(path)
        self._added: dict[str, _Known] = {}

    def get(self, path: str, facts: Facts) -> Picture | None:
        """What is known of the file as it is now."""
        known = self._known.get(path)
        return known[1] if known is not None and known[0] == facts else None

    def add(self, path: str, facts: Facts, picture: Picture) -> None:
        """Remember what was read from a file that was the same before and after."""
        newest_ns = max(facts.mtime_ns, facts.ctime_ns)
        if self._now_ms() * 1_000_000 - newest_ns >= YOUNG_NS:
            self._known[path] = self._added[path] = (facts, picture)

    def save(self) -> None:
        """Write down what is new. A cache that cannot be written costs time, not correctness: no error."""
        if not self._added:
            return
        merged = _read(self._path)  # another run may have added others
        for path, known in self._added.items():
            merged.pop(path, None)  # the newest stand last, and the oldest are left out
            merged[path] = known
        with suppress(OSError):
            _write(self._path, list(merged.items())[-MAX_PICTURES:])
            self._added = {}


def _read(path: Path) -> dict[str, _Known]:
    try:
        with io.BufferedReader(open_regular(path)) as file:
            if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                return {}
            header, body = file.readline(200), file.read(MAX_FILE_BYTES)
    except OSError:
        return {}
    if header != _header(body):
        return {}
    found: dict[str, _Known] = {}
    with suppress(ValueError, TypeError):  # whole, and yet not what this version writes
        for line in body.splitlines():
            name, facts, picture = json.loads(line)
            found[name] = (Facts(*facts), Picture(*picture))
    return found


def _write(path: Path, known: Iterable[tuple[str, _Known]]) -> None:
    lines = [json.dumps([name, facts, _values(picture)], separators=(",", ":")) for name, (facts, picture) in known]
    body = "".join(f"{line}\n" for line in lines).encode("ascii")
    handle, part = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_header(body) + body)
        os.replace(part, path)  # noqa: PTH105  # both are plain text here
    except BaseException:
        os.unlink(part)  # noqa: PTH108  # plain text, as above
        raise


def _header(body: bytes) -> bytes:
    return _HEADER + hashlib.sha256(body).hexdigest().encode("ascii") + b"\n"


def _values(picture: Picture) -> tuple[object, ...]:
    return (picture.sha256, picture.size_bytes, picture.width_px, picture.height_px, picture.content_type)


class PictureReader:
    """Reads each picture once, however many jobs use it, and not at all when the cache knows it."""

    def __init__(self, rules: PictureRules, cache: DigestCache | None) -> None:
        self._rules = rules
        self._cache = cache
        self._neighbours = Neighbours()
        self._read: dict[str, tuple[Path, Picture] | str] = {}

    def read(self, path: str) -> tuple[Path, Picture]:
        """The picture at an absolute path, and the path as one shared value.

        Raises:
            PictureError: it cannot be used.
        """
        found = self._read.get(path)
        if found is None:
            found = self._read[path] = self._look(path)
        if isinstance(found, str):
            raise PictureError(found)
        return found

    def _look(self, name: str) -> tuple[Path, Picture] | str:
        path = Path(name)
        try:
            return path, self._picture(path, name)
        except NoPictureError as error:
            return f"{error}{self._neighbours.hint(path)}"
        except PictureError as error:
            return str(error)

    def _picture(self, path: Path, name: str) -> Picture:
        if self._cache is None:
            return read_picture(path, self._rules)[0]
        known = self._cache.get(name, facts) if (facts := facts_of(path)) else None
        if known is not None:
            check_picture(known, path.name, self._rules)
            return known
        picture, facts = read_picture(path, self._rules)
        if facts is not None:
            self._cache.add(name, facts, picture)
        return picture
