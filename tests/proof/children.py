"""Real processes of batchrun: started, heard line by line, killed or frozen, and everything they said kept."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import KEY
from tests.proof.books import Violation

COMMAND = (sys.executable, "-m", "batchrun")
FINE = frozenset({0, 3, 4, 5, 8, -signal.SIGKILL})
"""Ends of a run that a proof expects: never 1 (unexpected), 2 (usage), 7 or 12 (account, key)."""
HANGS_AFTER_S = 170.0


@dataclass
class Child:
    """One process. `hear` is called with every line as it comes, and may kill."""

    process: Process
    hear: Callable[["Child", str], None]
    lines: list[str] = field(default_factory=list)
    _reader: "asyncio.Task[None] | None" = None

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            self.lines.append(raw.decode(errors="replace").rstrip())
            self.hear(self, self.lines[-1])

    def signal(self, number: int) -> None:
        """Not by asyncio's own way: that may reap the process, and its status is lost."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    @property
    def was_killed(self) -> bool:
        return self.process.returncode == -signal.SIGKILL

    async def end(self, within_s: float | None = None) -> int | None:
        """Its status; None when it is still running after `within_s`."""
        try:
            await asyncio.wait_for(self.process.wait(), within_s)
        except TimeoutError:
            return None
        assert self._reader is not None
        await self._reader
        return self.process.returncode

    async def end_well(self) -> int:
        """Its status, which must be one that is expected. Raises Violation: it hangs, or failed as it must not."""
        status = await self.end(HANGS_AFTER_S)
        if status is None:
            self.kill()
            await self.end()
            raise Violation("a run did not end", said=self.lines[-30:])
        if status not in FINE or any("Traceback" in line for line in self.lines):
            raise Violation(f"a run ended with {status}", said=self.lines[-60:])
        return status


@asynccontextmanager
async def started(
    manifests: Sequence[Path],
    base_url: str,
    *,
    hear: Callable[[Child, str], None] | None = None,
    command: Sequence[str] = COMMAND,
) -> AsyncIterator[Child]:
    """`batchrun MANIFEST… -v` against an emulator, with nothing of the machine's own settings; killed at the end."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not (name.startswith(("BATCHRUN_", "WAVESPEED_")) or name.lower().endswith("_proxy"))
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        *map(str, manifests),
        "-v",
        env=clean | {"WAVESPEED_API_KEY": KEY, "WAVESPEED_BASE_URL": base_url},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=PIPE,
        cwd="/",
    )
    child = Child(process, hear or (lambda _child, _line: None))
    child._reader = asyncio.create_task(child._read())
    try:
        yield child
    finally:
        child.kill()
        child.signal(signal.SIGCONT)
        await child.end()


def kill_at_line(number: int, word: str = "") -> Callable[[Child, str], None]:
    """Kill at the `number`th line that holds `word`."""
    left = number

    def hear(child: Child, line: str) -> None:
        nonlocal left
        if word in line:
            left -= 1
            if left == 0:
                child.kill()

    return hear
