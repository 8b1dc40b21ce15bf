"""A finished part file gets its final name: atomically, never over a file that this queue did not write."""

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from batchrun.video.download import flush, flush_names, sha256_of

_LONGEST_ID = 48
"""Of an attempt and the run that gathers it, together."""


class OccupiedError(Exception):
    """A file that this queue did not write stands under the name."""


def is_foreign(final: Path, placed_sha256: str | None) -> bool:
    """Whether something else than what this queue has put there stands under a name. Blocks.

    Raises:
        OSError: that cannot be told: it cannot be read, or cannot be a name here.
    """
    try:
        return not _is_file(final) or placed_sha256 is None or sha256_of(final) != placed_sha256
    except (FileNotFoundError, NotADirectoryError):
        return False


def holds(path: Path, sha256: str | None) -> bool:
    """Whether these very bytes stand under a name. Blocks. Raises OSError: it cannot be read."""
    try:
        return _is_file(path) and sha256_of(path) == sha256
    except FileNotFoundError:
        return False


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(path.stat().st_mode)


def place(part: Path, final: Path, sha256: str, placed_sha256: str | None, history: Path | None) -> None:
    """Give the part file its name. Blocks. Running it again after a kill at any point finishes it.

    The caller flushes the folder before it says that the clip is there.

    Args:
        part: the whole, checked and flushed file, on the same file system as `final`.
        final: its name.
        sha256: the digest of `part`.
        placed_sha256: what this queue has put under the name before, if anything.
        history: where an older clip of ours under the name is kept.

    Raises:
        OccupiedError: see above; nothing was changed.
        OSError: the disk, or the part file is not what was checked.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    if part.exists() and sha256_of(part) != sha256:
        raise OSError(f"{part.name} is not the file that was checked")
    if final.exists():
        standing = sha256_of(final) if _is_file(final) else None
        if standing == sha256:
            part.unlink(missing_ok=True)
            return
        if standing is None or standing != placed_sha256:
            raise OccupiedError(f"{final} exists and was not written by this queue; move it away")
        if history is not None:
            _keep(final, history)
    part.replace(final)


def _keep(old: Path, history: Path) -> None:
    """A second name for the old clip; the first is taken by the new one in the next step, which a power cut may keep alone.

    So the second name must be on the disk before, and those of its two folders (`history_path`), which may be new.
    """
    history.parent.mkdir(parents=True, exist_ok=True)
    if not history.exists():
        _name_also(old, history)
    for folder in history.parents[:3]:
        flush_names(folder)


def _name_also(old: Path, name: Path) -> None:
    try:
        os.link(old, name)
    except OSError:  # another file system, or one without links
        temporary = name.with_name(name.name + ".part")
        shutil.copyfile(old, temporary)
        flush(temporary)
        temporary.replace(name)


@contextmanager
def replacing(final: Path) -> Iterator[TextIO]:
    """A text file (UTF-8, line ends as written) that stands under its name once it is whole, or not at all. Blocks.

    What stands there is on the disk; that it stands there is so when its folder is flushed.

    Raises:
        OSError: the disk; what stood under the name is as it was.
    """
    part = final.with_name(f".batchrun-{secrets.token_hex(8)}.part")
    try:
        with part.open("x", encoding="utf-8", errors="surrogateescape", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def part_path(final: Path, attempt_id: str) -> Path:
    """Where a clip is gathered: beside its final name, hidden, never two attempts in one file, and short for any name."""
    digest = hashlib.sha256(os.fsencode(final.name)).hexdigest()[:16]
    return final.with_name(f".{digest}.{attempt_id}.part")


def earlier_part_path(final: Path, attempt_id: str) -> Path:
    """Where it was gathered before: found once more, so that no queue loses what was under way."""
    return final.with_name(f".{final.name}.{attempt_id}.part")


def check_names(final: Path) -> None:
    """Blocks. Raises OSError: the name, or those that a clip has on its way to it, cannot exist in the folder."""
    for path in (final, part_path(final, "0" * _LONGEST_ID)):
        with suppress(FileNotFoundError):
            path.lstat()


def history_path(folder: Path, batch: str, key: str, placed_sha256: str | None) -> Path:
    """Where the clip goes that stood under a job's name before."""
    return folder / "history" / batch / f"{key}.{(placed_sha256 or '')[:12]}.mp4"


def remove_parts(final: Path, attempt_id: str) -> None:
    """Remove what other runs may have left of the same attempt's download. Looks through the whole folder. Blocks."""
    names = part_path(final, attempt_id).name, earlier_part_path(final, attempt_id).name
    with os.scandir(final.parent) as found:
        leftovers = [one.path for one in found if one.name.startswith(names)]
    for leftover in leftovers:
        Path(leftover).unlink(missing_ok=True)


def quarantine_path(folder: Path, batch: str, key: str, attempt_id: str) -> Path:
    """Where a clip goes that was paid for but fails its checks."""
    return folder / "rejected" / batch / f"{key}.{attempt_id}.mp4"


def poster_path(folder: Path, kind: str, batch: str, key: str) -> Path:
    """Where one frame of a job's clip is kept; `kind` is the queue's, because previews share the folder with paid clips."""
    base = folder / "preview" if kind == "preview" else folder
    return base / "posters" / batch / f"{key}.webp"


def late_path(folder: Path, batch: str, key: str, attempt_id: str) -> Path:
    """Where the clip of a submit goes that was given up, exists after all, and whose job was bought again meanwhile."""
    return folder / "late" / batch / f"{key}.{attempt_id}.mp4"
