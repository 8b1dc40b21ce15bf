"""`per_minute` over several processes: in no 60 seconds more submits arrive than are allowed, killed or not."""

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from batchrun.emulator.world import World
from tests.proof.books import Violation
from tests.proof.crowd import crowd_over, stay
from tests.proof.endgame import by_hand, kept
from tests.proof.stage import FAILURES, PRICE, Manifest, emulator

_MINUTE_MS = 60_000


def check_rate(world: World, per_minute: int) -> None:
    """Raises Violation: the start that is `per_minute` later came within the same minute."""
    starts = sorted(task.created_ms for task in world.tasks.values())
    for first, later in zip(starts, starts[per_minute:], strict=False):
        if later - first < _MINUTE_MS:
            raise Violation(f"more than {per_minute} starts in {later - first} ms", first_ms=first, starts=starts)


async def prove(
    folder: Path, *, seed: int, processes: int, per_minute: int, jobs: int, kills: int, for_s: float
) -> Counter[str]:
    """One manifest, so many processes, until it is done or the time is over. Raises Violation."""
    chance = random.Random(seed)
    limits: dict[str, object] = {
        "concurrency": jobs,
        "per_minute": per_minute,
        "poll": 0.1,
        "settle": 0.5,
        "max_unknown": 1000,
        "budget": PRICE * jobs * 2 / 1_000_000,
    }
    shop = Manifest(folder, limits=limits).add(range(jobs))
    async with emulator(folder, FAILURES, seed=seed, median_s=0.4) as running:
        crowd = crowd_over(running, folder, PRICE * jobs * 2)
        with kept(running.world, folder, crowd.said):
            await stay(crowd, [[shop.path]] * processes, chance, kills, for_s)
            check_rate(running.world, per_minute)
            crowd.look()
        crowd.figures["submits"] = len(running.world.submits)
    return crowd.figures


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof rate", description=__doc__)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--per-minute", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=400.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    again = (
        f"--processes {asked.processes} --per-minute {asked.per_minute} --jobs {asked.jobs} --kills {asked.kills} "
        f"--seconds {asked.seconds} --seed {asked.seed}"
    )
    return by_hand(
        "rate",
        again,
        lambda folder: prove(
            folder, seed=asked.seed, processes=asked.processes, per_minute=asked.per_minute, jobs=asked.jobs,
            kills=asked.kills, for_s=asked.seconds,
        ),
    )  # fmt: skip
