"""`make bench`: the queue against bare sqlite3, and whole runs against the local server, in one table."""

import asyncio
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from batchrun.emulator.animate.plan import Wish
from batchrun.emulator.api import API, Api, PlainLinks
from batchrun.emulator.books import Books
from batchrun.emulator.faults import Dice
from batchrun.emulator.latency import Latency
from batchrun.emulator.render import render
from batchrun.emulator.world import MODEL, World
from batchrun.manifest.jobs import Checks
from batchrun.queue.records import Started
from batchrun.queue.store import Queue
from batchrun.video.check import check_clip
from tests.bench.polling import MEDIAN_S, SIGMA, compare, least_product_s
from tests.bench.sources import PICTURES, rows_a_second, unchanged_pictures
from tests.clocks import StillClock
from tests.conftest import make_picture
from tests.store.stores import PACE, batch, budget, opened, request, spec, take_in

INGEST = 50_000
SPENDS = 2_000
GROUP = 50
CLIPS = 60
PREDICTIONS = 100_000
IMAGES = Path(__file__).parents[2] / "jobs" / "images"


def bare_ingest(folder: Path) -> float:
    """Rows a second of plain executemany with the same columns."""
    connection = sqlite3.connect(folder / "bare.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c TEXT, d TEXT, e INTEGER)")
    rows = [(n, f"key-{n}", "x" * 64, "a prompt", n) for n in range(INGEST)]
    begin = time.perf_counter()
    connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rows)
    connection.commit()
    took = time.perf_counter() - begin
    connection.close()
    return INGEST / took


async def queue_ingest(queue: Queue, folder: Path) -> float:
    """Jobs a second from checked values to committed rows (two tables, paths compared)."""
    specs = [spec(f"key-{n}", folder) for n in range(INGEST)]
    begin = time.perf_counter()
    await take_in(queue, batch(folder, specs))
    return INGEST / (time.perf_counter() - begin)


async def spends(queue: Queue) -> float:
    """Claim, reserve under a cap, answer, settle: jobs a second in groups, `synchronous=FULL`."""
    from batchrun.queue.leases import ClaimScope  # noqa: PLC0415

    (view,) = await queue.batch_views()
    begin = time.perf_counter()
    for group in range(SPENDS // GROUP):
        jobs = await queue.claim_queued([ClaimScope(view.batch_id, 2**60)], GROUP)
        wishes = [request(job, budget(job, 10**12)) for job in jobs]
        decisions = await queue.begin_submits(wishes, PACE)
        assert all(isinstance(one, Started) for one in decisions)
        await asyncio.gather(
            *(queue.record_accepted(one.attempt_id, f"p-{group}-{n}", "created") for n, one in enumerate(wishes))
        )
        await asyncio.gather(*(queue.record_completed(one.attempt_id, "completed", "https://x/y") for one in wishes))
    return SPENDS / (time.perf_counter() - begin)


def emulated_night() -> float:
    """Answers a second of the emulated API without a network: a submit and a result each, a full list page each 100."""
    clock = StillClock()
    world = World(clock, Latency(), Dice(), books=Books(10**12), seed=1)
    world.on_created = world.rendered
    api = Api(world, PlainLinks())
    begin = time.perf_counter()
    for number in range(PREDICTIONS):
        inputs = {"prompt": "It turns", "image": f"https://x.example/{number}.png", "duration": 5}
        created = api.answer("POST", f"{API}/{MODEL}", {}, json.dumps(inputs).encode())
        task_id = json.loads(created.body)["data"]["id"]
        assert api.answer("GET", f"{API}/predictions/{task_id}/result", {}, b"").status == 200
        if number % 100 == 99:
            assert api.answer("POST", f"{API}/predictions", {}, b"{}").status == 200
        clock.advance(0.05)
    return PREDICTIONS * 2.01 / (time.perf_counter() - begin)


def whole_run(folder: Path) -> tuple[float, float]:
    """Wall and CPU milliseconds a clip of the real command against the local server, which renders small clips."""
    rows = []
    for number in range(CLIPS):
        make_picture(folder / f"{number}.png", number)
        rows.append(f"  - {{image: {number}.png, prompt: x}}")
    limits = "{concurrency: 16, per_minute: 100000, budget: 100, poll: 0.05, settle: 1}"
    (folder / "m.yaml").write_text(f"version: 1\nlimits: {limits}\njobs:\n" + "\n".join(rows) + "\n")
    server = subprocess.Popen(
        [sys.executable, "-m", "batchrun", "emulator", "--port", "0", "--speed", "0", "--small"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip().partition("=")[2]
        environment = os.environ | {"WAVESPEED_BASE_URL": address, "WAVESPEED_API_KEY": "bench"}
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "batchrun", str(folder / "m.yaml"), "-q"],
            env=environment, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        wall = time.perf_counter() - begin
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    finally:
        server.terminate()
        server.wait()
    return wall / CLIPS * 1000, cpu / CLIPS * 1000


def checks(folder: Path) -> dict[str, float]:
    """CPU milliseconds of one check of a rendered clip of 5 s and 1280 by 720, on one thread; the least of five."""
    picture, clip = IMAGES / "skincare.jpg", folder / "clip.mp4"
    render(picture, Wish(prompt="slow push in"), clip)
    found: dict[str, float] = {}
    for depth in (Checks.QUICK, Checks.FULL):
        took = []
        for _ in range(5):
            begin = time.thread_time()
            check_clip(clip, 5, depth, picture=picture, poster=folder / "poster.webp")
            took.append(time.thread_time() - begin)
        found[f"check of a clip of 5 s, {depth}, CPU ms"] = min(took) * 1000
    return found


_ONE_CLIP = """
import resource, sys
from pathlib import Path
from batchrun.emulator.animate.plan import Wish
from batchrun.emulator.render import render
render(Path(sys.argv[1]), Wish(prompt=sys.argv[2]), Path(sys.argv[3]))
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""


def one_preview(folder: Path) -> tuple[float, float]:
    """CPU seconds and megabytes at most of a new process that renders one 5 s clip at full size, its start included."""
    image = Path(__file__).parents[2] / "jobs" / "images" / "mug.jpg"
    prompt = "Steam rises from the mug as the camera slowly pushes in"
    command = [sys.executable, "-c", _ONE_CLIP, str(image), prompt, str(folder / "clip.mp4")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    cpu_s, peak_mb = done.stdout.split()
    return float(cpu_s), float(peak_mb)


async def measure() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare = bare_ingest(folder)
        async with opened(folder, StillClock()) as queue:
            ingest = await queue_ingest(queue, folder)
            spent = await spends(queue)
        sources = rows_a_second(folder)
        pictures_s = unchanged_pictures(folder)
        runs = folder / "runs"
        runs.mkdir()
        wall, cpu = whole_run(runs)
        checked = checks(folder)
        clip_cpu_s, clip_peak_mb = one_preview(folder)
    return {
        "bare sqlite3 executemany, rows a second": bare,
        "enqueue, jobs a second": ingest,
        **sources,
        f"{PICTURES:,} remembered pictures to jobs, seconds": pictures_s,
        "claim + reserve + answer + settle, jobs a second": spent,
        "emulated API in process, answers a second": emulated_night(),
        "whole run with rendering server, wall ms a clip": wall,
        "whole run, CPU ms a clip of batchrun alone": cpu,
        **checked,
        "preview of 5 s at full size, CPU seconds": clip_cpu_s,
        "preview of 5 s at full size, peak MB": clip_peak_mb,
    }


def say_polling() -> dict[str, dict[str, float]]:
    """One row a way of polling; what they say depends on the seed only, not on the machine."""
    print(
        f"\npolling, log-normal {MEDIAN_S:.0f} s (sigma {SIGMA})           checks/clip  mean delay   p95 delay  of the time"
    )
    rows: dict[str, dict[str, float]] = {}
    for label, one in compare().items():
        print(f"{label:<52} {one.checks:>8.1f} {one.mean_s:>9.2f} s {one.p95_s:>9.1f} s {one.part:>11.2%}")
        rows[label] = {"checks": one.checks, "mean_s": one.mean_s, "p95_s": one.p95_s, "part": one.part}
    least = least_product_s()
    print(f"at best checks × mean delay come down to about {least:.1f} s: with 12 checks {least / 12:.2f} s")
    return rows


if __name__ == "__main__":
    figures = asyncio.run(measure())
    for label, figure in figures.items():
        print(f"{label:<52} {figure:>12,.1f}")
    polls = say_polling()
    print(json.dumps(figures | {"polling": polls}))
