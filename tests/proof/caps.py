"""100 jobs, 50 slots, $5.00: never a cent above, at the emulator and in the ledger, and at least $4.50 of it used.

Tasks fail and are refunded late, answers are lost, and the processes are killed; then the command is repeated.
"""

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from batchrun.emulator.faults import Fault
from tests.proof.books import Violation, bill_of, check_clips, read_after_kill
from tests.proof.crowd import Crowd, crowd_over
from tests.proof.endgame import by_hand, figures_of, kept, look, refunds_given
from tests.proof.stage import Manifest, emulator, forget, queue_of

CAP = 5_000_000
ENOUGH = 4_500_000
_JOBS = 100
_REPEATS = 10
_FAULTS = {
    Fault.TASK_FAILED: 0.15,
    Fault.TASK_UNAVAILABLE: 0.1,
    Fault.SUBMIT_DROP_AFTER: 0.05,
    Fault.SUBMIT_TRUNCATED: 0.05,
    Fault.SUBMIT_DROP_BEFORE: 0.02,
    Fault.POLL_500: 0.03,
    Fault.OUTPUT_DROP: 0.03,
}


async def _use_up(crowd: Crowd, shop: Manifest, chance: random.Random, kills: int) -> None:
    """Two processes with kills, then the command again until the cap is used."""
    await crowd.work([[shop.path], [shop.path]], chance, kills)
    for _ in range(_REPEATS):
        if bill_of(crowd.emulator.world).total_usd_micros == CAP and not _owed(crowd):
            return
        await refunds_given(crowd.emulator.world)
        await crowd.work([[shop.path]], chance, 0)
        crowd.figures["repeats"] += 1


def _owed(crowd: Crowd) -> bool:
    """Whether money of failed tasks is still to come back."""
    bill = bill_of(crowd.emulator.world)
    return any(url not in bill.refunded for url in bill.failed)


async def prove(folder: Path, *, seed: int, kills: int, jobs: int = _JOBS) -> Counter[str]:
    """One shop under a cap that a part of its jobs fit into, with slots for half of them. Raises Violation."""
    chance = random.Random(seed)
    limits: dict[str, object] = {
        "concurrency": jobs // 2,
        "per_minute": 10_000,
        "poll": 0.05,
        "settle": 0.5,
        "max_unknown": 1000,
        "budget": CAP / 1_000_000,
    }
    shop = Manifest(folder, limits=limits).add(range(jobs))
    async with emulator(folder, _FAULTS, seed=seed, median_s=0.4, refund_after_ms=2000) as running:
        crowd = crowd_over(running, folder, CAP)
        with kept(running.world, folder, crowd.said):
            await _use_up(crowd, shop, chance, kills)
            await refunds_given(running.world)
            bill, standing = look(running.world, queue_of(folder), CAP, read_after_kill)
            if bill.total_usd_micros < ENOUGH:
                raise Violation("the cap is not used", bill=bill.total_usd_micros, jobs=standing.count())
            check_clips(standing)
    crowd.figures["cents used"] = bill.total_usd_micros // 10_000
    crowd.figures["cents at the peak"] = bill.peak_usd_micros // 10_000
    return crowd.figures + figures_of(standing)


async def _all(folder: Path, asked: argparse.Namespace) -> Counter[str]:
    total: Counter[str] = Counter()
    for number in range(asked.times):
        inner = folder / str(number)
        inner.mkdir()
        figures = await prove(inner, seed=asked.seed + number, kills=asked.kills)
        print(f"  seed {asked.seed + number}: {dict(sorted(figures.items()))}", flush=True)
        total += figures
        forget(inner)
    return total


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof caps", description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    again = f"--times {asked.times} --kills {asked.kills} --seed {asked.seed}"
    return by_hand("caps", again, lambda folder: _all(folder, asked))
