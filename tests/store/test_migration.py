"""A queue that an older version has made goes on with everything in it."""

import sqlite3
from pathlib import Path

from batchrun.queue.statements import migrations
from batchrun.queue.states import JobState
from tests.clocks import StillClock
from tests.store.stores import opened

VERSION_1 = """
INSERT INTO queue_identity VALUES (1, 'q', 'paid', 'https://api.example:443', 1);
INSERT INTO batches VALUES (1, 'shop', 'shop.yaml', NULL, 1, 1);
INSERT INTO revisions VALUES
    (1, 1, 1, hex(zeroblob(32)), 1, 'm', 'x', '', 50, 5, 'https://x/a.png', NULL, 1),
    (2, 2, 1, hex(zeroblob(32)), 1, 'm', 'y', '', 50, 5, 'https://x/b.png', NULL, 1),
    (3, 3, 1, hex(zeroblob(31)) || 'ff', 1, 'm', 'z', '', 50, 5, 'https://x/c.png', NULL, 1),
    (4, 4, 1, hex(zeroblob(31)) || 'fe', 1, 'm', 'w', '', 50, 5, 'https://x/d.png', NULL, 1);
INSERT INTO attempts VALUES
    ('a1', 1, 1, 1, NULL, 'r', '2026-11-22', 250000, 'running', 'u', 10, 20, 11, 'pred-1', 'created', NULL, NULL, NULL, NULL),
    ('a2', 2, 2, 1, NULL, 'r', '2026-11-22', 250000, 'unknown', 'u', 12, 22, 13, NULL, NULL, NULL, NULL, 'lost', NULL);
INSERT INTO jobs (job_id, batch_id, key, state, revision_id, attempt_id, priority, position, price_usd_micros, tags,
    output_path, output_key, generation, changed_ms) VALUES
    (1, 1, 'a', 'running', 1, 'a1', 0, 0, 250000, '[]', 'a.mp4', 'a.mp4', 1, 1),
    (2, 1, 'b', 'unknown', 2, 'a2', 0, 1, 250000, '[]', 'b.mp4', 'b.mp4', 1, 1);
INSERT INTO jobs (job_id, batch_id, key, state, revision_id, priority, position, price_usd_micros, tags, output_path,
    output_key, generation, changed_ms, file_sha256, file_bytes, finished_ms,
    failure_kind, failure_message) VALUES
    (3, 1, 'c', 'done', 3, 0, 2, 250000, '[]', 'c.mp4', 'c.mp4', 1, 1, hex(zeroblob(32)), 9, 1, NULL, NULL),
    (4, 1, 'd', 'failed', 4, 0, 3, 250000, '[]', 'd.mp4', 'd.mp4', 1, 1, NULL, NULL, 1, 'moderation', 'no');
INSERT INTO ledger (attempt_id, batch_id, run_id, day, kind, amount_usd_micros, held_usd_micros, spent_usd_micros, at_ms)
    VALUES ('a1', 1, 'r', '2026-11-22', 'reserve', 250000, 250000, 0, 10),
           ('a2', 1, 'r', '2026-11-22', 'reserve', 250000, 250000, 0, 12);
PRAGMA user_version = 1;
"""


def make_version_1(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript("BEGIN;" + migrations("sqlite")[0][1] + VERSION_1 + "COMMIT;")
    connection.close()


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    found = connection.execute(sql).fetchall()
    connection.close()
    return found


async def test_a_queue_of_version_1_is_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    make_version_1(path)
    before = rows(path, "SELECT row_id, attempt_id, kind, held_usd_micros, spent_usd_micros, at_ms FROM ledger")
    async with opened(tmp_path, StillClock()) as queue:
        assert rows(path, "PRAGMA user_version") == [(len(migrations("sqlite")),)]
        assert rows(path, "PRAGMA foreign_key_check") == []
        after = rows(path, "SELECT row_id, attempt_id, kind, held_usd_micros, spent_usd_micros, at_ms FROM ledger")
        # What was open says so in the ledger from now on: so it is watched, should it be given up.
        assert after == [*before, (3, "a2", "unknown", 0, 0, 13)]
        assert [one.attempt_id for one in await queue.doubts.open_submits()] == ["a2"]
        assert rows(path, "SELECT attempt_id, fingerprint FROM attempts") == [("a1", "0" * 64), ("a2", "0" * 64)]
        assert rows(path, "SELECT job_id, verdict, message, file_sha256 FROM outcomes") == [
            (3, "done", None, "0" * 64),
            (4, "moderation", "no", None),
        ]
        assert await queue.record_completed("a1", "completed", "https://c/a.mp4")
        await queue.record_accepted("a2", "pred-2", "found")
        assert (await queue.read_job(1)).state is JobState.DOWNLOADING
        assert (await queue.read_job(2)).state is JobState.RUNNING
    assert rows(path, "SELECT sum(held_usd_micros), sum(spent_usd_micros) FROM ledger") == [(250_000, 250_000)]


async def test_the_guards_stand_after_it_as_before(tmp_path: Path) -> None:
    make_version_1(tmp_path / "queue.db")
    async with opened(tmp_path, StillClock()):
        pass
    (tmp_path / "new").mkdir()
    async with opened(tmp_path / "new", StillClock()):
        pass
    schema = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"
    assert rows(tmp_path / "queue.db", schema) == rows(tmp_path / "new" / "queue.db", schema)
