"""Killed at any moment, in a small size; `make proof` does it a thousand times."""

from pathlib import Path

from tests.proof import kills


async def test_killed_at_any_moment_nothing_is_bought_twice_and_the_books_agree(tmp_path: Path) -> None:
    figures = await kills.prove(tmp_path, seed=1, kills=12, side_by_side=3, jobs=(6, 8))
    assert figures["kills"] >= 12
