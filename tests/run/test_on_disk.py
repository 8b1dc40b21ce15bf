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
        fsync, rename = os.fsync, os.replace

        def flushed(descriptor: int) -> None:
            fsync(descriptor)
            self.lines.append(("flush", os.fstat(descriptor).st_ino))

        def named_so(source: str, target: str) -> None:
            rename(source, target)
            self.inodes[str(target)] = Path(target).stat().st_ino
            self.lines.append(("name", str(target)))

        monkeypatch.setattr(os, "fsync", flushed)
        monkeypatch.setattr(os, "replace", named_so)

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
