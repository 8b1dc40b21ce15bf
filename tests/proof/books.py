"""The emulator's bill beside the queue's ledger, and the rules that hold between the two.

The bill is read from the emulator, the ledger from the queue's file with nothing but sqlite3: none of it is the code
that is tried here.
"""

import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from batchrun.emulator.world import World


class Violation(AssertionError):  # noqa: N818  # that is what it is called
    """A promise that did not hold, and what is known about it."""

    def __init__(self, text: str, **known: object) -> None:
        super().__init__("\n".join([text, *(f"  {name}: {_shown(value)}" for name, value in known.items())]))


def _shown(value: object) -> str:
    return json.dumps(value, indent=1, default=str)


@dataclass(frozen=True, slots=True)
class Bill:
    """The emulator at one moment; what was bought is known by the picture's URL, which names the attempt."""

    submits: list[str]
    charged: Mapping[str, int]
    refunded: Mapping[str, int]
    failed: frozenset[str]
    peak_usd_micros: int
    """The highest that charges less refunds ever stood."""

    @property
    def live(self) -> dict[str, int]:
        """Charged and not given back."""
        return {url: amount for url, amount in self.charged.items() if amount > self.refunded.get(url, 0)}

    @property
    def total_usd_micros(self) -> int:
        return sum(self.charged.values()) - sum(self.refunded.values())


def bill_of(world: World) -> Bill:
    """What the emulator has taken and given back so far."""
    world.advance()
    image = {task.task_id: str(task.inputs["image"]) for task in world.tasks.values()}
    sums: dict[str, Counter[str]] = {"deduct": Counter(), "refund": Counter()}
    stood = peak = 0
    for entry in world.books.entries:
        sums[entry.kind][image[entry.prediction_id]] += entry.amount_usd_micros
        stood += entry.amount_usd_micros if entry.kind == "deduct" else -entry.amount_usd_micros
        peak = max(peak, stood)
    failed = frozenset(image[task.task_id] for task in world.tasks.values() if task.status == "failed")
    return Bill([str(one["image"]) for one in world.submits], sums["deduct"], sums["refund"], failed, peak)


@dataclass(frozen=True, slots=True)
class Attempt:
    attempt_id: str
    job_id: int
    fingerprint: str
    state: str
    net_usd_micros: int
    """Held and spent, by the ledger."""


@dataclass(frozen=True, slots=True)
class Job:
    job_id: int
    name: str
    state: str
    fingerprint: str
    output: Path
    sha256: str | None
    placed_sha256: str | None
    why: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """The queue at one moment."""

    attempts: Mapping[str, Attempt] = field(default_factory=dict)
    """By the picture's URL."""
    jobs: tuple[Job, ...] = ()
    total_usd_micros: int = 0
    peak_usd_micros: int = 0
    """The highest that held and spent ever stood."""

    def count(self) -> Counter[str]:
        return Counter(job.state for job in self.jobs)


_ATTEMPTS = """
SELECT a.image_url, a.attempt_id, a.job_id, r.fingerprint, a.state,
       (SELECT coalesce(sum(held_usd_micros + spent_usd_micros), 0) FROM ledger l WHERE l.attempt_id = a.attempt_id)
FROM attempts a JOIN revisions r ON r.revision_id = a.revision_id
"""
_JOBS = """
SELECT j.job_id, b.name || '/' || j.key, j.state, r.fingerprint, j.output_path, j.file_sha256, j.placed_sha256,
       j.failure_kind || ': ' || j.failure_message
FROM jobs j JOIN batches b ON b.batch_id = j.batch_id JOIN revisions r ON r.revision_id = j.revision_id
"""


@contextmanager
def _copied(path: Path) -> Iterator[Path]:
    """The queue's files as a kill has left them: reading the files themselves would repair them."""
    with tempfile.TemporaryDirectory(prefix="batchrun-proof-") as name:
        for suffix in ("", "-wal"):
            if (file := path.with_name(path.name + suffix)).exists():
                shutil.copyfile(file, Path(name) / file.name)
        yield Path(name) / path.name


def read_after_kill(path: Path) -> Standing:
    """The queue when no process has it open; also checks that the file is whole."""
    if not path.exists():
        return Standing()
    with _copied(path) as copy, closing(sqlite3.connect(copy)) as connection:
        check_file(connection)
        return _standing(connection, path)


def read_beside(path: Path) -> Standing:
    """The queue while others work on it."""
    if not path.exists():
        return Standing()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        return _standing(connection, path)


def check_file(connection: sqlite3.Connection) -> None:
    """Raises Violation: SQLite finds something wrong with the file."""
    (found,) = connection.execute("PRAGMA integrity_check").fetchone()
    wrong = connection.execute("PRAGMA foreign_key_check").fetchall()
    if found != "ok" or wrong:
        raise Violation("the queue's file is damaged", integrity=found, foreign_keys=wrong)


def _standing(connection: sqlite3.Connection, path: Path) -> Standing:
    connection.isolation_level = None
    connection.execute("BEGIN")
    if not connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'ledger'").fetchone()[0]:
        return Standing()
    stood = peak = 0
    for (moved,) in connection.execute("SELECT held_usd_micros + spent_usd_micros FROM ledger ORDER BY row_id"):
        stood += moved
        peak = max(peak, stood)
    attempts = {url: Attempt(*rest) for url, *rest in connection.execute(_ATTEMPTS)}
    jobs = [
        Job(job_id, name, state, fingerprint, (path.parent / output).resolve(), *rest)
        for job_id, name, state, fingerprint, output, *rest in connection.execute(_JOBS)
    ]
    return Standing(attempts, tuple(jobs), stood, peak)


def check_always(before: Bill, standing: Standing, after: Bill, cap_usd_micros: int) -> None:
    """What must hold at any moment, with the bill read before and after the ledger. Raises Violation."""
    twice = [url for url, count in Counter(before.submits).items() if count > 1]
    if twice:
        raise Violation("an attempt was submitted twice", urls=twice)
    if unrecorded := [url for url in before.submits if url not in standing.attempts]:
        raise Violation("a submit arrived that the queue does not know", urls=unrecorded)
    for url, charged in before.charged.items():
        held = standing.attempts[url].net_usd_micros
        if held < charged - after.refunded.get(url, 0):
            raise Violation(
                "the ledger holds less than was charged", url=url, attempt=standing.attempts[url], held=held
            )
    if max(standing.peak_usd_micros, after.peak_usd_micros) > cap_usd_micros:
        raise Violation(
            "a cap was passed", cap=cap_usd_micros, ledger=standing.peak_usd_micros, bill=after.peak_usd_micros
        )
    _check_once(standing, [url for url in before.charged if url not in before.failed])


def _check_once(standing: Standing, urls: Iterable[str]) -> None:
    """No clip is bought twice: what was asked for (the fingerprint) has one prediction at the most."""
    bought = Counter(standing.attempts[url].fingerprint for url in urls)
    if twice := [fingerprint for fingerprint, count in bought.items() if count > 1]:
        known = [(url, attempt) for url, attempt in standing.attempts.items() if attempt.fingerprint in twice]
        raise Violation("the same clip was bought twice", attempts=known)


def open_attempts(bill: Bill, standing: Standing) -> list[tuple[str, Attempt]]:
    """Attempts whose money the two books do not agree about yet."""
    live = bill.live
    return [(url, one) for url, one in standing.attempts.items() if one.net_usd_micros != live.get(url, 0)]


def check_end(bill: Bill, standing: Standing) -> None:
    """What must hold when everything is settled. Raises Violation."""
    if left := [job for job in standing.jobs if job.state not in ("done", "failed")]:
        raise Violation("jobs are left", jobs=left)
    if differs := open_attempts(bill, standing):
        raise Violation("the ledger differs from the bill", attempts=differs)
    if standing.total_usd_micros != bill.total_usd_micros:
        raise Violation("the sums differ", ledger=standing.total_usd_micros, bill=bill.total_usd_micros)
    _check_once(standing, bill.live)
    paid = {standing.attempts[url].fingerprint for url in bill.live}
    done = {job.fingerprint for job in standing.jobs if job.state == "done"}
    if paid != done:
        raise Violation("paid without a clip, or a clip that nobody paid", differ=sorted(paid ^ done))
    check_clips(standing)


def check_clips(standing: Standing) -> None:
    """Every finished clip is on disk. Raises Violation."""
    for job in standing.jobs:
        if job.state == "done":
            _check_clip(job, standing)


def _check_clip(job: Job, standing: Standing) -> None:
    """The recorded bytes stand under the job's name, and were made for an attempt at this very clip."""
    data = job.output.read_bytes() if job.output.exists() else b""
    if hashlib.sha256(data).hexdigest() != job.sha256 or job.sha256 != job.placed_sha256:
        raise Violation("a finished clip is not on disk as it was checked", job=job, bytes=len(data))
    own = [one.attempt_id for one in standing.attempts.values() if one.fingerprint == job.fingerprint]
    if not any(attempt_id.encode() in data[-200:] for attempt_id in own):
        raise Violation("a clip of another job stands under this name", job=job, stamp=str(data[-80:]))
