"""How fast the starts go after the provider has throttled."""

from hypothesis import given
from hypothesis import strategies as st

from batchrun.queue.records import Pace
from batchrun.run.pace import Throttle

moments = st.lists(st.floats(0, 5000), max_size=30)
paces = st.builds(
    Pace,
    concurrency=st.integers(1, 10_000),
    per_minute=st.integers(1, 100_000),
    max_unknown=st.just(3),
    stuck_after_ms=st.just(3_600_000),
    send_within_s=st.just(30.0),
)


@given(paces, moments, st.floats(0, 10_000))
def test_never_above_the_configured_pace_and_never_nothing(pace: Pace, at: list[float], later_s: float) -> None:
    throttle = Throttle()
    now_s = 0.0
    for moment_s in at:
        now_s += moment_s
        before = throttle.paced(pace, now_s)
        throttle = throttle.lowered(now_s)
        after = throttle.paced(pace, now_s)
        assert after.slots is not None
        assert before.slots is not None
        assert 1 <= after.slots <= before.slots <= pace.concurrency
        assert 1 <= after.per_minute <= before.per_minute <= pace.per_minute
    assert throttle.level_at(now_s + later_s) >= throttle.level_at(now_s)
    assert throttle.paced(pace, now_s + 601) == Throttle().paced(pace, 0)  # it comes back by itself


def test_one_burst_of_refusals_is_one_message() -> None:
    once = Throttle().lowered(100.0)
    assert once.level == 0.5
    assert once.lowered(105.0) is once
    assert once.lowered(111.0).level < 0.3


def test_it_grows_by_equal_steps() -> None:
    low = Throttle().lowered(0.0)
    steps = [low.level_at(at_s + 60) - low.level_at(at_s) for at_s in (0.0, 60.0, 120.0)]
    assert max(steps) - min(steps) < 1e-9
    assert steps[0] > 0
