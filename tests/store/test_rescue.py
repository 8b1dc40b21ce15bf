"""Rescue file: what it is there for."""

import asyncio
import fcntl
import json
from pathlib import Path

import pytest

from batchrun.queue import rescue as rescue_module
from batchrun.queue.rescue import Rescue
from batchrun.run.events import Event, Kind
from tests.conftest import Shop, Watcher, emulated, run_shop
from tests.run.test_doubts import attempts
from tests.run.test_session import code_of


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


POISONED = {
    "another version's": ["accepted_twice", ["attempt"]],
    "too many values": ["accepted", ["attempt", "prediction-1", "created", 1, 2, 3]],
    "half a character": ["accepted", ["attempt", "\ud800", "created", 1]],
    "too large": ["failed", ["attempt", "failed", 10**30, "m", None, "task_failed", 1]],
    "no answer at all": 7,
    "no name": [["accepted"], []],
}


@pytest.mark.parametrize("poison", POISONED.values(), ids=POISONED)
async def test_an_answer_that_cannot_be_booked_is_kept_aside_and_the_run_goes_on(shop: Shop, poison: object) -> None:
    """The submit of the good answer is booked and collected; the file stays for a person, and is not read again."""
    shop.add("a")
    watcher = Watcher()
    async with emulated() as emulator:
        watcher.on[Kind.ANSWERED] = die
        with pytest.raises(ConnectionError):
            await run_shop(shop, emulator, watcher=watcher)
        (attempt,) = attempts(shop)
        (task,) = emulator.world.tasks
        lines = [poison, ["accepted", [attempt, task, "created", 1]], poison]
        rescued = shop.queue_path.with_name("queue.db.rescue-before")
        rescued.write_bytes("".join(f"{json.dumps(line)}\n" for line in lines).encode() + b'["acce' + bytes(100))
        for _ in range(2):
            watcher = Watcher()
            result = await run_shop(shop, emulator, watcher=watcher)
        assert (code_of(result), len(emulator.world.submits)) == (0, 1)
        assert attempts(shop) == {attempt: "completed"}
    aside = shop.queue_path.with_name("queue.db.unbooked-before")
    assert aside.read_bytes().startswith(json.dumps(poison).encode())
    assert not rescued.exists()


async def test_what_is_kept_aside_is_told(shop: Shop) -> None:
    shop.add("a")
    shop.queue_path.parent.mkdir()
    shop.queue_path.with_name("queue.db.rescue-before").write_text("7\n")
    shop.queue_path.with_name("queue.db.unbooked-before").write_text("of an earlier accident\n")
    watcher = Watcher()
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, watcher=watcher)
    assert code_of(result) == 0
    assert shop.queue_path.with_name("queue.db.unbooked-before").read_text() == "of an earlier accident\n"
    (note,) = [event.detail for event in watcher.of(Kind.NOTE)]
    (kept,) = set(shop.queue_path.parent.glob("*unbooked*")) - {shop.queue_path.with_name("queue.db.unbooked-before")}
    assert str(kept) in note
    assert kept.read_text() == "7\n"


def die(_: Event) -> None:
    raise ConnectionError
