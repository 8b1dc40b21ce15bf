"""Which processes of this machine are still there: the leases of those that are not need not be waited out."""

import os
import socket
from pathlib import Path


def this_host() -> str:
    """A name for "where a process id means something": machine, boot and process namespace."""
    return f"{socket.gethostname()} {_read('/proc/sys/kernel/random/boot_id')} {_namespace()}".strip()


def is_gone(pid: int) -> bool:
    """Whether surely no process of this id runs here. An id that is taken again counts as still there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _read(path: str) -> str:
    try:
        return Path(path).read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
