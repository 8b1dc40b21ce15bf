"""What the queue says is finished is on the disk: file, names, then the record."""

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from batchrun.errors import ExitCode
from batchrun.queue.script import Outcome, ScriptFactory
from batchrun.queue.sqlite import SqliteDatabase
from tests.conftest import Shop, emulated, run_shop, surroundings
from tests.run.test_session import code_of, counts
from tests.sim.machine import named


@dataclass
class Diary:
    """What the process asks of its disk, in order: ("flush", inode), ("name", path), ("commit", statement)."""

    lines: list[tuple[str, object]] = field(default_factory=list)
    inodes: dict[str, int] = field(default_factory=dict)
    """Of what got a name, by the name."""

    def keep(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fsync, rename, link = os.fsync, os.replace, os.link

        def flushed(descriptor: int) -> None:
            fsync(descriptor)
            self.lines.append(("flush", os.fstat(descriptor).st_ino))

        def named_so(source: str, target: str) -> None:
            rename(source, target)
            self.named(target)

        def linked(source: str, target: str) -> None:
            link(source, target)
            self.named(target)

        monkeypatch.setattr(os, "fsync", flushed)
        monkeypatch.setattr(os, "replace", named_so)
        monkeypatch.setattr(os, "link", linked)

    def named(self, path: str) -> None:
        self.inodes[str(path)] = Path(path).stat().st_ino
        self.lines.append(("name", str(path)))

    def connect(self) -> type[SqliteDatabase]:
        lines = self.lines

        class Noting(SqliteDatabase):
            async def transact(self, scripts: Sequence[ScriptFactory[Any]]) -> list[Outcome]:
                names: dict[str, None] = {}
                outcomes = await super().transact([named(script, names) for script in scripts])
                lines.extend(("commit", name) for name in names)
                return outcomes

        return Noting

    def check(self, path: Path, commit: str) -> None:
        """The file is flushed before it gets its name, and its folder after that and before the commit."""
        name, committed = self.lines.index(("name", str(path))), self.lines.index(("commit", commit))
        assert ("flush", self.inodes[str(path)]) in self.lines[:name], path
        assert ("flush", path.parent.stat().st_ino) in self.lines[name:committed], path


async def test_clip_and_sidecar_are_on_the_disk_before_the_queue_says_so(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    diary = Diary()
    outside = replace(surroundings(), connect=diary.connect().open)
    diary.keep(monkeypatch)
    async with emulated() as emulator:
        await run_shop(shop.add("bought"), emulator, outside=outside)
        await run_shop(shop.add("copied", seed=0), emulator, outside=outside)
        assert len(emulator.world.submits) == 1
    for key, commit in (("bought", "job_done"), ("copied", "job_copied")):
        diary.check(shop.output(key), commit)
        diary.check(shop.output(key).with_suffix(".json"), commit)


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
async def test_the_second_name_of_an_older_clip_is_on_the_disk_before_the_first_is_taken(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    """It was paid for: a power cut that kept the rename alone would lose it."""
    diary = Diary()
    outside = replace(surroundings(), connect=diary.connect().open)
    async with emulated() as emulator:
        await run_shop(shop.add("a"), emulator)
        old = shop.output("a").read_bytes()
        if not links:
            monkeypatch.setattr(os, "link", _no_links)
        diary.keep(monkeypatch)
        await run_shop(shop.replace("It turns", "It falls"), emulator, outside=outside)
        assert len(emulator.world.submits) == 2
    (kept,) = (shop.queue_path.parent / "history" / "shop").iterdir()
    assert kept.read_bytes() == old
    second, first = diary.lines.index(("name", str(kept))), diary.lines.index(("name", str(shop.output("a"))))
    for folder in list(kept.parents)[:3]:  # two of them are new, so their names must be on the disk as well
        assert ("flush", folder.stat().st_ino) in diary.lines[second:first], folder
    assert ("flush", kept.stat().st_ino) in diary.lines[
        : second + 1
    ] or links  # the clip of a link is on the disk long since
    diary.check(shop.output("a"), "job_done")


def _no_links(source: str, target: str) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM), source, None, target)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
async def test_a_file_system_that_flushes_no_folders(shop: Shop, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Some network shares and FUSE: clips are done there as well."""
    _refuse_folders(monkeypatch, number)
    async with emulated() as emulator:
        result = await run_shop(shop.add("a"), emulator)
    assert (code_of(result), counts(result)) == (ExitCode.DONE, {"done": 1, "total": 1})


async def test_a_folder_that_fails_to_be_flushed_is_seen_before_money_is_spent(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refuse_folders(monkeypatch, errno.EIO)
    async with emulated() as emulator:
        assert code_of(await run_shop(shop.add("a"), emulator)) is ExitCode.NEEDS_PERSON
        assert emulator.world.submits == []


def _refuse_folders(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fsync = os.fsync

    def flushed(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flushed)
