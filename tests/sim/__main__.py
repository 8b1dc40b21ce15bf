"""`python -m tests.sim nights --jobs 1000000`: as many stormy nights as wanted; `… downloads`: nights in which most downloads
go wrong; `… crash`: every crash point.

Both print figures and exit 1 at the first violation, with what plays it again.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable

from tests.sim.crash import STORIES, kill_at, points_of
from tests.sim.night import Figures
from tests.sim.storms import NIGHT_JOBS, collect_lazily, numbers, play_bad_storage, play_storm


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("what", choices=["nights", "downloads", "crash"])
    parser.add_argument("--jobs", type=int, default=20_000, help="simulated jobs in all")
    parser.add_argument("--seed", type=int, default=1, help="the first night's seed")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that play nights")
    parser.add_argument("--list", action="store_true", help="name every crash point")
    parsed = parser.parse_args()
    if parsed.what == "crash":
        return crash(listed=parsed.list)
    play = play_storm if parsed.what == "nights" else play_bad_storage
    return nights(play, parsed.jobs, parsed.seed, parsed.workers)


def nights(play: Callable[[int], tuple[int, Figures]], jobs: int, seed: int, workers: int) -> int:
    seeds = range(seed, seed + -(-jobs // NIGHT_JOBS))
    print(f"{len(seeds)} nights of {NIGHT_JOBS} jobs, seeds {seeds[0]} to {seeds[-1]}", flush=True)
    total: Counter[str] = Counter()
    started_s = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(workers, collect_lazily, maxtasksperchild=50) as pool:
        for night, (played, figures) in enumerate(pool.imap_unordered(play, seeds), 1):
            total.update(numbers(figures))
            if figures.violations:
                print(f"seed {played}: {figures.violations}")
                print(
                    f"again: python -m tests.sim {'nights' if play is play_storm else 'downloads'} --seed {played} --jobs 1",
                    flush=True,
                )
                return 1
            if night % 20 == 0 or night == len(seeds):
                say(total, night, time.monotonic() - started_s)
    return 0


def say(total: Counter[str], played: int, took_s: float) -> None:
    figures = ", ".join(f"{name} {value}" for name, value in total.items())
    print(
        f"{played} nights in {took_s:.0f} s, {total['jobs'] / took_s:.0f} jobs/s, 0 violations: {figures}", flush=True
    )


def crash(*, listed: bool) -> int:
    """Every point by name, and how many there are."""
    count = 0
    for name, story in STORIES.items():
        points = points_of(story)
        print(f"{name}: {len(points)} crash points", flush=True)
        for wanted in points:
            kill_at(wanted, story)
            if listed:
                print(f"  {wanted}: the books agree")
        count += len(points)
    print(f"{count} crash points in {len(STORIES)} stories, each killed once: nothing paid twice, nothing lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
