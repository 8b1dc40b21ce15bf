"""Killed with SIGKILL at any moment, and the same command again: many small shops, each against a bad provider.

After every kill, and at the end, the queue's ledger is held against the emulator's bill (`books`).
"""

import argparse
import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batchrun.emulator.server import Emulator
from tests.proof.books import read_after_kill
from tests.proof.children import kill_at_line, started
from tests.proof.endgame import by_hand, figures_of, kept, look, settle
from tests.proof.stage import FAILURES, LOST_ANSWERS, PRICE, WEATHER, Manifest, emulator, forget, queue_of

_KILLS_A_SHOP = 20
_OWN_ENDS = 2
"""A shop whose runs end by themselves so often is through."""
_RUN_S = 3.0
_WORDS = (
    "claimed",
    "uploaded",
    "intent",
    "answered",
    "accepted",
    "completed",
    "downloaded",
    "checked",
    "placed",
    "done",
)


@dataclass
class Series:
    """Shops under one seed, until enough kills are counted."""

    folder: Path
    seed: int
    wanted: int
    jobs: tuple[int, int]
    figures: Counter[str] = field(default_factory=Counter)
    shops: int = 0

    @property
    def is_open(self) -> bool:
        return self.figures["kills"] < self.wanted

    async def work(self) -> None:
        """One shop after another."""
        while self.is_open:
            self.shops += 1
            await self._shop(self.shops)

    async def _shop(self, number: int) -> None:
        chance = random.Random(f"{self.seed}/{number}")
        folder = self.folder / str(number)
        folder.mkdir()
        jobs = chance.randint(*self.jobs)
        cap = PRICE * (jobs + chance.choice((0, 0, 2)))
        limits: dict[str, object] = {
            "concurrency": chance.choice((2, 4, 40)),
            "per_minute": 10_000,
            "poll": 0.05,
            "settle": 0.5,
            "max_unknown": 1000,
            "budget": cap / 1_000_000,
        }
        manifest = Manifest(folder, limits=limits).add(range(jobs))
        faults = LOST_ANSWERS | FAILURES | WEATHER
        async with emulator(
            folder, faults, seed=chance.getrandbits(30), median_s=chance.choice((0.2, 0.6, 1.2)), refund_after_ms=1500
        ) as running:
            said: list[str] = []
            with kept(running.world, folder, said):
                await self._kill_and_again(manifest, running, cap, chance, said)
                self.figures += figures_of(await settle([manifest], running))
            self.figures["predictions"] += len(running.world.submits)
            self.figures["shops"] += 1
            self.figures["unknown outcomes"] += sum(" unknown" in line for line in said)
        forget(folder)

    async def _kill_and_again(
        self, manifest: Manifest, running: Emulator, cap: int, chance: random.Random, said: list[str]
    ) -> None:
        own_ends = kills = 0
        while own_ends < _OWN_ENDS and kills < _KILLS_A_SHOP and self.is_open:
            moment = chance.choice(("time", "start", "line", "word"))
            hear = None
            if moment == "line":
                hear = kill_at_line(chance.randint(1, 60))
            elif moment == "word":
                hear = kill_at_line(chance.randint(1, 6), f" {chance.choice(_WORDS)}")
            async with started([manifest.path], running.base_url, hear=hear) as child:
                if moment in ("time", "start"):
                    await child.end(chance.uniform(0.0, _RUN_S if moment == "time" else 0.9))
                    child.kill()
                await child.end_well()
                said += [f"---- {moment}", *child.lines]
            look(running.world, queue_of(manifest.folder), cap, read_after_kill)
            kills += child.was_killed
            own_ends = 0 if child.was_killed else own_ends + 1
            self.figures["kills" if child.was_killed else "own ends"] += 1
            self.figures[f"kills by {moment}"] += child.was_killed


async def prove(
    folder: Path, *, seed: int, kills: int, side_by_side: int, jobs: tuple[int, int] = (8, 16)
) -> Counter[str]:
    """Shops side by side until so many kills. Raises Violation."""
    series = Series(folder, seed, kills, jobs)
    async with asyncio.TaskGroup() as group:
        for _ in range(side_by_side):
            group.create_task(series.work())
    return series.figures


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--side-by-side", type=int, default=3, help="shops at once")
    asked = parser.parse_args(arguments)
    again = f"--kills {asked.kills} --seed {asked.seed} --side-by-side {asked.side_by_side}"
    return by_hand(
        "kills",
        again,
        lambda folder: prove(folder, seed=asked.seed, kills=asked.kills, side_by_side=asked.side_by_side),
    )
