"""What a person's terminal may do to a run: stand still, be closed, be full. And what it shows."""

import asyncio
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import suppress

import pytest

from batchrun.cli.progress import Progress
from batchrun.cli.screen import Screen
from batchrun.clock import SystemClock
from batchrun.run.events import Event, Kind
from tests.conftest import Shop, emulated
from tests.run.test_kill import command, environment

PIPE_BYTES = 4096


async def test_a_run_does_not_wait_for_who_does_not_read(shop: Shop) -> None:
    """Ctrl-S, `2>&1 | less` or a stalled ssh."""
    shop.add_many(20)
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    async with emulated() as emulator:
        process = await asyncio.create_subprocess_exec(
            *command(shop, "-v"), env=environment(emulator), stdout=subprocess.PIPE, stderr=write_end
        )
        os.close(write_end)
        try:
            async with asyncio.timeout(60):
                out, _ = await process.communicate()
        finally:
            with suppress(ProcessLookupError):
                process.kill()
    assert (process.returncode, "shop: 20 jobs: 20 done" in out.decode()) == (0, True)
    said = os.read(read_end, 2 * PIPE_BYTES)
    assert PIPE_BYTES - 200 < len(said) <= PIPE_BYTES  # the next line does not fit
    os.close(read_end)


def test_what_was_not_read_in_time_is_counted_once_it_flows_again() -> None:
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    with os.fdopen(read_end) as reader, os.fdopen(write_end, "w") as stream:
        screen = Screen(stream, has_bar=False)
        screen.open()
        for number in range(25_000):
            screen.line(f"line {number}")
        told = left_out = 0
        while told < 25_000:
            line = reader.readline().strip()
            if line != f"line {told}":
                count, _, words = line.partition(" ")
                assert words == "lines are left out here: they were not read in time"
                told += int(count)
                left_out += int(count)
            else:
                told += 1
        screen.close()
    assert told == 25_000
    assert left_out >= 5_000  # 10,000 wait, and 10,000 at most are being written


class Terminal:
    """A terminal, and everything that was shown on it."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.stream = os.fdopen(slave, "w")
        self.shown = ""

    def wait_for(self, text: str) -> None:
        while text not in self.shown:
            readable, _, _ = select.select([self._master], [], [], 20)
            assert readable, f"no {text!r} in {self.shown!r}"
            self.shown += os.read(self._master, 65536).decode()

    def close(self) -> None:
        self.stream.close()
        os.close(self._master)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    one = Terminal()
    yield one
    one.close()


def test_the_bar_is_drawn_while_nothing_happens(terminal: Terminal) -> None:
    with Progress(SystemClock(), quiet=False, verbose=False, stream=terminal.stream):
        terminal.wait_for("00:01")
        terminal.wait_for("00:02")


def test_a_question_stands_alone_and_comes_back_after_a_line(terminal: Terminal) -> None:
    with Progress(SystemClock(), quiet=False, verbose=False, stream=terminal.stream) as progress:
        terminal.wait_for("0 running")
        with progress.asking("Buy them?"):
            terminal.wait_for("Buy them? ")
            progress.say("meanwhile")
            terminal.wait_for("meanwhile\r\nBuy them? ")
        progress(Event(Kind.INTENT, "shop", "a", usd_micros=250_000))
        terminal.wait_for("1 running, $0.25 this run")
    assert terminal.shown.count("Buy them?") == 2
    assert "running" not in terminal.shown.split("Buy them?")[1]
