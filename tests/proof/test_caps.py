"""A cap, in a small size."""

from pathlib import Path

from tests.proof import caps


async def test_a_cap_is_used_up_and_never_passed(tmp_path: Path) -> None:
    figures = await caps.prove(tmp_path, seed=1, kills=2, jobs=40)
    assert 450 <= figures["cents used"] <= figures["cents at the peak"] <= 500
