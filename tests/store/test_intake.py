"""Readings swapped into the queue: whatever was there before, the queue then holds what the manifest says, and nothing moves
that must not."""

import asyncio
import gc
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from batchrun.manifest.jobs import JobSpec
from batchrun.manifest.spool import CHUNK, Spool
from batchrun.plan import Plan, Reason, intakes
from batchrun.queue.intake import Intake
from batchrun.run.planning import plan_of
from tests.clocks import StillClock
from tests.store.stores import batch, opened, spec, take_in

READINGS = st.lists(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.sampled_from("xyz"), st.integers(0, 2)), min_size=1),
    min_size=1,
    max_size=5,
)
"""Manifests one after the other: prompt and priority of each job."""

ROWS = """
SELECT j.key, r.prompt, j.priority, j.position, j.state, j.generation, j.output_path, r.take, r.fingerprint
FROM jobs j JOIN revisions r ON r.revision_id = j.revision_id AND r.job_id = j.job_id ORDER BY j.key
"""


def rows(folder: Path, sql: str = ROWS) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "queue.db")) as connection:
        return connection.execute(sql).fetchall()


def specs_of(folder: Path, reading: dict[str, tuple[str, int]]) -> list[JobSpec]:
    return [spec(key, folder, prompt=prompt, priority=priority) for key, (prompt, priority) in reading.items()]


@given(READINGS)
@settings(max_examples=40, deadline=None)
def test_the_queue_holds_what_the_last_reading_says(readings: list[dict[str, tuple[str, int]]]) -> None:
    async def read_all(folder: Path) -> None:
        async with opened(folder, StillClock()) as queue:
            for reading in readings:
                await take_in(queue, batch(folder, specs_of(folder, reading)))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(read_all(folder))
        found = {row[0]: row for row in rows(folder)}
        revisions = rows(
            folder, "SELECT j.key, r.prompt FROM revisions r JOIN jobs j USING (job_id) ORDER BY r.revision_id"
        )
    assert set(found) == {key for reading in readings for key in reading}
    for at, (key, (prompt, priority)) in enumerate(readings[-1].items()):
        one = spec(key, folder, prompt=prompt)
        assert found[key][1:] == (prompt, priority, at, "queued", len(readings), f"out/{key}.mp4", 1, one.fingerprint)
    for key in found.keys() - readings[-1].keys():  # stays as it was when it was last read
        last = max(at for at, reading in enumerate(readings) if key in reading)
        assert (found[key][1], found[key][5]) == (readings[last][key][0], last + 1)
    for key in found:  # a revision for each change, none without
        asked = [reading[key][0] for reading in readings if key in reading]
        assert [prompt for of, prompt in revisions if of == key] == [
            asked[0], *(new for old, new in pairwise(asked) if new != old)
        ]  # fmt: skip


async def test_only_a_few_chunks_of_jobs_are_alive_while_many_are_taken_in(tmp_path: Path) -> None:
    alive: list[int] = []

    def counted(plan: Plan) -> Iterator[Intake]:
        for at, intake in enumerate(intakes(plan)):
            if at % CHUNK == 0:
                alive.append(sum(isinstance(one, JobSpec) for one in gc.get_objects()))
            yield intake

    async with opened(tmp_path, StillClock()) as queue:
        specs = Spool(spec(f"j{at:05}", tmp_path, position=at) for at in range(8 * CHUNK))
        one = replace(batch(tmp_path, [specs[0]]), jobs=specs)
        known = await queue.manifests.known("shop")
        plan = await plan_of(queue, one, known, 0, is_free=True)
        await queue.manifests.swap_in(one, known, counted(plan))
        assert plan.counts == {Reason.NEW: 8 * CHUNK}
    assert len(rows(tmp_path)) == 8 * CHUNK
    assert len(alive) == 8
    assert max(alive) <= 3 * CHUNK
