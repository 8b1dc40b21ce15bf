"""How SQLite carries out the statements that run for every job: no step may walk a table that grows with the queue."""

import re
import sqlite3
from pathlib import Path

import pytest

from batchrun.queue.statements import statements
from tests.clocks import StillClock
from tests.store.stores import batch, opened, spec, take_in

HOT = [
    "claimable_paid",
    "claimable_queued",
    "clips",
    "clips_of_requests",
    "kept_attempt",
    "count_unknown",
    "insert_attempt",
    "known_jobs",
    "last_day",
    "last_day_of_campaign",
    "ledger_adjust",
    "ledger_move",
    "ledger_of",
    "ledger_since",
    "list_jobs",
    "open_attempts",
    "late_attempts",
    "open_submits",
    "prediction_owner",
    "recent_predictions",
    "charges_to_audit",
    "paid_left",
    "queued_left",
    "read_job",
    "read_latencies",
    "record_latency",
    "recent_starts",
    "release_all",
    "state_counts",
    "take_lease",
    "trouble_counts",
    "twins",
    "not_shown_jobs",
    "warned_jobs",
]
SMALL = {"l", "b", "runs", "batches", "latencies", "m", "max", "k", "w"}
"""Tables that do not grow with the jobs: runs, batches, the ring of latencies and lists that are handed in, under the names that
statements give them."""


@pytest.mark.parametrize("name", HOT)
async def test_no_table_is_walked(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path, StillClock()) as queue:
        await take_in(queue, batch(tmp_path, [spec(f"j{n}", tmp_path) for n in range(50)]))
    connection = sqlite3.connect(tmp_path / "queue.db")
    sql = statements()[name]
    names = {word.split("[")[0] for word in re.findall(r":(\w+)", sql)}
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", dict.fromkeys(names, 1))]
    connection.close()
    walks = [step for step in plan if step.startswith("SCAN") and "USING" not in step]
    large = [step for step in walks if step.split()[1] not in SMALL and "CONSTANT" not in step]
    assert [step for step in large if not step.startswith("SCAN (subquery")] == []  # each with a LIMIT of its own


async def test_who_looks_at_a_large_queue_finds_its_own_index(tmp_path: Path) -> None:
    async with opened(tmp_path, StillClock()) as queue:
        await take_in(queue, batch(tmp_path, [spec("a", tmp_path)]))
    wanted = {
        "state_counts": "COVERING INDEX jobs_by_state",
        "trouble_counts": "jobs_not_fine",
        "warned_jobs": "jobs_warned",
        "not_shown_jobs": "jobs_not_shown",
    }
    connection = sqlite3.connect(tmp_path / "queue.db")
    for name, index in wanted.items():
        sql = statements()[name]
        names = set(re.findall(r":(\w+)", sql))
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", dict.fromkeys(names, 1))]
        assert any(f"{index} " in step for step in plan), (name, plan)
    connection.close()
