"""How CPU and memory grow with the number of jobs and of slots: batchrun alone, each point a run of its own."""

import math
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.bench.answers import Answer, Line, Setting
from tests.bench.contest import BATCHRUN, FAST, FAST_POLL_S, SLOTS, batchrun_command, environment_of, once
from tests.bench.local import Local
from tests.bench.process import Used, measured
from tests.bench.server import Terms
from tests.bench.shop import Shop, own_folder

_ENDS_A_SECOND = 50.0
"""As many slots as are asked for are kept busy by latencies under which so many clips end each second."""
_TURNS = 3
"""Jobs a slot."""
_LEAST_JOBS = 500


@dataclass(frozen=True, slots=True)
class Point:
    """One run, its start taken off the CPU."""

    jobs: int
    slots: int
    cpu_ms_a_job: float
    wall_ms_a_job: float
    peak_mb: float
    bought: int
    """Of them; the others were read, planned and taken in."""


def _point(local: Local, folder: Path, shop: Shop, terms: Terms, start_cpu_s: float) -> Point:
    print(f"… growth: {shop.jobs:,} jobs, {shop.slots:,} slots", file=sys.stderr)
    with own_folder(folder) as own:
        used, _ = once(local, terms, BATCHRUN, replace(shop, folder=own / "shop").write())
    return Point(
        jobs=shop.jobs,
        slots=shop.slots,
        cpu_ms_a_job=max(0.0, used.cpu_s - start_cpu_s) / shop.jobs * 1000,
        wall_ms_a_job=used.wall_s / shop.jobs * 1000,
        peak_mb=used.peak_bytes / 1e6,
        bought=shop.jobs,
    )


def _queue_point(local: Local, folder: Path, shop: Shop, bought: int, start_cpu_s: float) -> Point:
    """A job's share of taking all in, and what buying one costs among so many: a run that buys one, and one that buys more."""
    print(f"… growth: {shop.jobs:,} jobs, {bought:,} of them bought", file=sys.stderr)
    used: list[Used] = []
    for limit in (1, bought):
        with own_folder(folder) as own:
            command = [*batchrun_command(replace(shop, folder=own / "shop").write(), local.url), "--limit", f"{limit}"]
            local.reset(FAST)
            used.append(measured(command, environment_of(local.url)))
            if local.figures()["counts"]["download"] != limit:
                raise RuntimeError(f"{limit} clips were asked for, {local.figures()['counts']} came")
    taken_in, all_of_it = used
    more = bought - 1
    return Point(
        jobs=shop.jobs,
        slots=shop.slots,
        cpu_ms_a_job=1000 * ((taken_in.cpu_s - start_cpu_s) / shop.jobs + (all_of_it.cpu_s - taken_in.cpu_s) / more),
        wall_ms_a_job=1000 * (taken_in.wall_s / shop.jobs + (all_of_it.wall_s - taken_in.wall_s) / more),
        peak_mb=all_of_it.peak_bytes / 1e6,
        bought=bought,
    )


def _with_latency(slots: int) -> tuple[Shop, Terms]:
    median_s = slots / _ENDS_A_SECOND
    jobs = max(_LEAST_JOBS, _TURNS * slots)
    return Shop(folder=Path(), jobs=jobs, slots=slots, poll_s=max(FAST_POLL_S, median_s / 30)), Terms(
        median_s=median_s, at_most_s=3 * median_s
    )


def ask(setting: Setting) -> Answer:
    """Two series."""
    local, folder, sizes = setting.local, setting.folder, setting.sizes
    alone = Shop(folder=Path(), jobs=1, slots=1, poll_s=FAST_POLL_S)
    start_cpu_s = _point(local, folder, alone, FAST, 0.0).cpu_ms_a_job / 1000
    by_jobs = [
        _point(local, folder, replace(alone, jobs=jobs, slots=SLOTS), FAST, start_cpu_s) for jobs in sizes.growth_jobs
    ]
    if sizes.growth_queue is not None:
        jobs, bought = sizes.growth_queue
        by_jobs.append(_queue_point(local, folder, replace(alone, jobs=jobs, slots=SLOTS), bought, start_cpu_s))
    by_slots = [_point(local, folder, *_with_latency(slots), start_cpu_s) for slots in sizes.growth_slots]
    answer = Answer(
        figures={"by_jobs": [asdict(one) for one in by_jobs], "by_slots": [asdict(one) for one in by_slots]}
    )
    for what, points in (("jobs", by_jobs), ("slots", by_slots)):
        first, last = points[0], points[-1]
        part = f", {last.bought:,} of them bought" if last.bought < last.jobs else ""
        answer.lines.append(
            Line(
                f"from {getattr(first, what):,} to {getattr(last, what):,} {what}{part}: CPU a job",
                f"{last.cpu_ms_a_job:.2f} ms",
                f"{first.cpu_ms_a_job:.2f} ms",
                f"{last.cpu_ms_a_job / first.cpu_ms_a_job:.2f}",
            )
        )
        answer.lines.append(
            Line(
                "the same: peak memory",
                f"{last.peak_mb:.0f} MB",
                f"{first.peak_mb:.0f} MB",
                f"{last.peak_mb / first.peak_mb:.2f}",
            )
        )
        bent = last.cpu_ms_a_job / first.cpu_ms_a_job
        answer.expect(
            f"CPU a job at {getattr(last, what):,} {what} beside {getattr(first, what):,}",
            bent,
            at_most=20 * math.log10(10 + last.jobs),
        )
    return answer
