"""Rescue file: what it is there for."""

import asyncio
import fcntl
from pathlib import Path

import pytest

from batchrun.queue import rescue as rescue_module
from batchrun.queue.rescue import Rescue


async def test_many_answers_at_once_are_all_kept(tmp_path: Path) -> None:
    """`Access._rescue` calls keep in threads, one for each answer of a group that could not be committed."""
    mine, other = Rescue(tmp_path / "queue.db", "one"), Rescue(tmp_path / "queue.db", "two")
    mine.prepare()
    await asyncio.gather(
        *(asyncio.to_thread(mine.keep, "accepted", [f"attempt-{n}", f"prediction-{n}", "x", n]) for n in range(200))
    )
    mine.close()
    (orphan,) = other.orphans()
    with orphan:
        assert len({args[0] for _, args in orphan.answers}) == 200


async def test_a_file_that_is_being_made_is_not_an_orphan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs start at once: the one reads the rescue files between the other's open and its flock."""
    first, second = Rescue(tmp_path / "queue.db", "one"), Rescue(tmp_path / "queue.db", "two")
    real = fcntl.flock

    def flock(fd: int, how: int) -> None:
        if how == fcntl.LOCK_EX:
            monkeypatch.setattr(rescue_module.fcntl, "flock", real)
            for orphan in second.orphans():
                with orphan:
                    orphan.remove()
        real(fd, how)

    monkeypatch.setattr(rescue_module.fcntl, "flock", flock)
    first.prepare()
    first.keep("accepted", ["a", "p", "created", 1])
    first.close()
    found = second.orphans()
    assert [orphan.answers for orphan in found] == [[("accepted", ["a", "p", "created", 1])]]


async def test_a_queue_with_brackets_in_its_name(tmp_path: Path) -> None:
    one, two = Rescue(tmp_path / "queue[1].db", "one"), Rescue(tmp_path / "queue[1].db", "two")
    one.keep("accepted", ["a", "p", "created", 1])
    one.close()
    assert len(two.orphans()) == 1
