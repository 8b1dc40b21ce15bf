"""Many processes, the minute and a frozen process, in small sizes."""

from pathlib import Path

import pytest

from batchrun.clock import SystemClock
from batchrun.emulator.faults import Dice
from batchrun.emulator.latency import Latency
from batchrun.emulator.world import World
from tests.proof import frozen, processes, rate
from tests.proof.books import Violation
from tests.proof.rate import check_rate


@pytest.mark.parametrize(("count", "manifests"), [(2, 1), (4, 3)])
async def test_many_processes_share_slots_caps_and_clips(tmp_path: Path, count: int, manifests: int) -> None:
    figures = await processes.prove(tmp_path, seed=1, processes=count, manifests=manifests, jobs=8, kills=3)
    assert figures["own ends"] == count
    assert 0 < figures["peak"] <= 5


async def test_the_minute_counts_for_all_processes_together(tmp_path: Path) -> None:
    figures = await rate.prove(tmp_path, seed=1, processes=3, per_minute=6, jobs=20, kills=4, for_s=8)
    assert figures["submits"] == 6


@pytest.mark.parametrize("moment", [frozen.POSTING, "intent"])
async def test_a_frozen_process_wakes_up_and_buys_nothing_twice(tmp_path: Path, moment: str) -> None:
    figures = await frozen.prove(tmp_path, seed=1, moment=moment)
    assert figures["froze"] == 1


async def test_an_answer_that_comes_after_the_takeover_is_written_down(tmp_path: Path) -> None:
    figures = await frozen.prove(tmp_path, seed=1, moment=frozen.POSTING, hide_inputs=True)
    assert figures["unknown when it wakes"] >= 1
    assert figures["predictions"] == figures["jobs done"]


def test_one_start_too_many_within_a_minute() -> None:
    world = World(SystemClock(), Latency(None), Dice())
    for number in range(3):
        world.submit({"prompt": "x", "image": f"https://x/{number}.png"}).created_ms = number * 30_000
    check_rate(world, 2)
    with pytest.raises(Violation, match="more than 1 starts"):
        check_rate(world, 1)
