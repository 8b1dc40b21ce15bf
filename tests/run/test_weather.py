"""A bad night over real HTTP: faults at once, full disks, folders that go away. Everything is done once, nothing is lost."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from batchrun.clock import SystemClock
from batchrun.emulator.faults import TRANSPORT, Dice, Fault
from batchrun.emulator.world import Account
from batchrun.errors import ExitCode
from batchrun.manifest.jobs import Limits
from batchrun.queue.store import Queue
from batchrun.run import summary
from batchrun.run.events import Event, Kind
from batchrun.run.halts import HaltKind
from batchrun.run.problems import problems_of
from batchrun.run.stop import Stop
from batchrun.video.check import check_clip
from tests.conftest import KEY, Shop, Watcher, emulated, run_shop
from tests.run.test_session import code_of
from tests.sim.night import Night, Scenario, memory_folder


async def test_sixty_jobs_through_every_transport_fault_at_once(shop: Shop) -> None:
    """Under three commands, as on three nights: each has some new rows, which are the witnesses for what was cut before."""
    shop.limits = "{concurrency: 20, per_minute: 100000, poll: 0.02, settle: 1, budget: 20, max_unknown: 10}"
    shop.add_many(60)
    watcher = Watcher()
    said = ""
    async with emulated(dict.fromkeys(TRANSPORT, 0.08), account=Account(late_ms=(10, 300))) as emulator:
        for night in range(3):
            for number in range(4 if night else 0):
                shop.add(f"night-{night}-{number}")
            result = await run_shop(shop, emulator, watcher=watcher)
            said += json.dumps(summary.run_json(result, summary.exit_reasons(result, "shop.yaml"), code_of(result)))
            if code_of(result) is ExitCode.DONE:
                break
        assert code_of(result) is ExitCode.DONE
        bought = 60 + 4 * night
        clips = list((shop.folder / "videos" / "shop").glob("*.mp4"))
        assert len(clips) == len(emulator.world.tasks) == bought
        for path in clips:
            check_clip(path, 5)
        assert result.balance.spent_usd_micros == emulator.world.books.ours_usd_micros == bought * 250_000
        assert sum(fault in emulator.world.dice.thrown for fault in TRANSPORT) >= len(TRANSPORT) - 5
        assert KEY not in said + str(watcher.events)
        assert emulator.store.keys_seen == 0
    assert not [path for path in shop.folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


class CutTwice(Dice):
    """The first two downloads are cut, nothing else happens."""

    def throw(self, *faults: Fault) -> Fault | None:
        cuts = self.thrown.get(Fault.OUTPUT_DROP, 0)
        if Fault.OUTPUT_DROP not in faults or cuts == 2:
            return None
        self.thrown[Fault.OUTPUT_DROP] = cuts + 1
        return Fault.OUTPUT_DROP


async def test_a_cut_download_is_not_fetched_from_the_start_again(shop: Shop) -> None:
    shop.add("a")
    async with emulated() as emulator:
        emulator.store.dice = dice = CutTwice()
        assert code_of(await run_shop(shop, emulator)) is ExitCode.DONE
        assert dice.thrown == {Fault.OUTPUT_DROP: 2}
        assert emulator.store.sent_bytes == shop.output("a").stat().st_size


async def test_while_clips_cannot_be_saved_nothing_is_bought(shop: Shop) -> None:
    shop.add_many(3)
    videos = shop.folder / "videos"
    videos.write_text("not a folder")
    async with emulated() as emulator:
        result = await run_shop(shop, emulator)
        assert (code_of(result), emulator.world.submits) == (ExitCode.NEEDS_PERSON, [])
        assert f"clips cannot be saved in {videos / 'shop'}" in result.halts[HaltKind.CANNOT_SAVE].message
        videos.unlink()
        assert code_of(await run_shop(shop, emulator)) is ExitCode.DONE


async def test_while_clips_cannot_be_checked_nothing_is_bought(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that the codecs need is missing: only a clip that is paid for would have shown it."""
    shop.add_many(3)
    async with emulated() as emulator:
        with monkeypatch.context() as broken:
            broken.setitem(sys.modules, "av", None)
            result = await run_shop(shop, emulator)
            assert (code_of(result), emulator.world.submits) == (ExitCode.NEEDS_PERSON, [])
            assert "PyAV does not load" in result.halts[HaltKind.CANNOT_CHECK].message
        assert code_of(await run_shop(shop, emulator)) is ExitCode.DONE


def test_a_folder_that_goes_away_under_way_stops_the_buying_and_loses_nothing() -> None:
    """In virtual time, because what cannot be written is tried again after minutes."""
    with memory_folder() as folder:
        night = Night(Scenario(seed=1, jobs=4, concurrency=1, nights=2, new_each_night=0), folder)
        videos, plans = folder / "videos", []

        def hear(event: Event) -> None:
            if event.kind is Kind.PLANNED:
                plans.append(event)
                if len(plans) == 2:
                    videos.unlink()
            if event.kind is Kind.ACCEPTED and len(plans) == 1 and videos.is_dir():
                shutil.rmtree(videos)
                videos.write_text("not a folder any more")

        night.hear = hear
        figures = night.play()
    assert figures.violations == []
    first, second = night.results
    assert code_of(first) is ExitCode.NEEDS_PERSON
    assert "clips cannot be saved in" in first.halts[HaltKind.CANNOT_SAVE].message
    assert first.bought < 4
    assert (code_of(second), figures.done, figures.submits) == (ExitCode.DONE, 4, 4)


@pytest.mark.parametrize(
    ("options", "said", "step"),
    [
        ("size=1m", "are free in", "free disk space, then"),
        ("ro", "clips cannot be saved in", "make the folder writable, or room in it, then"),
    ],
)
async def test_a_full_or_read_only_disk_is_said_before_money_is_spent(
    shop: Shop, options: str, said: str, step: str
) -> None:
    """A real one: a file system of its own, in a child's own view of the mounts."""
    shop.add_many(2)
    (shop.folder / "videos").mkdir()
    async with emulated() as emulator:
        command = f'mount -t tmpfs -o {options} tmpfs videos && exec "{sys.executable}" -m batchrun shop.yaml'
        done = await asyncio.to_thread(
            subprocess.run,
            ["unshare", "--map-root-user", "--mount", "sh", "-c", command],
            cwd=shop.folder,
            env={**os.environ, "WAVESPEED_API_KEY": KEY, "WAVESPEED_BASE_URL": emulator.base_url},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == ExitCode.NEEDS_PERSON, done.stderr
        assert said in done.stdout + done.stderr
        assert step in done.stdout + done.stderr
        assert emulator.world.submits == []
        assert code_of(await run_shop(shop, emulator)) is ExitCode.DONE


async def test_what_is_larger_than_allowed_waits_for_a_person_and_is_not_bought_again(shop: Shop) -> None:
    shop.add("a")
    small = Limits(concurrency=1, per_minute=100, poll_s=0.02, settle_s=1, max_clip_bytes=100)
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, limits=small)
        assert code_of(result) is ExitCode.NEEDS_PERSON
        assert "raise limits.max_clip_mb" in str(problems_of(result.batches))
        assert code_of(await run_shop(shop, emulator)) is ExitCode.DONE
        assert len(emulator.world.submits) == 1


async def test_status_says_what_a_run_waits_for(shop: Shop) -> None:
    """From another terminal, while it waits."""
    shop.limits = shop.limits.replace("per_minute: 10000", "per_minute: 1")
    shop.add_many(2)
    watcher, stop = Watcher(), Stop()
    waits = asyncio.Event()
    watcher.on[Kind.WAITING] = lambda _: waits.set()
    async with emulated() as emulator:
        run = asyncio.create_task(run_shop(shop, emulator, watcher=watcher, stop=stop))
        await waits.wait()
        queue = await Queue.open(shop.queue_path, SystemClock(), kind="paid", origin=None, create=False)
        runs = await queue.living_runs()
        while runs[0].waiting is None:  # it is written with the next renewal of the lease
            await asyncio.sleep(0.05)
            runs = await queue.living_runs()
        await queue.close()
        assert len(runs) == 1
        assert "rate limit of 1 starts a minute" in (runs[0].waiting or "")
        said = await asyncio.to_thread(status, shop.manifest)
        assert f"process {os.getpid()} on" in said
        assert "waits: rate limit of 1 starts a minute" in said
        stop.now.set()
        stop.drain.set()
        await run


def status(manifest: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "batchrun", "status", str(manifest)],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    return done.stdout
