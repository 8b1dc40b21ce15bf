"""A large shop: what reading, planning, taking in, claiming and looking cost as the manifest grows, each in a new process.

`python -m tests.bench.million [ROWS…]`, by default 1,000 to 1,000,000 rows.
"""

import asyncio
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path

from batchrun.queue.leases import ClaimScope
from batchrun.queue.store import Queue
from tests.bench.sources import write_table
from tests.clocks import StillClock
from tests.conftest import make_picture
from tests.store.stores import ANY_PRICE, opened

SIZES = (1_000, 10_000, 100_000, 1_000_000)
PICTURES = 10_000
_CLAIMS = 20
_CLAIMED = 50
_STARTS = 5
_PEAK = """
def peak_mb():  # ru_maxrss would count the process that started this one
    from pathlib import Path
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
"""
_VERB = (
    _PEAK
    + """
import contextlib, io, json, sys, time
begin = time.perf_counter()
from batchrun.cli.main import main
with contextlib.redirect_stdout(io.StringIO()):
    assert main(sys.argv[1:]) == 0
print(json.dumps([time.perf_counter() - begin, peak_mb()]))
"""
)
_TAKE_IN = (
    _PEAK
    + """
import asyncio, json, sys, time
from pathlib import Path
begin = time.perf_counter()
from batchrun.manifest.read import load_manifest
from batchrun.plan import intakes
from batchrun.run.planning import plan_of
from tests.bench.million import open_queue
async def take_in(batch):
    async with open_queue(batch.path.parent) as queue:
        known = await queue.manifests.known(batch.name)
        plan = await plan_of(queue, batch, known, 0, is_free=False)
        await queue.manifests.swap_in(batch, known, intakes(plan))
batch = load_manifest(Path(sys.argv[1]))
read_s = time.perf_counter() - begin
asyncio.run(take_in(batch))
print(json.dumps([time.perf_counter() - begin, peak_mb(), read_s]))
"""
)


def open_queue(folder: Path) -> AbstractAsyncContextManager[Queue]:
    """The queue beside the manifest, as a run would open it."""
    (folder / ".batchrun").mkdir(exist_ok=True)
    return opened(folder / ".batchrun", StillClock())


def _in_a_new_process(script: str, *words: str) -> list[float]:
    done = subprocess.run([sys.executable, "-c", script, *words], check=True, capture_output=True, text=True)
    found: list[float] = json.loads(done.stdout)
    return found


def bare_inserts(folder: Path) -> float:
    """Seconds of bare `executemany` for the rows of this queue into the same tables, with the same indexes."""
    source = sqlite3.connect(folder / ".batchrun" / "queue.db")
    target = sqlite3.connect(folder / "bare.db", isolation_level=None)
    with closing(source), closing(target):
        target.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        for (sql,) in source.execute(
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        ):
            target.execute(sql)
        took = 0.0
        target.execute("BEGIN")
        for table in ("revisions", "jobs"):
            rows = source.execute(f"SELECT * FROM {table}")
            marks = ", ".join("?" * len(rows.description))
            while some := rows.fetchmany(10_000):
                begin = time.perf_counter()
                target.executemany(f"INSERT INTO {table} VALUES ({marks})", some)
                took += time.perf_counter() - begin
        begin = time.perf_counter()
        target.execute("COMMIT")
        return took + time.perf_counter() - begin


async def claim_ms(folder: Path) -> float:
    """Median milliseconds of leasing fifty jobs."""
    took: list[float] = []
    async with open_queue(folder) as queue:
        (batch,) = await queue.batches()
        for _ in range(_CLAIMS):
            begin = time.perf_counter()
            jobs = await queue.claim_queued([ClaimScope(batch.batch_id, ANY_PRICE)], _CLAIMED)
            took.append(time.perf_counter() - begin)
            assert len(jobs) == _CLAIMED
            await queue.end_run()
            await queue.start_run()
    return statistics.median(took) * 1000


def of_rows(folder: Path, rows: int) -> dict[str, float]:
    """What so many rows cost."""
    write_table(folder, rows)
    manifest = str(folder / "shop.yaml")
    plan_s, plan_mb = _in_a_new_process(_VERB, "plan", manifest)
    taken_s, taken_mb, read_s = _in_a_new_process(_TAKE_IN, manifest)
    bare_s = bare_inserts(folder)
    again_s, again_mb, _ = _in_a_new_process(_TAKE_IN, manifest)
    status_s, status_mb = _in_a_new_process(_VERB, "status", manifest)
    return {
        "read, seconds": read_s,
        "plan without a queue, seconds": plan_s,
        "plan without a queue, peak MB": plan_mb,
        "read and enqueue, seconds": taken_s,
        "read and enqueue, peak MB": taken_mb,
        "plan and enqueue alone, rows a second": rows / (taken_s - read_s),
        "bare executemany, same tables and indexes, rows a second": rows / bare_s,
        "read and enqueue again, nothing changed, seconds": again_s,
        "read and enqueue again, peak MB": again_mb,
        f"claim of {_CLAIMED} jobs, ms": asyncio.run(claim_ms(folder)),
        "status, seconds": status_s,
        "status, peak MB": status_mb,
    }


def second_night(folder: Path, pictures: int = PICTURES) -> float:
    """Seconds of `plan` for finished jobs whose pictures did not change."""
    data = make_picture(folder / "one.png").read_bytes()
    (folder / "pictures").mkdir()
    for at in range(pictures):
        (folder / "pictures" / f"{at:06}.png").write_bytes(data + at.to_bytes(4, "big"))
    manifest = folder / "shop.yaml"
    manifest.write_text("version: 1\njobs: [{from: 'pictures/*.png', prompt: 'The {stem}'}]\n")
    _in_a_new_process(_REMEMBER, str(manifest))
    _in_a_new_process(_TAKE_IN, str(manifest))
    with closing(sqlite3.connect(folder / ".batchrun" / "queue.db")) as connection:
        outputs = connection.execute("SELECT output_path FROM jobs").fetchall()
        connection.execute(
            "DROP TRIGGER jobs_leave_an_outcome"
        )  # of outcomes `plan` asks nothing for what is unchanged
        connection.execute(
            "UPDATE jobs SET state = 'done', file_sha256 = :digest, placed_sha256 = :digest, file_bytes = 1, finished_ms = 1",
            {"digest": "0" * 64},
        )
        connection.commit()
    for (stored,) in outputs:
        output = folder / ".batchrun" / stored
        output.parent.mkdir(parents=True, exist_ok=True)
        output.touch()
    return _in_a_new_process(_VERB, "plan", str(manifest))[0]


_REMEMBER = """
import sys
from pathlib import Path
from batchrun.clock import SystemClock
from batchrun.manifest.digests import DigestCache
from batchrun.manifest.read import load_manifest
path = Path(sys.argv[1])
(path.parent / ".batchrun").mkdir()
cache = DigestCache(path.parent / ".batchrun" / "digests.cache", lambda: SystemClock().now_ms() + 3_600_000)
load_manifest(path, cache=cache)
cache.save()
print("[]")
"""


def help_ms() -> float:
    """Milliseconds until `batchrun --help` is there, the interpreter's start included; the least of five."""
    took: list[float] = []
    for _ in range(_STARTS):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "batchrun", "--help"], check=True, stdout=subprocess.DEVNULL)
        took.append(time.perf_counter() - begin)
    return min(took) * 1000


def figures(sizes: Sequence[int] = SIZES) -> dict[str, float]:
    """The table, one figure a line."""
    found: dict[str, float] = {"batchrun --help, ms": help_ms()}
    with tempfile.TemporaryDirectory() as name:
        night = Path(name) / "night"
        night.mkdir()
        found[f"plan of {PICTURES:,} finished jobs with pictures, seconds"] = second_night(night)
        for rows in sizes:
            folder = Path(name) / str(rows)
            folder.mkdir()
            found |= {f"{rows:>9,} rows: {label}": figure for label, figure in of_rows(folder, rows).items()}
    return found


def main(words: Sequence[str]) -> None:
    """Print the table, and the same as one line of JSON."""
    found = figures([int(word) for word in words] or SIZES)
    for label, figure in found.items():
        print(f"{label:<72} {figure:>12,.2f}")
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
