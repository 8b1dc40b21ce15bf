"""Every named crash point in every state is hit once (see `crash`)."""

import pytest

from tests.sim.crash import STORIES, kill_at, points_of


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", STORIES)
def test_every_crash_point(name: str) -> None:
    points = points_of(STORIES[name])
    assert len(points) > 100
    for wanted in points:
        kill_at(wanted, STORIES[name])
