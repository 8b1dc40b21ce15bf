"""When to look next, and what past predictions say: properties of pure functions."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrun.queue.records import Took
from batchrun.run.latencies import PLACES, ClipKind, Latencies
from batchrun.run.polling import CEILING_S, Latency, latency_of, next_check_s, took_s

seconds = st.floats(0, 10_000_000)
floors = st.floats(0.01, 60)
latencies = st.builds(Latency, st.floats(0.01, 5000), st.floats(0.1, 2), st.booleans())
KIND = ClipKind("m", 5)
NEVER_STUCK_S = 1e9


@given(seconds, latencies, floors, st.floats(1, 100_000))
def test_checks_are_never_closer_than_the_floor_and_always_come(
    age_s: float, latency: Latency, floor_s: float, stuck_s: float
) -> None:
    assert floor_s <= next_check_s(age_s, latency, floor_s, stuck_s) <= CEILING_S


@given(seconds, st.floats(0, 1000), latencies, floors)
def test_what_was_seen_running_later_is_not_asked_earlier(
    age_s: float, more_s: float, latency: Latency, floor_s: float
) -> None:
    first_s, second_s = (next_check_s(one, latency, floor_s, NEVER_STUCK_S) for one in (age_s, age_s + more_s))
    rounding_s = 0.05 * (first_s + second_s)  # the pause is found to a few per cent
    assert age_s + first_s <= age_s + more_s + second_s + rounding_s


@given(st.floats(0, 100_000), latencies, floors)
def test_pauses_grow_with_the_age_in_the_end(age_s: float, latency: Latency, floor_s: float) -> None:
    assert next_check_s(age_s, latency, floor_s, NEVER_STUCK_S) >= min(0.02 * age_s, CEILING_S)


@given(st.floats(0, 3600), latencies, floors)
def test_a_prediction_is_looked_at_when_it_becomes_stuck(age_s: float, latency: Latency, floor_s: float) -> None:
    pause_s = next_check_s(age_s, latency, floor_s, 3600)
    assert age_s == 3600 or age_s + pause_s <= max(3600, age_s + max(floor_s, 0.02 * age_s)) + 1e-6


@given(st.floats(0, 1000), st.floats(0.1, 1000), floors)
def test_nobody_waits_long_for_an_unknown_provider(age_s: float, median_s: float, floor_s: float) -> None:
    assert next_check_s(age_s, latency_of([], median_s), floor_s, NEVER_STUCK_S) <= max(floor_s, age_s / 2)


@given(st.floats(1, 500), st.floats(1, 500), st.floats(0.1, 1), st.floats(0.1, 1))
def test_minutes_are_treated_as_seconds_are(age_s: float, median_s: float, sigma: float, scale: float) -> None:
    usual_s = next_check_s(age_s, Latency(median_s, sigma), 0.1, NEVER_STUCK_S)
    scaled_s = next_check_s(scale * age_s, Latency(scale * median_s, sigma), scale * 0.1, NEVER_STUCK_S)
    if usual_s < CEILING_S:
        assert scaled_s == pytest.approx(scale * usual_s, rel=0.05)


@pytest.mark.parametrize("sigma", [0.3, 0.42, 0.8])
def test_about_a_dozen_checks_whatever_the_spread(sigma: float) -> None:
    chance, latency, checks = random.Random(1), Latency(1500.0, sigma), 0
    for _ in range(500):
        took, age_s = chance.lognormvariate(math.log(1500), sigma), 0.0
        while age_s < took:
            age_s += next_check_s(age_s, latency, 5.0, NEVER_STUCK_S)
            checks += 1
    assert 10 <= checks / 500 <= 15


def test_what_is_learnt_is_what_happened() -> None:
    chance = random.Random(1)
    learnt = latency_of([chance.lognormvariate(math.log(80), 0.3) for _ in range(1000)], 150)
    assert learnt.median_s == pytest.approx(80, rel=0.05)
    assert learnt.sigma == pytest.approx(0.3, rel=0.05)


def test_one_prediction_says_where_and_not_how_wide() -> None:
    learnt = latency_of([7.0], 150)
    assert (learnt.median_s, learnt.is_learnt) == (pytest.approx(7.0), True)
    assert learnt.sigma > 0.5


@given(st.lists(st.floats(0.001, 100_000), min_size=1, max_size=64), floors)
def test_whatever_was_learnt_the_next_check_comes(took: list[float], floor_s: float) -> None:
    age_s = 0.0
    for _ in range(100):
        pause_s = next_check_s(age_s, latency_of(took, 150), floor_s, 3600)
        assert floor_s <= pause_s <= CEILING_S
        age_s += pause_s


def test_nothing_learnt_is_what_is_assumed() -> None:
    assert latency_of([], 150).median_s == 150
    assert not latency_of([], 150).is_learnt


@given(st.floats(0, 1000), st.floats(0.001, 1000), st.none() | st.floats(0, 10_000))
def test_what_it_took_lies_between_the_looks(running_s: float, more_s: float, told_s: float | None) -> None:
    assert running_s <= took_s(running_s, running_s + more_s, told_s) <= running_s + more_s


def test_the_providers_own_figure_counts_where_it_fits() -> None:
    assert took_s(100, 120, 117) == 117
    assert took_s(100, 120, 90) == 110, "it waited in the provider's queue: the figure leaves that out"
    assert took_s(100, 120, 500) == 110
    assert took_s(100, 120, None) == 110


def test_the_newest_take_the_places_of_the_oldest() -> None:
    latencies = Latencies()
    rows = [latencies.learn(KIND, 100.0) for _ in range(PLACES)]
    assert [row.place for row in rows] == list(range(PLACES))
    for _ in range(PLACES):
        assert latencies.learn(KIND, 300.0).place < PLACES
    assert latencies.of(KIND).median_s == pytest.approx(300)
    assert latencies.of(ClipKind("m", 10)).median_s == 300, "nothing is known of the longer clips: assumed"


def test_a_later_run_goes_on_after_the_newest() -> None:
    earlier = [Took(model="m", duration_s=5, place=at, took_ms=60_000) for at in (7, 8, 9)]
    latencies = Latencies(earlier)
    assert latencies.of(KIND).median_s == pytest.approx(60)
    assert latencies.learn(KIND, 61).place == 10


def test_another_provider_is_learnt_within_a_ring() -> None:
    latencies = Latencies()
    for _ in range(PLACES):
        latencies.learn(KIND, 150.0)
    for _ in range(PLACES // 4):
        latencies.learn(KIND, 450.0)
    assert latencies.of(KIND).sigma > 0.45, "while both are remembered, anything between is expected"
