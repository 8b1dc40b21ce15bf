"""`python -m tests.sim --jobs 1000000 --seed 1`: as many stormy nights as wanted, on all cores, with figures.

Exits 1 at the first violation and names the seed that plays it again.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter

from tests.sim.storms import NIGHT_JOBS, numbers, play_storm


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000, help="simulated jobs in all")
    parser.add_argument("--seed", type=int, default=1, help="the first night's seed")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that play nights")
    parsed = parser.parse_args()
    seeds = range(parsed.seed, parsed.seed + -(-parsed.jobs // NIGHT_JOBS))
    print(f"{len(seeds)} nights of {NIGHT_JOBS} jobs, seeds {seeds[0]} to {seeds[-1]}", flush=True)
    total: Counter[str] = Counter()
    started_s = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(parsed.workers, maxtasksperchild=50) as pool:
        for night, (seed, figures) in enumerate(pool.imap_unordered(play_storm, seeds), 1):
            total.update(numbers(figures))
            if figures.violations:
                print(
                    f"seed {seed}: {figures.violations}\nagain: python -m tests.sim --seed {seed} --jobs 1", flush=True
                )
                return 1
            if night % 20 == 0 or night == len(seeds):
                say(total, night, time.monotonic() - started_s)
    return 0


def say(total: Counter[str], nights: int, took_s: float) -> None:
    figures = ", ".join(f"{name} {value}" for name, value in total.items())
    print(
        f"{nights} nights in {took_s:.0f} s, {total['jobs'] / took_s:.0f} jobs/s, 0 violations: {figures}", flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
