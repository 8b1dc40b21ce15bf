"""Several processes at once on one queue, some of them killed and started again, with both books watched meanwhile."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from batchrun.emulator.server import Emulator
from tests.proof.books import read_beside
from tests.proof.children import Child, started
from tests.proof.endgame import look
from tests.proof.stage import queue_of

_LOOK_EVERY_S = 0.1


@dataclass
class Crowd:
    """Processes side by side; whoever was killed is started again."""

    emulator: Emulator
    queue: Path
    cap_usd_micros: int
    living: list[Child] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)

    async def work(self, commands: Sequence[Sequence[Path]], chance: random.Random, kills: int) -> None:
        """Until every process has ended by itself. Raises Violation, also in a group."""
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._watch())
            killer = group.create_task(self._kill(chance, kills))
            async with asyncio.TaskGroup() as workers:
                for manifests in commands:
                    workers.create_task(self._one(manifests))
            killer.cancel()
            watch.cancel()
        self.look()

    def look(self) -> None:
        """Both books now. Raises Violation."""
        look(self.emulator.world, self.queue, self.cap_usd_micros, read_beside)
        self.figures["looks"] += 1

    async def _one(self, manifests: Sequence[Path]) -> None:
        again = True
        while again:
            async with started(manifests, self.emulator.base_url) as child:
                self.living.append(child)
                try:
                    await child.end_well()
                finally:
                    self.living.remove(child)
                    self.said += ["---- one process", *child.lines]
            again = child.was_killed
            self.figures["kills" if again else "own ends"] += 1

    async def _kill(self, chance: random.Random, kills: int) -> None:
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.2, 1.5))
            if self.living:
                chance.choice(self.living).kill()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.look()


async def stay(
    crowd: Crowd, commands: Sequence[Sequence[Path]], chance: random.Random, kills: int, for_s: float
) -> None:
    """Like `work`, but everybody is killed after a while."""
    with suppress(TimeoutError):
        async with asyncio.timeout(for_s):
            await crowd.work(commands, chance, kills)


def crowd_over(emulator: Emulator, folder: Path, cap_usd_micros: int) -> Crowd:
    return Crowd(emulator, queue_of(folder), cap_usd_micros)
