"""A provider that hides what predictions were made from: a short run of `python -m tests.proof.hidden`."""

import pytest

from tests.proof.hidden import KINDS, report, run_chunk, simulate


@pytest.mark.timeout(300)
def test_no_clip_of_a_stranger_is_adopted() -> None:
    total = simulate(seed=20, cases=1500, processes=2)
    print(report(total))
    assert total["cases"] == 1500
    assert total["wrongly, all"] == 0
    # Not by deciding nothing: of what was created in queues of distinct pictures, most is found
    created, right = (sum(total[f"{name}, {KINDS[0]} {one}"] for one in range(3)) for name in ("created", "rightly"))
    assert created > 1000
    assert right > 0.7 * created


def test_a_chunk_is_the_same_each_time() -> None:
    once, again = (run_chunk(3, 1, 20) for _ in range(2))
    assert once == again
    assert once["unknown, all"] >= 20
