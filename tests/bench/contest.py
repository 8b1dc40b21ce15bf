"""The same jobs by batchrun, by a bare loop, by the vendor's SDK and by a durable engine, on the same local provider."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heapreplace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from batchrun.manifest.jobs import Checks
from batchrun.video.check import check_clip
from tests.bench.answers import Answer, Line, Setting, Table
from tests.bench.local import Local
from tests.bench.process import Used, measured
from tests.bench.rivals.terms import KEY, arguments
from tests.bench.server import Terms
from tests.bench.shop import REST_S, Shop, own_folder
from tests.sim.night import clips

SLOTS = 64
FAST = Terms()
FAST_POLL_S = 0.02
SCALE = 30.0
"""Latencies and pauses are so many times shorter than in life: 200 checks a second for all are not scaled with them."""
SLOW = Terms(median_s=150.0 / SCALE, at_most_s=600.0 / SCALE)
LARGE = Terms(clip_bytes=25_000_000)
_LARGE_PART = 20
"""Clips of 25 MB: so many times fewer jobs."""
HEAD = (
    "contestant", "jobs", "CPU ms a job", "/ floor", "wall ms a job", "/ floor", "checks a job", "seen late", "makespan", "peak MB", "start s",
)  # fmt: skip
_Command = Callable[[Shop, str], Sequence[str]]


def _rival(name: str) -> _Command:
    return lambda shop, url: [
        sys.executable, "-m", f"tests.bench.rivals.{name}", *arguments(shop, url, shop.folder / "clips"),
    ]  # fmt: skip


def batchrun_command(shop: Shop, _: str) -> Sequence[str]:
    """The real command line."""
    return [sys.executable, "-m", "batchrun", str(shop.manifest), "-q"]


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to do the work."""

    name: str
    command: _Command
    jobs_part: int = 1
    """It gets so many times fewer jobs, because it is so much slower."""


FLOOR = Contestant("bare aiohttp loop, keeps nothing", _rival("floor"))
BATCHRUN = Contestant("batchrun", batchrun_command)
VENDOR = Contestant("wavespeed 2.0.5, 64 threads", _rival("vendor"), jobs_part=4)
DURABLE = Contestant("DBOS 3.4.0 on SQLite", _rival("durable"), jobs_part=10)
ALL = (FLOOR, BATCHRUN, VENDOR, DURABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Of one contestant, one round or the medians of several.

    A job's CPU is without that of a run of one job; its wall is from the first request to the last, as the provider saw them.
    """

    jobs: float
    cpu_s: float
    wall_s: float
    start_s: float
    """Wall of a run of one job."""
    peak_bytes: float
    polls: float
    delay_s: float
    makespan: float
    """The ideal over the real one: from the first submit to the last end that was seen."""


def environment_of(url: str) -> Mapping[str, str]:
    """Where batchrun finds the provider."""
    return {"WAVESPEED_BASE_URL": url, "WAVESPEED_API_KEY": KEY}


def once(local: Local, terms: Terms, contestant: Contestant, shop: Shop) -> tuple[Used, dict[str, Any]]:
    """One run in a new folder; every clip must be there."""
    local.reset(terms)
    used = measured(contestant.command(shop, local.url), environment_of(local.url))
    if missing := shop.missing(shop.folder):
        raise RuntimeError(f"{contestant.name}: {missing} of {shop.jobs} clips are missing in {shop.folder}")
    return used, local.figures()


def score(local: Local, terms: Terms, contestant: Contestant, shop: Shop) -> Score:
    """One round: a run of one job, then a run of all."""
    alone = replace(
        shop, folder=shop.folder.with_name(f"{shop.folder.name}-alone"), jobs=1, poll_s=FAST_POLL_S, median_s=0.0
    )
    start, _ = once(local, FAST, contestant, alone.write())
    used, figures = once(local, terms, contestant, shop.write())
    more = max(1, shop.jobs - 1)
    return Score(
        jobs=shop.jobs,
        cpu_s=(used.cpu_s - start.cpu_s) / more,
        wall_s=figures["wall_s"] / shop.jobs,
        start_s=start.wall_s,
        peak_bytes=used.peak_bytes,
        polls=figures["counts"]["poll"] / shop.jobs,
        delay_s=figures["mean_delay_s"],
        makespan=list_schedule_s(figures["took_s"], shop.slots) / (figures["last_seen_s"] - figures["first_submit_s"]),
    )


def list_schedule_s(took_s: Sequence[float], slots: int) -> float:
    """When the last one ends if each begins as soon as any slot is free, in this order."""
    free_at_s = [0.0] * min(slots, len(took_s))
    heapify(free_at_s)
    for one_s in took_s:
        heapreplace(free_at_s, free_at_s[0] + one_s)
    return max(free_at_s)


def middle(scores: Sequence[Score]) -> Score:
    """The median of each figure."""
    return Score(**{name: median(getattr(one, name) for one in scores) for name in Score.__slots__})


def contest(
    local: Local,
    folder: Path,
    name: str,
    terms: Terms,
    jobs: int,
    rounds: int,
    contestants: Sequence[Contestant] = ALL,
    rest_s: float = REST_S,
) -> dict[str, Score]:
    """Medians of rounds in which each has its turn, so that a busy moment of the machine hits them all."""
    shop = Shop(
        folder=folder,
        jobs=jobs,
        slots=SLOTS,
        poll_s=5.0 / SCALE if terms.median_s else FAST_POLL_S,
        median_s=terms.median_s,
    )
    scores: dict[str, list[Score]] = {one.name: [] for one in contestants}
    for number in range(rounds):
        for at, one in enumerate(contestants):
            print(f"… {name}, round {number + 1} of {rounds}: {one.name}", file=sys.stderr)
            with own_folder(folder, rest_s) as own:
                mine = replace(shop, folder=own / f"{at}", jobs=max(SLOTS, jobs // one.jobs_part))
                scores[one.name].append(score(local, terms, one, mine))
    return {one: middle(found) for one, found in scores.items()}


def cells(scores: Mapping[str, Score]) -> list[tuple[str, ...]]:
    """The rows of the table."""
    floor = scores[FLOOR.name]
    return [
        (
            name,
            f"{one.jobs:,.0f}",
            f"{one.cpu_s * 1000:.2f}",
            f"{one.cpu_s / floor.cpu_s:.1f}×",
            f"{one.wall_s * 1000:.2f}",
            f"{one.wall_s / floor.wall_s:.1f}×",
            f"{one.polls:.1f}",
            f"{one.delay_s * 1000:.0f} ms",
            f"{one.makespan:.2f}" if one.makespan else "",
            f"{one.peak_bytes / 1e6:.0f}",
            f"{one.start_s:.2f}",
        )
        for name, one in scores.items()
    ]


def check_ms(rounds: int = 50) -> float:
    """CPU of looking at the contest's own clip, `checks: quick`, with its poster: part of what batchrun takes a job."""
    with TemporaryDirectory() as name:
        clip = Path(name) / "clip.mp4"
        clip.write_bytes(clips()[5])
        took: list[float] = []
        for _ in range(rounds):
            begin = time.thread_time()
            check_clip(clip, 5, Checks.QUICK, poster=Path(name) / "poster.webp")
            took.append(time.thread_time() - begin)
    return median(took) * 1000


def ask(setting: Setting) -> Answer:
    """A table for each way the provider may be."""
    sizes, answer = setting.sizes, Answer()
    plans = (
        (f"{SLOTS} slots, no latency, `checks: quick`", FAST, sizes.jobs, ALL),
        (f"{SLOTS} slots, log-normal latency of 150 s / {SCALE:.0f}", SLOW, sizes.slow_jobs, ALL),
        (f"{SLOTS} slots, no latency, clips of 25 MB", LARGE, sizes.jobs // _LARGE_PART, (FLOOR, BATCHRUN)),
    )
    for title, terms, jobs, contestants in plans:
        # With latencies they are all as fast as the provider.
        alike = [replace(one, jobs_part=1) for one in contestants] if terms.median_s else list(contestants)
        scores = contest(setting.local, setting.folder, title, terms, jobs, sizes.rounds, alike)
        answer.tables.append(Table(title, HEAD, cells(scores)))
        answer.figures[title] = {
            name: {item: getattr(one, item) for item in Score.__slots__} for name, one in scores.items()
        }
        ours, floor = scores[BATCHRUN.name], scores[FLOOR.name]
        answer.expect(f"{title}: batchrun's CPU a job beside the floor's", ours.cpu_s / floor.cpu_s, at_most=50)
        answer.expect(f"{title}: batchrun's wall a job beside the floor's", ours.wall_s / floor.wall_s, at_most=50)
    looked_ms = check_ms()
    answer.figures["check_ms"] = looked_ms
    answer.lines.append(
        Line("of batchrun's CPU a job: the check of that small clip and its poster", f"{looked_ms:.2f} ms")
    )
    return answer
