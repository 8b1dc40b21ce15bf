"""The local provider as the measurements see it: a process of its own, told its terms, asked for its figures."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.server import Terms


@dataclass(frozen=True, slots=True)
class Local:
    """A running provider."""

    url: str

    def reset(self, terms: Terms) -> None:
        """New terms, and everything forgotten."""
        given = {name: value for name, value in asdict(terms).items() if value != float("inf")}
        self._call("/bench/reset", json.dumps(given).encode())

    def mark(self) -> None:
        """From here on polls are first ones again."""
        self._call("/bench/mark")

    def figures(self) -> dict[str, Any]:
        """What the clients did since the reset."""
        return self._call("/bench/figures")

    def now(self) -> dict[str, Any]:
        """What runs, and what was counted: cheap enough to be asked each second."""
        return self._call("/bench/now")

    def _call(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + path, body, timeout=60) as answer:  # noqa: S310  # our own process
            found: dict[str, Any] = json.load(answer)
            return found


@contextmanager
def local_provider() -> Iterator[Local]:
    """A provider for the time of the block."""
    command = [sys.executable, "-m", "tests.bench.server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Local(process.stdout.readline().strip())
        finally:
            process.kill()
