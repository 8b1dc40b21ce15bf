"""Power cuts: the write-ahead log cut or damaged at any byte, and a checkpoint stopped halfway.

A queue is worked on with real transactions. After each of them the content of every table and the end of the log are
noted. Copies are then cut at random bytes and opened as any run opens them: the content must be exactly that after the
last transaction whose end lies before the cut, so nothing acknowledged is missing and no transaction is there by half.
"""

import argparse
import hashlib
import random
import shutil
import sqlite3
import struct
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchrun.queue.script import ScriptFactory
from batchrun.queue.sqlite import Outcome, SqliteDatabase
from batchrun.queue.store import Queue
from tests.clocks import StillClock
from tests.proof.books import Violation, check_file
from tests.proof.endgame import by_hand
from tests.proof.workload import Workload

_ORIGIN = "https://api.example:443"
_LOG_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_MAX_TAIL_BYTES = 200_000


@dataclass
class Log:
    """A write-ahead log as it stands on disk, read by SQLite's own format description."""

    data: bytes

    @property
    def page_bytes(self) -> int:
        return int(struct.unpack(">I", self.data[8:12])[0])

    def frames(self) -> list[tuple[int, int]]:
        """(start, page number) of every frame of the present round; older ones behind them carry another salt."""
        found: list[tuple[int, int]] = []
        at, salt = _LOG_HEADER_BYTES, self.data[16:24]
        while at < len(self.data) and self.data[at + 8 : at + 16] == salt:
            found.append((at, int(struct.unpack(">I", self.data[at : at + 4])[0])))
            at += _FRAME_HEADER_BYTES + self.page_bytes
        return found

    def end(self) -> int:
        frames = self.frames()
        return frames[-1][0] + _FRAME_HEADER_BYTES + self.page_bytes if frames else 0


def content(connection: sqlite3.Connection) -> str:
    """A digest of every row of every table."""
    digest = hashlib.sha256()
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    for (name,) in tables:
        for row in connection.execute(f"SELECT * FROM {name} ORDER BY 1"):
            digest.update(repr((name, *row)).encode())
    return digest.hexdigest()


class NotedDatabase(SqliteDatabase):
    """Notes after each transaction where the log ends and what the tables hold. Checkpoints only when told to."""

    path: Path
    notes: list[tuple[int, str, int]]
    """(end of the log, content, rows of the ledger), the first one before any transaction of this round."""

    async def begin_round(self, path: Path) -> None:
        """The log has been folded into the file: what stands there now survives whatever happens to the log."""
        self.path, self.notes = path, []
        await self._hop(lambda connection: connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall())
        self.notes.append((0, *await self._hop(_noted)))

    async def transact(self, scripts: Sequence[ScriptFactory[Any]]) -> list[Outcome]:
        outcomes = await super().transact(scripts)
        log = Log(self.path.with_name(self.path.name + "-wal").read_bytes())
        self.notes.append((log.end(), *await self._hop(_noted)))
        return outcomes

    async def checkpoint(self) -> None:
        await self._hop(lambda connection: connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall())


def _noted(connection: sqlite3.Connection) -> tuple[str, int]:
    return content(connection), connection.execute("SELECT count(*) FROM ledger").fetchone()[0]


@dataclass
class Cuts:
    """Copies of one round, damaged one after another."""

    folder: Path
    path: Path
    notes: list[tuple[int, str, int]]
    chance: random.Random
    figures: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.base = self.path.read_bytes()
        self.log = Log(self.path.with_name(self.path.name + "-wal").read_bytes())

    async def cut(self) -> None:
        """One cut: at any byte, near the end of a transaction, or inside a frame's header."""
        ends = [end for end, _, _ in self.notes]
        at = self.chance.choice(
            (
                self.chance.randint(0, self.log.end()),
                min(self.log.end(), max(0, self.chance.choice(ends) + self.chance.randint(-2, 2))),
                self.chance.choice(self.log.frames())[0] + self.chance.randint(0, _FRAME_HEADER_BYTES),
            )
        )
        how = self.chance.choice(("cut", "garbage", "zeros", "flipped", "old frames"))
        damaged = self._damaged(at, how)
        # What was written over may happen to be what stood there: the damage begins at the first byte that differs.
        pairs = enumerate(zip(damaged[at:], self.log.data[at:], strict=False), at)
        begins = next((place for place, (new, old) in pairs if new != old), len(damaged))
        await self.open(self.base, damaged, begins, how)

    def _damaged(self, at: int, how: str) -> bytes:
        head, tail = self.log.data[:at], self.log.data[at:]
        match how:
            case "garbage":
                return head + self.chance.randbytes(min(len(tail), _MAX_TAIL_BYTES))
            case "zeros":
                return head + bytes(min(len(tail), _MAX_TAIL_BYTES))
            case "flipped":
                return head + bytes([tail[0] ^ (1 << self.chance.randrange(8))]) + tail[1:] if tail else head
            case "old frames":  # what an earlier part of the log says, in the wrong place
                return head + self.log.data[_LOG_HEADER_BYTES : _LOG_HEADER_BYTES + len(tail)]
            case _:
                return head

    async def halfway(self, moved: bytes) -> None:
        """A checkpoint stopped halfway: some pages moved, some torn or garbage, the log still whole."""
        page_bytes = self.log.page_bytes
        pages = bytearray(self.base.ljust(len(moved), b"\0") if self.chance.random() < 0.5 else self.base)
        for number in {page for _, page in self.log.frames()}:
            at = (number - 1) * page_bytes
            new = moved[at : at + page_bytes]
            if self.chance.random() < 0.5 or at + page_bytes > len(pages):
                continue
            torn = self.chance.randrange(page_bytes)
            old = bytes(pages[at : at + page_bytes])
            pages[at : at + page_bytes] = self.chance.choice(
                (new, new[:torn] + old[torn:], self.chance.randbytes(page_bytes))
            )
        await self.open(bytes(pages), self.log.data, self.log.end(), "halfway")

    async def open(self, base: bytes, log: bytes, at: int, how: str) -> None:
        self.figures[how] += 1
        known = [note for note in self.notes if note[0] <= at]
        expected = known[-1]
        copy = self.folder / "copy" / "queue.db"
        shutil.rmtree(copy.parent, ignore_errors=True)
        copy.parent.mkdir()
        copy.write_bytes(base)
        copy.with_name("queue.db-wal").write_bytes(log)
        facts = {"how": how, "byte": at, "of": self.log.end(), "transactions before it": len(known) - 1}
        try:
            queue = await Queue.open(copy, StillClock(), kind="paid", origin=_ORIGIN)
            await queue.close()
        except Exception as error:
            raise Violation("the queue cannot be opened", **facts, error=repr(error)) from error
        with closing(sqlite3.connect(copy)) as connection:
            check_file(connection)
            rows = connection.execute("SELECT count(*) FROM ledger").fetchone()[0]
            if rows < expected[2]:
                raise Violation(
                    "acknowledged rows of the ledger are gone", **facts, rows=rows, acknowledged=expected[2]
                )
            check_whole(connection, facts)
            if content(connection) != expected[1]:
                raise Violation("this is not what was acknowledged last", **facts)


_FITTING = {
    "submitting": {"submitting"},
    "unknown": {"unknown", "parked"},
    "running": {"running"},
    "completed": {"downloading", "done", "rejected", "lost"},
    "failed": {"failed"},
    "refused": {"failed"},
    "void": {"failed"},
}
"""The states of a job while it points to an attempt in a state."""


def check_whole(connection: sqlite3.Connection, facts: dict[str, object]) -> None:
    """No half transaction: money, attempt and job have moved together. Raises Violation."""
    unreserved = connection.execute(
        "SELECT attempt_id FROM attempts a WHERE NOT EXISTS "
        "(SELECT 1 FROM ledger l WHERE l.attempt_id = a.attempt_id AND l.held_usd_micros = a.price_usd_micros)"
    ).fetchall()
    if unreserved:
        raise Violation("an attempt without its reservation", **facts, attempts=unreserved)
    pairs = connection.execute("SELECT j.key, j.state, a.state FROM jobs j JOIN attempts a USING (attempt_id)")
    unfit = [row for row in pairs if row[1] not in _FITTING.get(row[2], {row[1]})]
    open_ = connection.execute(
        "SELECT a.attempt_id, a.state FROM attempts a JOIN jobs j USING (job_id) "
        "WHERE a.state IN ('submitting', 'running') AND j.attempt_id IS NOT a.attempt_id"
    ).fetchall()
    if unfit or open_:
        raise Violation("job and attempt do not fit", **facts, jobs=unfit, attempts=open_)


async def prove(folder: Path, *, seed: int, cuts: int, rounds: int = 3) -> Counter[str]:
    """Rounds of work with so many cuts over all; between two rounds the log is folded into the file and starts over."""
    figures: Counter[str] = Counter()
    chance = random.Random(seed)
    path, clock = folder / "queue.db", StillClock()
    made = await Queue.open(path, clock, kind="paid", origin=_ORIGIN)
    await made.close()
    database = await NotedDatabase.open(path)
    assert isinstance(database, NotedDatabase)
    try:
        await database.begin_round(path)
        work = Workload(Queue(database, clock, made.identity, path, "run"), clock, folder, chance)
        await work.begin()
        for _ in range(rounds):
            await work.go_on()
            trial = Cuts(folder, path, database.notes, chance)
            for _ in range(cuts // rounds * 4 // 5):
                await trial.cut()
            await database.checkpoint()
            moved = path.read_bytes()
            for _ in range(cuts // rounds // 5):
                await trial.halfway(moved)
            figures += trial.figures
            figures["transactions"] += len(database.notes) - 1
            await database.begin_round(path)
        figures["ledger rows"] = database.notes[-1][2]
    finally:
        await database.close()
    return figures


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof torn", description=__doc__)
    parser.add_argument("--cuts", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args(arguments)
    return by_hand(
        "torn",
        f"--cuts {asked.cuts} --seed {asked.seed} --rounds {asked.rounds}",
        lambda folder: prove(folder, seed=asked.seed, cuts=asked.cuts, rounds=asked.rounds),
    )
