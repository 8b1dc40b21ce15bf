"""Real processes killed with SIGKILL, and the same command again."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from batchrun.emulator.latency import Latency
from batchrun.emulator.server import Emulator
from tests.conftest import KEY, Shop, emulated

JOBS = 12
KILLS = 6


def command(shop: Shop, *more: str) -> list[str]:
    return [sys.executable, "-m", "batchrun", str(shop.manifest), *more]


def environment(emulator: Emulator) -> dict[str, str]:
    return os.environ | {"WAVESPEED_API_KEY": KEY, "WAVESPEED_BASE_URL": emulator.base_url}


async def run_process(shop: Shop, emulator: Emulator, *more: str) -> tuple[int, dict[str, object], str]:
    process = await asyncio.create_subprocess_exec(
        *command(shop, "--json", *more),
        env=environment(emulator),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
    )
    out, err = await process.communicate()
    return process.returncode or 0, json.loads(out) if out else {}, err.decode()


async def kill_at_a_line(shop: Shop, emulator: Emulator, word: str) -> None:
    """Start the command and kill it when it says `word`."""
    process = await asyncio.create_subprocess_exec(
        *command(shop, "-v"), env=environment(emulator), stderr=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
    )
    assert process.stderr is not None
    async for line in process.stderr:
        if word in line.decode():
            process.send_signal(signal.SIGKILL)
            break
    await process.communicate()


def books(shop: Shop) -> tuple[int, int, str]:
    connection = sqlite3.connect(shop.queue_path)
    held, spent = connection.execute(
        "SELECT coalesce(sum(held_usd_micros), 0), coalesce(sum(spent_usd_micros), 0) FROM ledger"
    ).fetchone()
    (check,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return held, spent, check


async def test_kill_and_the_same_command_again(shop: Shop) -> None:
    """Killed at every kind of moment: it goes on, buys nothing twice, and its books agree with the provider's."""
    shop.limits = shop.limits.replace("budget", "max_unknown: 100, budget").replace("concurrency: 4", "concurrency: 40")
    shop.add_many(JOBS)
    chance = random.Random(1)
    words = ["uploaded", "intent", "answered", "accepted", "completed", "checked", "placed", "done"]
    async with emulated(latency=Latency(2000)) as emulator:
        for word in chance.sample(words, KILLS):
            await kill_at_a_line(shop, emulator, word)
            held, spent, check = books(shop)
            billed = emulator.world.books.billed_usd_micros
            assert check == "ok"
            assert held + spent >= billed, word
        code, result, _ = await run_process(shop, emulator)
        assert result["total"] == JOBS
        done = int(str(result["done"])) + int(str(result["up_to_date"]))
        undecided = int(str(result["unknown"])) + int(str(result["parked"]))
        assert done + undecided == JOBS
        assert code == (4 if undecided else 0)
        assert len(emulator.world.submits) <= JOBS
        images = [inputs["image"] for inputs in emulator.world.submits]
        assert len(set(images)) == len(images)
        assert len(list(Path(shop.folder).glob("videos/shop/*.mp4"))) == done
