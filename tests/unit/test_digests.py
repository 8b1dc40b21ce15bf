"""The memory of pictures: what did not change is not read again, and what is remembered wrongly is not believed."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from batchrun.errors import ManifestError
from batchrun.manifest.digests import DigestCache
from batchrun.manifest.jobs import Batch
from batchrun.manifest.pictures import facts_of
from batchrun.manifest.read import load_manifest
from tests.conftest import make_picture

HOUR_MS = 3_600_000


@dataclass
class Night:
    """A folder with three pictures, read with a memory an hour after they were written."""

    folder: Path

    @property
    def memory(self) -> Path:
        return self.folder / "digests.cache"

    def now_ms(self) -> int:
        newest_ns = max(path.stat().st_ctime_ns for path in self.folder.glob("*.png"))
        return newest_ns // 1_000_000 + HOUR_MS

    def read(self, now_ms: int | None = None) -> Batch:
        cache = DigestCache(self.memory, lambda: self.now_ms() if now_ms is None else now_ms)
        batch = load_manifest(self.folder / "shop.yaml", cache=cache)
        cache.save()
        return batch

    def digests(self, **options: int) -> list[str]:
        return [job.picture.sha256 for job in self.read(**options).jobs if job.picture]


@pytest.fixture
def night(tmp_path: Path) -> Night:
    for number in range(3):
        make_picture(tmp_path / f"{number}.png", number)
    (tmp_path / "shop.yaml").write_text("version: 1\njobs: [{from: '*.png', prompt: x}]\n")
    return Night(tmp_path)


def poison(night: Night) -> str:
    """A memory that is whole and says another digest than the file has: shows whether it was asked."""
    cache = DigestCache(night.memory, night.now_ms)
    path = night.folder / "1.png"
    picture = load_manifest(night.folder / "shop.yaml").jobs[0].picture
    facts = facts_of(path)
    assert picture is not None
    assert facts is not None
    cache.add(str(path), facts, picture)
    cache.save()
    return picture.sha256


def test_what_did_not_change_is_not_read_again(night: Night) -> None:
    first = night.digests()
    other = poison(night)
    assert night.digests() == [first[0], other, first[2]]


@pytest.mark.parametrize("change", ["content", "time", "file"])
def test_what_changed_is_read_again(night: Night, change: str) -> None:
    first = night.digests()
    poison(night)
    path = night.folder / "1.png"
    if change == "content":
        data = path.read_bytes()
        facts = path.stat()
        path.write_bytes(data)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # only ctime tells
    elif change == "time":
        os.utime(path, ns=(1, 1))
    else:
        (night.folder / "new").write_bytes(path.read_bytes())
        (night.folder / "new").rename(path)
    assert night.digests() == first


@pytest.mark.parametrize("age_ms", [-HOUR_MS, 0, 1_999])
def test_a_young_file_is_not_remembered(night: Night, age_ms: int) -> None:
    changed_ms = [path.stat().st_ctime_ns // 1_000_000 for path in night.folder.glob("*.png")]
    night.digests(now_ms=min(changed_ms) + age_ms)
    assert not night.memory.exists()
    night.digests(now_ms=max(changed_ms) + 2_001)
    assert night.memory.exists()


@pytest.mark.parametrize("cut", [0, 10, 60, 200, -1])
def test_a_memory_that_was_cut_is_left_aside(night: Night, cut: int) -> None:
    first = night.digests()
    poison(night)
    night.memory.write_bytes(night.memory.read_bytes()[:cut])
    assert night.digests() == first
    assert DigestCache(night.memory, night.now_ms).get(*_known(night)) is not None  # written anew


def _known(night: Night) -> tuple[str, object]:
    return str(night.folder / "0.png"), facts_of(night.folder / "0.png")


def test_a_memory_with_one_wrong_bit_is_left_aside(night: Night) -> None:
    first = night.digests()
    data = bytearray(night.memory.read_bytes())
    for at in (3, 30, len(data) // 2, len(data) - 2):
        wrong = data.copy()
        wrong[at] ^= 1
        night.memory.write_bytes(wrong)
        assert night.digests() == first


def test_whole_and_yet_nonsense(night: Night) -> None:
    from batchrun.manifest.digests import _header  # noqa: PLC0415  # a private detail: what another version might write

    for body in (b"{}\n", b"[1]\n", b"[[],[],[]]\n", b'["a",[1],[2]]\n', b"\xff\n", b"null"):
        night.memory.write_bytes(_header(body) + body)
        assert len(night.digests()) == 3


def test_a_memory_that_cannot_be_written_or_read_is_no_error(night: Night) -> None:
    night.memory.mkdir()
    assert len(night.digests()) == 3
    cache = DigestCache(night.folder / "no" / "folder", night.now_ms)
    load_manifest(night.folder / "shop.yaml", cache=cache)
    cache.save()
    assert sorted(path.name for path in night.folder.iterdir()) == [
        "0.png",
        "1.png",
        "2.png",
        "digests.cache",
        "shop.yaml",
    ]


def test_the_rules_are_asked_again_of_what_is_remembered(night: Night, tmp_path: Path) -> None:
    first = load_manifest(tmp_path / "shop.yaml").jobs[0].picture
    facts = facts_of(tmp_path / "0.png")
    assert first is not None
    assert facts is not None
    cache = DigestCache(night.memory, night.now_ms)
    cache.add(str(tmp_path / "0.png"), facts, type(first)(first.sha256, 1, 100, 400, "image/png"))
    with pytest.raises(ManifestError, match=r"0\.png is 100×400 px"):
        load_manifest(tmp_path / "shop.yaml", cache=cache)


def test_parallel_runs_leave_one_whole_memory_with_what_all_have_read(night: Night) -> None:
    picture = load_manifest(night.folder / "shop.yaml").jobs[0].picture
    facts = facts_of(night.folder / "0.png")
    assert picture is not None
    assert facts is not None

    def remember(number: int) -> None:
        for turn in range(20):
            cache = DigestCache(night.memory, night.now_ms)
            cache.add(f"/{number}/{turn}", facts, picture)
            cache.save()

    threads = [threading.Thread(target=remember, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache = DigestCache(night.memory, night.now_ms)
    assert any(
        cache.get(f"/{number}/19", facts) for number in range(4)
    )  # whole; what was overwritten is only read again
    assert not list(night.folder.glob("*.part"))


def test_what_one_run_reads_stays_known_when_another_writes(night: Night) -> None:
    night.digests()
    poison(night)
    (night.folder / "other.yaml").write_text("version: 1\njobs: [{image: other.jpg, prompt: x}]\n")
    make_picture(night.folder / "other.jpg")
    cache = DigestCache(night.memory, lambda: night.now_ms() + HOUR_MS)
    load_manifest(night.folder / "other.yaml", cache=cache)
    cache.save()
    cache = DigestCache(night.memory, night.now_ms)
    assert cache.get(*_known(night)) is not None
