"""A night played on a fast clock with play money: what it says, what binds, and that nothing real is touched or asked."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from batchrun.cli.rehearsal_stage import surroundings
from batchrun.clock import FastClock
from batchrun.run.forecast import charged_range
from tests.conftest import KEY, Shop, emulated, run_shop

LIMITS = "{tier: silver, budget: 100}"
FAST = ("--speed", "1000", "--no-render", "--seed", "7")


async def rehearsed(shop: Shop, *words: str, **env: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, the JSON object, and what was said."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "batchrun", str(shop.manifest), "--preview", "--json", *words],
        capture_output=True, text=True, check=False, timeout=120, env=os.environ | env,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def with_real_limits(shop: Shop, limits: str = LIMITS) -> Shop:
    """As for the provider itself: the quick polling of tests is refused for it."""
    shop.limits = limits
    return shop.write()


def dump(queue: Path) -> list[str]:
    with sqlite3.connect(queue) as connection:
        return list(connection.iterdump())


def files_of(folder: Path) -> dict[str, int]:
    """Every file of a folder but the rehearsal's and the database's own, with its time of change."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and "rehearsal" not in str(path) and not path.name.startswith(("queue.db", "digests"))
    }


@asynccontextmanager
async def listener() -> AsyncIterator[tuple[str, list[str]]]:
    """An address at which somebody writes down whoever calls."""
    calls: list[str] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append((await reader.readline()).decode())
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", calls


async def test_it_plays_what_is_due_and_touches_and_asks_nothing_real(shop: Shop) -> None:
    shop.add_many(3)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
    with_real_limits(shop).add("new", more=", duration: 10")
    shop.add("newer")
    before, files = dump(shop.queue_path), files_of(shop.folder)
    async with listener() as (address, calls):
        code, found, said = await rehearsed(shop, *FAST, WAVESPEED_BASE_URL=address, WAVESPEED_API_KEY=KEY)
    night = found["rehearsal"]
    assert (code, calls) == (0, [])
    assert (night["jobs"], night["left_out"], found["done"]) == (2, {"up to date": 3}, 2)
    assert (found["run_spent_usd"], night["cost"]["if_nothing_fails_usd"]) == ("0.75", "0.75")
    (cap,) = found["caps"]
    assert (cap["limit_usd"], cap["left_usd"]) == ("99.25", "98.50")  # the real queue had spent 0.75
    assert 60 < night["night_s"] < 3600
    assert night["played_s"] < night["night_s"] / 5
    assert dump(shop.queue_path) == before
    assert files_of(shop.folder) == files
    assert KEY not in said + json.dumps(found)
    rehearsal = shop.queue_path.parent / "rehearsal"
    assert all(KEY not in line for line in dump(rehearsal / "queue.db"))
    assert {path.name for path in (rehearsal / "videos" / "shop").iterdir()} == {"new.mp4", "newer.mp4"}
    assert not (rehearsal / "server").exists()


async def test_each_one_begins_anew_and_its_queue_can_be_looked_at_and_never_bought_from(shop: Shop) -> None:
    with_real_limits(shop).add("a")
    for _ in range(2):
        code, found, _ = await rehearsed(shop, *FAST)
        assert (code, found["done"], found["run_spent_usd"]) == (0, 1, "0.25")
    assert not shop.queue_path.exists()
    queue = str(shop.queue_path.parent / "rehearsal" / "queue.db")
    words = [sys.executable, "-m", "batchrun"]
    looked = subprocess.run(
        [*words, "status", str(shop.manifest), "--db", queue], capture_output=True, text=True, check=True
    )
    assert "shop: 1 job: 1 done" in looked.stdout
    bought = subprocess.run(
        [*words, str(shop.manifest), "--db", queue],
        capture_output=True, text=True, check=False, env=os.environ | {"WAVESPEED_API_KEY": KEY},
    )  # fmt: skip
    assert (bought.returncode, "belongs to rehearsal" in bought.stderr) == (2, True)


async def test_the_caps_bind(shop: Shop) -> None:
    with_real_limits(shop, "{tier: silver, budget: 1.00}").add_many(6)
    code, found, _ = await rehearsed(shop, *FAST)
    assert (code, found["done"], found["queued"], found["run_spent_usd"]) == (8, 4, 2, "1.00")
    assert (found["rehearsal"]["cost"]["most_usd"], found["rehearsal"]["cost"]["most_because"]) == (
        "1.00",
        "shop: budget",
    )
    code, found, _ = await rehearsed(shop, *FAST, "--max-spend", "0.5")
    assert (code, found["done"]) == (8, 2)
    shop.replace("tier: silver, budget: 1.00", "tier: silver, budget: 9, max_price: {5: 0.2}")
    code, found, _ = await rehearsed(shop, *FAST)
    assert (code, found["submitted"]) == (4, 0)  # a person has to agree to the dearer quote
    shop.replace("budget: 9, max_price: {5: 0.2}", "poll: 5")
    assert (await rehearsed(shop, *FAST))[0] == 2  # nothing bounds it: the real run would be refused


async def test_the_account_binds(shop: Shop) -> None:
    """Bronze allows two a minute, the manifest asks for sixty: most are refused, and the night is as long as it takes."""
    with_real_limits(shop, "{concurrency: 10, per_minute: 60, budget: 9}").add_many(6)
    _, free, _ = await rehearsed(shop, *FAST)
    code, bound, said = await rehearsed(shop, *FAST, "--tier", "bronze")
    assert (code, bound["done"]) == (0, 6)
    assert "the provider throttles" in said
    assert bound["rehearsal"]["night_s"] > free["rehearsal"]["night_s"]
    assert any("a bronze account allows 2 and 2" in note for note in bound["rehearsal"]["notes"])


async def test_who_would_have_been_needed_and_what_went_wrong(shop: Shop) -> None:
    with_real_limits(shop).add_many(2)
    code, found, _ = await rehearsed(shop, *FAST, "--faults", "output_short=1")
    assert (code, found["exit_code"]) == (4, 4)
    needed = found["rehearsal"]["needs_person"]
    assert [(one["id"], one["kind"]) for one in needed] == [("job-00", "broken_clip"), ("job-01", "broken_clip")]
    assert found["rehearsal"]["faults_played"]["output_short"] >= 8
    code, found, _ = await rehearsed(shop, *FAST, "--faults", "task_failed=1")
    cost = found["rehearsal"]["cost"]
    assert (code, found["failed"], cost["this_night_usd"], cost["refunds_usd"]) == (3, 2, "1.00", "1.00")
    assert (cost["if_nothing_fails_usd"], cost["usual_low_usd"], cost["usual_high_usd"]) == ("0.50", "1.00", "1.00")


async def test_the_real_queues_clips_teach_how_long_the_night_takes(shop: Shop) -> None:
    shop.add_many(9)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
    with_real_limits(shop).add("new")
    code, found, _ = await rehearsed(shop, *FAST)
    night = found["rehearsal"]
    assert (code, night["learnt_from_clips"]) == (0, {"5": 9})
    assert night["night_s"] < 60  # those clips took no time at all; a clip is assumed to take minutes


async def test_what_needs_a_yes_waits_as_in_the_real_night(shop: Shop) -> None:
    shop.add_many(6)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
    with_real_limits(shop).write()
    shop.replace("It turns", "It turns around")
    code, found, _ = await rehearsed(shop, *FAST)
    assert (code, found["rehearsal"]["jobs"]) == (4, 0)
    assert found["rehearsal"]["left_out"] == {"changed, waits for consent": 6}
    assert [reason["kind"] for reason in found["exit_reasons"]] == ["rerun_not_agreed"]
    code, found, _ = await rehearsed(shop, *FAST, "--yes")
    assert (code, found["done"], found["run_spent_usd"]) == (0, 6, "1.50")


async def test_some_jobs_only_and_copies_cost_nothing(shop: Shop) -> None:
    with_real_limits(shop).add("a", seed=1).add("b", seed=1).add("c", seed=2)
    code, found, _ = await rehearsed(shop, *FAST, "--only", "a", "--only", "b")
    assert (code, found["done"], found["run_spent_usd"]) == (0, 2, "0.25")
    code, found, said = await rehearsed(shop, *FAST, "--only", "nothing")
    assert (code, found["exit_code"], "no job of the manifest has such an id" in said) == (2, 2, True)


async def test_with_rendering_it_is_a_preview_as_well(shop: Shop) -> None:
    with_real_limits(shop).add("a", prompt="A woman walks by")
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "batchrun", str(shop.manifest), "--preview", "--speed", "1000"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0
    for text in (
        "Rehearsal of 1 job, with play money",
        "people and hands do not move: shop/a",
        "time: the night takes",
        "cost: $0.25 this night",
        "exit status: 0, every job is done",
        "jobs that need a person: none",
    ):
        assert text in done.stdout
    assert "--no-render" not in done.stdout
    assert "videos-preview" not in {path.name for path in shop.folder.iterdir()}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tier", "silver"], "--preview --faults typical --speed 100"),
        (["--no-render"], "--no-render: these play a rehearsal"),
        (["--preview", "--speed", "0"], "--speed 0: a rehearsal is from 1 to 1000 times as fast"),
        (["--preview", "--speed", "nan"], "--speed nan"),
        (["--preview", "--speed", "9", "--no-new"], "there is nothing to collect"),
        (["--preview", "--faults", "typcial"], "--faults: 'typcial' is not a fault"),
        (["--preview", "--faults", "clip_black", "--no-render"], "is not played with --no-render"),
    ],
)
def test_what_makes_no_sense_is_refused(shop: Shop, words: list[str], said: str) -> None:
    with_real_limits(shop).add("a")
    done = subprocess.run(
        [sys.executable, "-m", "batchrun", str(shop.manifest), *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not (shop.folder / ".batchrun").exists()


async def test_a_folder_that_is_no_rehearsal_is_left_alone(shop: Shop) -> None:
    with_real_limits(shop).add("a")
    mine = shop.queue_path.parent / "rehearsal" / "thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("dear")
    code, found, said = await rehearsed(shop, *FAST)
    assert (code, found["exit_code"], "holds something that is no rehearsal" in said) == (2, 2, True)
    assert mine.read_text() == "dear"


@pytest.mark.parametrize(
    ("address", "key"), [("https://api.wavespeed.ai", None), ("http://127.0.0.1:1", KEY), ("http://192.0.2.1", None)]
)
def test_there_is_no_way_out_of_a_rehearsal(address: str, key: str | None) -> None:
    clock = FastClock(100)
    with pytest.raises(RuntimeError, match="a rehearsal may not ask"):
        surroundings(1, clock).connect_http(address, key, clock)


def test_the_usual_range_of_charges() -> None:
    prices = [250_000] * 100 + [500_000] * 10
    assert charged_range(prices, 0.0, 3, 1) == (30_000_000, 30_000_000)
    assert charged_range(prices, 1.0, 2, 1) == (60_000_000, 60_000_000)
    low, high = charged_range(prices, 0.1, 2, 1)
    assert 30_000_000 < low < 33_000_000 < high < 36_000_000
    assert charged_range([], 0.5, 3, 1) == (0, 0)
