"""2, 4 and 8 processes at once on one queue: one manifest for all, and several manifests of one folder.

Slots, caps and "never bought twice" hold over all of them together, measured at the emulator, while some of them are
killed with SIGKILL and started again. Manifests share some rows: the same clip under two names is bought once.
"""

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from batchrun.emulator.faults import Fault
from tests.proof.books import Violation
from tests.proof.crowd import crowd_over
from tests.proof.endgame import by_hand, figures_of, kept, settle
from tests.proof.stage import FAILURES, PRICE, Manifest, emulator, forget

_FAULTS = {
    **FAILURES,
    Fault.SUBMIT_DROP_BEFORE: 0.03,
    Fault.SUBMIT_DROP_AFTER: 0.03,
    Fault.POLL_500: 0.03,
    Fault.OUTPUT_DROP: 0.03,
    Fault.PUT_500: 0.02,
}
_SLOTS = 5
_SHARED = 3


def _manifests(folder: Path, count: int, jobs: int, cap_usd: float) -> list[Manifest]:
    limits: dict[str, object] = {
        "concurrency": _SLOTS,
        "per_minute": 10_000,
        "poll": 0.05,
        "settle": 0.5,
        "max_unknown": 1000,
        "budget": cap_usd,
    }
    found = []
    for number in range(count):
        campaign: dict[str, object] = {"name": "all", "budget": cap_usd}
        manifest = Manifest(folder, f"shop-{number}", dict(limits), campaign=campaign)
        own = range(100 * number + _SHARED, 100 * number + jobs)
        found.append(manifest.add([*range(_SHARED), *own]))
    return found


async def prove(folder: Path, *, seed: int, processes: int, manifests: int, jobs: int, kills: int) -> Counter[str]:
    """One queue, so many processes. Raises Violation."""
    chance = random.Random(f"{seed}/{processes}/{manifests}")
    clips = manifests * (jobs - _SHARED) + _SHARED
    cap = PRICE * (clips + 2)
    shops = _manifests(folder, manifests, jobs, cap / 1_000_000)
    paths = [shop.path for shop in shops]
    # Every third process works on all manifests, the others on one.
    commands = [paths if number % 3 == 2 else [paths[number % manifests]] for number in range(processes)]
    async with emulator(folder, _FAULTS, seed=chance.getrandbits(30), median_s=0.4, refund_after_ms=1000) as running:
        crowd = crowd_over(running, folder, cap)
        with kept(running.world, folder, crowd.said):
            await crowd.work(commands, chance, kills)
            if running.world.peak_running > _SLOTS:
                raise Violation("more ran at once than there are slots", peak=running.world.peak_running, slots=_SLOTS)
            crowd.figures["peak"] = running.world.peak_running
            standing = await settle(shops, running)
    crowd.figures["predictions"] = len(running.world.submits)
    return crowd.figures + figures_of(standing)


async def _all(folder: Path, asked: argparse.Namespace) -> Counter[str]:
    total: Counter[str] = Counter()
    for processes in asked.processes:
        for manifests in (1, 3):
            inner = folder / f"{processes}-{manifests}"
            inner.mkdir()
            figures = await prove(
                inner, seed=asked.seed, processes=processes, manifests=manifests, jobs=asked.jobs, kills=asked.kills
            )
            print(f"  {processes} processes, {manifests} manifests: {dict(sorted(figures.items()))}", flush=True)
            total += figures
            forget(inner)
    del total["peak"]
    return total


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof processes", description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--jobs", type=int, default=40, help="of each manifest")
    parser.add_argument("--kills", type=int, default=12, help="in each crowd")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    counts = " ".join(map(str, asked.processes))
    again = f"--processes {counts} --jobs {asked.jobs} --kills {asked.kills} --seed {asked.seed}"
    return by_hand("processes", again, lambda folder: _all(folder, asked))
