"""When the starts stop altogether because the provider refuses them."""

from pathlib import Path

import pytest

from batchrun.run.halts import Halt
from batchrun.run.starter import Starter
from tests.clocks import StillClock
from tests.store.stores import PACE, opened


@pytest.mark.parametrize(
    ("pauses_s", "halts"),
    [
        ([1] * 599, False),
        ([1] * 601, True),  # ten minutes of nothing but refusals
        ([700, 700, 700], True),  # the provider itself asks for such pauses
        ([1, 3600, 1, 3600, 1], False),  # nothing was submitted in between: two refusals an hour apart
    ],
)
async def test_refusals_in_a_row_end_the_buying(tmp_path: Path, pauses_s: list[int], *, halts: bool) -> None:
    clock, found = StillClock(), list[Halt]()
    async with opened(tmp_path, clock) as queue:
        starter = Starter(queue, clock, PACE, lambda _: None, halt=found.append)
        for pause_s in pauses_s:
            starter.throttled(min(pause_s, 700))
            clock.advance(pause_s)
        starter.throttled(1.0)
    assert bool(found) is halts


async def test_a_submit_that_is_taken_ends_the_row(tmp_path: Path) -> None:
    clock, found = StillClock(), list[Halt]()
    async with opened(tmp_path, clock) as queue:
        starter = Starter(queue, clock, PACE, lambda _: None, halt=found.append)
        for _ in range(1000):
            starter.throttled(1.0)
            clock.advance(1)
            starter.accepted()
    assert found == []
