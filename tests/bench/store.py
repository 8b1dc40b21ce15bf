"""The queue's store beside bare sqlite3, and the reading of sources beside bare csv."""

import asyncio
import sqlite3
import time
from pathlib import Path

from batchrun.queue.leases import ClaimScope
from batchrun.queue.records import Started
from batchrun.queue.store import Queue
from tests.bench.answers import Answer, Line, Setting
from tests.bench.sources import PICTURES, ROWS, rows_a_second, unchanged_pictures
from tests.clocks import StillClock
from tests.store.stores import ANY_PRICE, PACE, batch, budget, opened, request, spec, take_in

_SPENDS = 2_000
_GROUP = 50


def bare_ingest(folder: Path, rows: int) -> float:
    """Rows a second of plain executemany with the same columns."""
    connection = sqlite3.connect(folder / "bare.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c TEXT, d TEXT, e INTEGER)")
    values = [(n, f"key-{n}", "x" * 64, "a prompt", n) for n in range(rows)]
    begin = time.perf_counter()
    connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", values)
    connection.commit()
    took = time.perf_counter() - begin
    connection.close()
    return rows / took


async def _queue_ingest(queue: Queue, folder: Path, rows: int) -> float:
    """Jobs a second from checked values, planned, to committed rows (two tables, paths compared)."""
    one = batch(folder, [spec(f"key-{n}", folder) for n in range(rows)])
    begin = time.perf_counter()
    await take_in(queue, one)
    return rows / (time.perf_counter() - begin)


async def _spends(queue: Queue) -> float:
    """Claim, reserve under a cap, answer, settle: jobs a second in groups, `synchronous=FULL`."""
    (view,) = await queue.batch_views()
    begin = time.perf_counter()
    for group in range(_SPENDS // _GROUP):
        jobs = await queue.claim_queued([ClaimScope(view.batch_id, ANY_PRICE)], _GROUP)
        wishes = [request(job, budget(job, 10**12)) for job in jobs]
        decisions = await queue.begin_submits(wishes, PACE)
        assert all(isinstance(one, Started) for one in decisions)
        await asyncio.gather(
            *(queue.record_accepted(one.attempt_id, f"p-{group}-{n}", "created") for n, one in enumerate(wishes))
        )
        await asyncio.gather(*(queue.record_completed(one.attempt_id, "completed", "https://x/y") for one in wishes))
    return _SPENDS / (time.perf_counter() - begin)


async def _store(folder: Path, rows: int) -> tuple[float, float, float]:
    """New jobs, the same ones the next night, and what a spend costs; a second each."""
    async with opened(folder, StillClock()) as queue:
        first, again = await _queue_ingest(queue, folder, rows), await _queue_ingest(queue, folder, rows)
        return first, again, await _spends(queue)


def ask(setting: Setting) -> Answer:
    """Rates a second, higher is better."""
    folder, sizes = setting.folder, setting.sizes
    bare = bare_ingest(folder, sizes.rows)
    enqueued, again, spent = asyncio.run(_store(folder, max(sizes.rows, _SPENDS)))
    sources = rows_a_second(folder, min(ROWS, 2 * sizes.rows))
    bare_csv, checked, bytes_a_row = sources.values()
    pictures = min(PICTURES, sizes.rows)
    pictures_s = unchanged_pictures(folder, pictures)
    answer = Answer(
        figures={
            "bare_rows_s": bare, "enqueue_rows_s": enqueued, "enqueue_again_rows_s": again, "spends_s": spent,
            "bare_csv_rows_s": bare_csv, "csv_jobs_s": checked, "csv_bytes_a_row": bytes_a_row,
            "unchanged_pictures_s": pictures_s,
        }
    )  # fmt: skip
    answer.lines += [
        Line(f"plan and enqueue {sizes.rows:,} jobs", f"{enqueued:,.0f} /s", f"sqlite3 executemany {bare:,.0f} /s", f"{enqueued / bare:.2f}"),
        Line("the next night, nothing changed", f"{again:,.0f} /s"),
        Line("claim, reserve, answer, settle", f"{spent:,.0f} /s"),
        Line("csv rows to checked jobs", f"{checked:,.0f} /s", f"csv.reader {bare_csv:,.0f} /s", f"{checked / bare_csv:.2f}"),
        Line("the same: memory a row", f"{bytes_a_row:,.0f} bytes"),
        Line(f"{pictures:,} remembered pictures to jobs", f"{pictures_s:.2f} s"),
    ]  # fmt: skip
    answer.expect("enqueue beside bare executemany", enqueued / bare, at_least=0.0005, at_most=2)
    return answer
