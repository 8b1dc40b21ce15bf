"""Group commit: many scripts in one transaction, and one that fails sinks no other."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from batchrun.errors import StorageError
from batchrun.queue.journal import Journal
from batchrun.queue.script import Call, Script, ScriptFactory, ask, ask_one
from batchrun.queue.sqlite import Outcome, SqliteDatabase, file_system_of


def write(name: str) -> Script[str]:
    yield from ask("insert_batch", name=name, manifest="m", campaign=None, checks="full", caps=None, now_ms=1)
    return name


def write_then_fail(name: str) -> Script[str]:
    yield from write(name)
    raise ValueError(name)


async def test_a_failing_item_changes_nothing_and_sinks_no_other(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "q.db")
    journal = Journal(database)
    try:
        results = await asyncio.gather(
            *(journal.run(lambda n=n: write(f"good-{n}")) for n in range(5)),
            journal.run(lambda: write_then_fail("bad")),
            journal.run(lambda: write("good-0")),  # the same name twice: the database refuses
            return_exceptions=True,
        )
        assert results[:5] == [f"good-{n}" for n in range(5)]
        assert isinstance(results[5], ValueError)
        assert isinstance(results[6], Exception)
        rows = await database.read(lambda: ask("list_batches"))
        assert [row["name"] for row in rows] == [f"good-{n}" for n in range(5)]
    finally:
        await database.close()


class CountingDatabase(SqliteDatabase):
    """Remembers how large its transactions were."""

    groups: ClassVar[list[int]] = []

    async def transact(self, scripts: Sequence[ScriptFactory[object]]) -> list[Outcome]:
        self.groups.append(len(scripts))
        return await super().transact(scripts)


async def test_items_that_wait_together_share_a_transaction(tmp_path: Path) -> None:
    database = await CountingDatabase.open(tmp_path / "q.db")
    journal = Journal(database)
    try:
        await asyncio.gather(*(journal.run(lambda n=n: write(f"b-{n}")) for n in range(100)))
        assert sum(CountingDatabase.groups) == 100
        assert len(CountingDatabase.groups) <= 2
    finally:
        await database.close()


async def test_a_cancelled_caller_does_not_take_its_item_back(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "q.db")
    journal = Journal(database)
    try:
        task = asyncio.create_task(journal.run(lambda: write("kept")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await journal.drain()
        assert await database.read(lambda: ask_one("find_batch", name="kept")) is not None
    finally:
        await database.close()


async def test_everybody_hears_that_nothing_was_written(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "q.db")
    journal = Journal(database)
    await database._hop(lambda connection: connection.execute("PRAGMA max_page_count = 1"))

    def large(name: str) -> Script[None]:
        params = {
            "name": name * 100_000,
            "manifest": "m",
            "campaign": None,
            "checks": "full",
            "caps": None,
            "now_ms": 1,
        }
        yield Call("insert_batch", params)

    try:
        results = await asyncio.gather(
            *(journal.run(lambda n=n: large(f"b{n}")) for n in range(3)), return_exceptions=True
        )
        assert all(isinstance(result, StorageError) for result in results)
        assert "full" in str(results[0])
    finally:
        await database.close()


def test_network_file_systems_are_recognised(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nnas:/x {tmp_path}/nas nfs4 rw 0 0\n")
    (tmp_path / "nas" / "deep").mkdir(parents=True)
    assert file_system_of(tmp_path / "nas" / "deep", mounts) == "nfs4"
    assert file_system_of(tmp_path, mounts) == "ext4"
    assert file_system_of(tmp_path, tmp_path / "none") == ""


@pytest.mark.parametrize(
    ("name", "written"), [("my share", r"my\040share"), ("a\\b", r"a\134b"), ("tab\t", r"tab\011")]
)
def test_a_network_share_with_a_blank_in_its_name(tmp_path: Path, name: str, written: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nnas:/x {tmp_path}/{written} nfs4 rw 0 0\n")
    (tmp_path / name).mkdir()
    assert file_system_of(tmp_path / name, mounts) == "nfs4"
