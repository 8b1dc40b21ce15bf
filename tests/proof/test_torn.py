"""Power cuts, in a small size."""

from collections import Counter
from pathlib import Path

import pytest

from tests.proof import torn
from tests.proof.books import Violation


async def test_a_torn_log_opens_at_the_last_whole_transaction(tmp_path: Path) -> None:
    figures = await torn.prove(tmp_path, seed=1, cuts=150)
    ways = Counter({way: figures[way] for way in ("cut", "garbage", "zeros", "flipped", "old frames", "halfway")})
    assert ways.total() == 150
    assert min(ways.values()) > 0


async def test_a_log_that_has_lost_a_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cut is said to lie behind a transaction whose last byte is gone."""

    async def cut(cuts: torn.Cuts) -> None:
        end = cuts.chance.choice(cuts.notes[1:])[0]
        await cuts.open(cuts.base, cuts.log.data[: end - 1], end, "cut")

    monkeypatch.setattr(torn.Cuts, "cut", cut)
    with pytest.raises(Violation, match=r"gone|acknowledged last|do not fit"):
        await torn.prove(tmp_path, seed=1, cuts=20)
