"""A process that is frozen until its lease is over and its jobs are taken over, and then wakes up.

Frozen at a named moment: while its POST waits for the answer, between intent and POST, after the answer, before the
clip gets its name. Nothing is bought twice, and an answer that comes late is written down.
"""

import argparse
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from batchrun.emulator.server import Emulator
from tests.proof.books import Violation, read_beside
from tests.proof.children import COMMAND, Child, started
from tests.proof.endgame import by_hand, figures_of, kept, look, settle
from tests.proof.stage import PRICE, Manifest, emulator, forget, queue_of

SHORT_LEASE = (sys.executable, str(Path(__file__).with_name("short_lease.py")))
POSTING = "posting"
MOMENTS = (POSTING, "claimed", "uploaded", "intent", "accepted", "completed", "checked", "placed")
_JOBS = 8
_A_MOMENT_S = 0.002
_CAP = PRICE * _JOBS * 2


@dataclass
class Sleeper:
    """Stops a process once, at its moment."""

    moment: str
    queue: Path
    child: Child | None = None
    is_asleep: bool = False

    def hear(self, child: Child, line: str) -> None:
        if f" {self.moment}" in line:
            self._stop(child)

    def submitted(self) -> None:
        if self.moment == POSTING and self.child is not None:
            self._stop(self.child)

    def _stop(self, child: Child) -> None:
        """Not inside a transaction: SQLite's lock would stay with the sleeper, and others could only give up."""
        if self.is_asleep:
            return
        self.is_asleep = True
        freeze(child)
        while child.process.returncode is None and is_locked(self.queue):
            child.signal(signal.SIGCONT)
            time.sleep(_A_MOMENT_S)
            freeze(child)


def freeze(child: Child) -> None:
    """Come back when every thread stands still."""
    child.signal(signal.SIGSTOP)
    threads = Path(f"/proc/{child.process.pid}/task")
    while any(_state(thread) not in "TZX" for thread in threads.glob("*/stat")):
        time.sleep(_A_MOMENT_S)


def _state(stat: Path) -> str:
    try:
        return stat.read_text().rpartition(") ")[2][:1]
    except OSError:
        return "X"


def is_locked(queue: Path) -> bool:
    """Whether somebody is writing just now."""
    with closing(sqlite3.connect(queue, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
        return False


async def prove(
    folder: Path, *, seed: int, moment: str, command: Sequence[str] = SHORT_LEASE, hide_inputs: bool = False
) -> Counter[str]:
    """One process is frozen at the moment, a second one does what is left, the first one wakes up. Raises Violation.

    Args:
        folder: for the shop.
        seed: of the emulator.
        moment: one of MOMENTS.
        command: batchrun, with its own lease of a minute or a shorter one.
        hide_inputs: the provider does not echo what was sent, so that only the late answer can tell.
    """
    limits: dict[str, object] = {
        "concurrency": 3 * _JOBS,
        "per_minute": 10_000,
        "poll": 0.05,
        "settle": 0.5,
        "max_unknown": 1000,
        "budget": _CAP / 1_000_000,
    }
    shop = Manifest(folder, limits=limits).add(range(_JOBS))
    async with emulator(folder, {}, seed=seed, median_s=0.3, show_inputs=not hide_inputs) as running:
        said: list[str] = []
        with kept(running.world, folder, said):
            figures = await _freeze_and_wake(shop, running, Sleeper(moment, queue_of(folder)), command, said)
            standing = read_beside(queue_of(folder))
            if open_ := [
                one for one in standing.attempts.values() if one.state in ("submitting", "unknown", "running")
            ]:
                raise Violation("an answer that came late is not written down", attempts=open_)
            figures += figures_of(await settle([shop], running))
    figures["predictions"] = len(running.world.submits)
    return figures


async def _freeze_and_wake(
    shop: Manifest, running: Emulator, sleeper: Sleeper, command: Sequence[str], said: list[str]
) -> Counter[str]:
    figures: Counter[str] = Counter()
    check: Callable[[], object] = lambda: look(running.world, queue_of(shop.folder), _CAP, read_beside)  # noqa: E731  # asked as often as it takes
    async with started([shop.path], running.base_url, hear=sleeper.hear, command=command) as first:
        sleeper.child = first
        running.world.on_submit = sleeper.submitted
        while not sleeper.is_asleep and await first.end(0.02) is None:
            continue
        async with started([shop.path], running.base_url, command=command) as second:
            await second.end_well()
            said += ["---- second", *second.lines]
        check()
        asleep = read_beside(queue_of(shop.folder)).attempts.values()
        figures["unknown when it wakes"] = sum(one.state == "unknown" for one in asleep)
        first.signal(signal.SIGCONT)
        await first.end_well()
        said += ["---- first", *first.lines]
    check()
    figures["froze"] = sleeper.is_asleep
    figures["leases lost"] = sum("lease lost" in line for line in said)
    return figures


async def _all(folder: Path, asked: argparse.Namespace) -> Counter[str]:
    total: Counter[str] = Counter()
    command = SHORT_LEASE if asked.short_lease else COMMAND
    for moment in asked.moments:
        inner = folder / moment
        inner.mkdir()
        figures = await prove(inner, seed=asked.seed, moment=moment, command=command, hide_inputs=asked.hide_inputs)
        print(f"  frozen at {moment}: {dict(sorted(figures.items()))}", flush=True)
        total += figures
        forget(inner)
    return total


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof frozen", description=__doc__)
    parser.add_argument("--moments", nargs="+", default=list(MOMENTS), choices=MOMENTS)
    parser.add_argument("--short-lease", action="store_true", help="of seconds, instead of the real minute")
    parser.add_argument("--hide-inputs", action="store_true", help="the provider does not echo what was sent")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    flags = " --short-lease" * asked.short_lease + " --hide-inputs" * asked.hide_inputs
    again = f"--moments {' '.join(asked.moments)} --seed {asked.seed}{flags}"
    return by_hand("frozen", again, lambda folder: _all(folder, asked))
