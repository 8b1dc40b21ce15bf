"""One measured process: wall, CPU of its own and its children's, and the most memory it held."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LOOK_S = 0.005
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Used:
    """What a process took."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Used:
    """Run it to its end.

    Raises:
        RuntimeError: it ended with an error.
    """
    begin = time.perf_counter()
    process = started(command, environment)
    peak_bytes = 0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        peak_bytes = max(peak_bytes, peak_of(process.pid))
        time.sleep(_LOOK_S)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - begin
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return Used(wall_s, usage.ru_utime + usage.ru_stime, peak_bytes)


def started(command: Sequence[str], environment: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
    """The same without waiting for it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("BATCHRUN_", "WAVESPEED_"))}
    return subprocess.Popen(command, env=inherited | dict(environment or {}), stdout=subprocess.DEVNULL)


def peak_of(pid: int) -> int:
    """The most memory that a process has held so far; 0 for one that has ended.

    Not `ru_maxrss`, which begins with what the process held that started this one.
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024 if "VmHWM:" in text else 0


def resident_of(pid: int) -> int:
    """The memory that a process holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far, its own."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
