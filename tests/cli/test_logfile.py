"""The log of a nightly run: whole lines, generations, several processes, a full disk, and never the key."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from batchrun.cli.logfile import LogFile
from batchrun.errors import UsageError
from tests.conftest import KEY, Shop, emulated
from tests.run.test_kill import run_process


def opened(path: Path, *, max_bytes: int = 1000, keep: int = 3, warned: list[str] | None = None) -> LogFile:
    return LogFile(path, max_bytes, keep, ([] if warned is None else warned).append)


def generations(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}*"), key=lambda one: one.name, reverse=True)


def test_the_oldest_generation_goes_and_the_lines_stay_in_order(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "run.jsonl"
    log = opened(path, max_bytes=100, keep=2)
    for number in range(50):
        log.write(f"line {number:03}")
    log.close()
    assert [one.name for one in generations(path)] == ["run.jsonl.2", "run.jsonl.1", "run.jsonl"]
    assert all(one.stat().st_size <= 100 for one in generations(path))
    lines = [line for one in generations(path) for line in one.read_text().splitlines()]
    assert lines == [f"line {number:03}" for number in range(50)][-len(lines) :]
    assert len(lines) > 20


def test_another_run_appends_and_a_line_longer_than_a_generation_is_kept_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    for text in ("first", "x" * 500, "last"):
        log = opened(path, max_bytes=100)
        log.write(text)
        log.close()
    assert [one.read_text() for one in generations(path)] == ["first\n", "x" * 500 + "\n", "last\n"]


def test_none_kept(tmp_path: Path) -> None:
    log = opened(tmp_path / "run.jsonl", max_bytes=10, keep=0)
    for text in ("first one", "second one"):
        log.write(text)
    assert [one.read_text() for one in generations(tmp_path / "run.jsonl")] == ["second one\n"]


def _write_many(path: Path, name: str, count: int) -> None:
    log = opened(path, max_bytes=20_000, keep=1000)
    for number in range(count):
        log.write(json.dumps({"who": name, "number": number, "text": "ä" * (number % 80)}))


def test_processes_that_share_it_lose_and_mix_no_line(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    start = multiprocessing.get_context("spawn").Process
    names, count = "abc", 2000
    writers = [start(target=_write_many, args=(path, name, count)) for name in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    rows = [json.loads(line) for one in tmp_path.iterdir() for line in one.read_text("utf-8").splitlines()]
    assert sorted((row["who"], row["number"]) for row in rows) == [(name, at) for name in names for at in range(count)]
    assert len(list(tmp_path.iterdir())) > 10


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    log = opened(path)
    log.write("before")
    path.rename(tmp_path / "moved")  # as logrotate does it
    log.write("after")
    assert (path.read_text(), (tmp_path / "moved").read_text()) == ("after\n", "before\n")


def test_a_full_disk_is_said_once_and_stops_nothing() -> None:
    warned: list[str] = []
    log = opened(Path("/dev/full"), warned=warned)
    for _ in range(3):
        log.write("lost")
    log.close()
    assert warned == ["--log-file /dev/full cannot be written (No space left on device); the run goes on without it"]


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_bought(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        opened(tmp_path / "file" / "run.jsonl")


async def test_a_run_says_everything_but_the_key(shop: Shop) -> None:
    log = shop.folder / "run.jsonl"
    async with emulated() as emulator:
        code, _, _ = await run_process(shop.add("a"), emulator, "--log-file", str(log))
        other = shop.folder / "other.key"
        other.write_text(f"{KEY}-other")
        words = ("--log-file", str(log), "-v", "--api-key-file", str(other))
        refused, _, said = await run_process(shop.add("b"), emulator, *words)
    assert (code, refused) == (0, 12)
    text = log.read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["event"] for row in rows].count("done") == 1
    assert next(row for row in rows if row["event"] == "intent")["usd"] == "0.25"
    assert [(row["exit_code"], row["usd"]) for row in rows if row["event"] == "ended"] == [(0, "0.25"), (12, "0.00")]
    assert len({row["pid"] for row in rows} - {os.getpid()}) == 2
    assert KEY not in text
    assert KEY not in said


async def test_a_run_whose_log_is_on_a_full_disk_buys_and_ends_well(shop: Shop) -> None:
    async with emulated() as emulator:
        code, result, said = await run_process(shop.add("a"), emulator, "--log-file", "/dev/full")
    assert (code, result["done"]) == (0, 1)
    assert said.count("the run goes on without it") == 1
