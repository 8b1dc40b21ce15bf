"""A large shop: what reading, planning, taking in, claiming and looking cost as the manifest grows, each in a new process."""

import asyncio
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path

from batchrun.queue.leases import ClaimScope
from batchrun.queue.store import Queue
from tests.bench.answers import Answer, Line, Setting, Table
from tests.bench.sources import write_table
from tests.clocks import StillClock
from tests.conftest import make_picture
from tests.store.stores import ANY_PRICE, ORIGIN, opened

_CLAIMS = 20
_CLAIMED = 50
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
    env = os.environ | {"WAVESPEED_BASE_URL": ORIGIN}  # the queues' own: `plan` refuses one of another
    done = subprocess.run([sys.executable, "-c", script, *words], check=True, capture_output=True, text=True, env=env)
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


def second_night(folder: Path, pictures: int) -> float:
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
import time
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


_COLUMNS = (
    ("read s", "read, seconds", ".1f"),
    ("plan s", "plan without a queue, seconds", ".1f"),
    ("plan MB", "plan without a queue, peak MB", ".0f"),
    ("read and enqueue s", "read and enqueue, seconds", ".1f"),
    ("MB", "read and enqueue, peak MB", ".0f"),
    ("enqueue rows/s", "plan and enqueue alone, rows a second", ",.0f"),
    ("executemany rows/s", "bare executemany, same tables and indexes, rows a second", ",.0f"),
    ("again s", "read and enqueue again, nothing changed, seconds", ".1f"),
    ("claim of 50 ms", f"claim of {_CLAIMED} jobs, ms", ".1f"),
    ("status s", "status, seconds", ".2f"),
)


def ask(setting: Setting) -> Answer:
    """A row for each size, and the second night of a folder of pictures."""
    answer = Answer()
    cells: list[tuple[str, ...]] = []
    for rows in setting.sizes.catalog_rows:
        folder = setting.folder / str(rows)
        folder.mkdir()
        found = of_rows(folder, rows)
        shutil.rmtree(folder)
        answer.figures[str(rows)] = found
        cells.append((f"{rows:,}", *(format(found[name], form) for _, name, form in _COLUMNS)))
        answer.expect(
            f"peak MB of reading and enqueueing {rows} rows", found["read and enqueue, peak MB"], at_most=1000
        )
    head = ("csv rows", *(title for title, _, _ in _COLUMNS))
    answer.tables.append(Table("A table of products, without pictures to look at", head, cells))
    night = setting.folder / "night"
    night.mkdir()
    night_s, pictures = second_night(night, setting.sizes.night_pictures), setting.sizes.night_pictures
    answer.figures["second_night_s"] = night_s
    answer.lines.append(Line(f"plan of {pictures:,} finished jobs with unchanged pictures", f"{night_s:.2f} s"))
    return answer
