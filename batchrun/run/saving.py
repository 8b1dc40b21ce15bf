"""Whether finished clips can be checked, and put where they belong: looked at before money is spent on them."""

import errno
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from batchrun.clock import Clock
from batchrun.run.halts import Halt, HaltKind
from batchrun.video.download import flush_names

MIN_FREE_BYTES = 200_000_000
"""For some clips that are on their way, and what else is written."""
_LOOK_AGAIN_S = 30.0
_OF_THE_DISK = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.ENODEV}
)


def halt_of_disk(path: Path, error: OSError) -> Halt | None:
    """Why nothing more is bought when a clip could not be written; None where only this one name is the trouble."""
    if error.errno not in _OF_THE_DISK:
        return None
    return Halt(
        HaltKind.CANNOT_SAVE,
        f"finished clips cannot be saved in {path.parent}: {error.strerror}; nothing more is bought",
    )


def halt_of_decoder() -> Halt | None:
    """Why no clip could be checked on this machine; None when clips can. Blocks.

    PyAV is first needed when a clip is there, and paid for: its codecs may lack a library, or the memory to be mapped.
    """
    try:
        import_module("av")
    except (ImportError, MemoryError) as error:
        said = str(error) or "no memory is left"
        return Halt(HaltKind.CANNOT_CHECK, f"clips cannot be checked: PyAV does not load ({said}); nothing is bought")
    return None


@dataclass(slots=True)
class SaveGuard:
    """Looks at each folder of finished clips, now and then. One a run."""

    clock: Clock
    min_free_bytes: int = MIN_FREE_BYTES
    _looked_s: dict[Path, float] = field(default_factory=dict)

    def halt(self, output: Path) -> Halt | None:
        """Why a clip cannot be saved in this name's folder; None when it can. Blocks.

        Raises:
            OSError: the path is too long, which is the trouble of this name alone.
        """
        folder, now_s = output.parent, self.clock.monotonic_s()
        if now_s - self._looked_s.get(folder, -_LOOK_AGAIN_S) < _LOOK_AGAIN_S:
            return None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".batchrun-", suffix=".part") as file:
                file.write(b"\0")
                file.flush()
                os.fsync(file.fileno())
            flush_names(folder)
            free_bytes = shutil.disk_usage(folder).free
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise
            return Halt(HaltKind.CANNOT_SAVE, f"clips cannot be saved in {folder}: {error.strerror}; nothing is bought")
        if free_bytes < self.min_free_bytes:
            free, least = free_bytes // 1_000_000, self.min_free_bytes // 1_000_000
            return Halt(HaltKind.DISK_FULL, f"only {free} MB are free in {folder}, {least} MB are needed to save clips")
        self._looked_s[folder] = now_s
        return None
