"""The poller on simulated time, with the real client and the emulated API: how often it asks, and how late it hears."""

import random
from bisect import bisect_left

import pytest

from batchrun.emulator.faults import Fault
from batchrun.run.poller import MAX_CHECKS_A_SECOND
from tests.bench.polling import KIND, Figures, Play, fixed, learnt, least_product_s, log_normal

CLIPS, SLOTS = 300, 20


def busiest_second(asked_at_s: list[float]) -> int:
    moments = sorted(asked_at_s)
    return max(bisect_left(moments, at + 1.0 - 1e-6) - n for n, at in enumerate(moments))


def test_twelve_checks_a_clip_and_news_that_is_fresh() -> None:
    figures = Play(log_normal(), earlier=learnt(log_normal())).clips(CLIPS, SLOTS)
    assert figures.checks <= 13
    assert figures.part < 0.035
    assert figures.checks * figures.mean_s < 1.15 * least_product_s(), "no schedule is much better"


def test_two_per_cent_with_twelve_checks_where_the_provider_is_steady() -> None:
    draw = log_normal(sigma=0.2)
    figures = Play(draw, earlier=learnt(draw)).clips(CLIPS, SLOTS)
    assert figures.checks <= 12
    assert figures.part < 0.022


def test_nothing_needs_to_be_known_before() -> None:
    play = Play(log_normal())
    figures = play.clips(CLIPS, SLOTS)
    assert figures.checks <= 15
    assert figures.part < 0.035
    learnt_now = play.poller.latencies.of(KIND)
    assert learnt_now.median_s == pytest.approx(150, rel=0.2)
    assert learnt_now.sigma == pytest.approx(0.42, rel=0.3)


@pytest.mark.parametrize("times", [0.1, 0.33, 3.0, 4.0])
def test_another_provider_than_yesterday_is_found_out(times: float) -> None:
    draw = log_normal(times * 150)
    figures = Play(draw, earlier=learnt(log_normal())).clips(CLIPS, SLOTS)
    late = Figures(figures.took_s[150:], figures.delay_s[150:])
    assert figures.checks <= 20
    assert late.mean_s <= max(0.04 * 150 * times, 4.0)


def test_a_steady_interval_costs_more_or_is_later() -> None:
    each_5_s, each_15_s = (fixed(log_normal(), every_s, CLIPS) for every_s in (5.0, 15.0))
    figures = Play(log_normal(), earlier=learnt(log_normal())).clips(CLIPS, SLOTS)
    assert figures.checks < each_5_s.checks / 2
    assert figures.mean_s < 0.75 * each_15_s.mean_s
    assert figures.checks < 1.15 * each_15_s.checks


def test_a_crowd_that_begins_together_is_not_asked_together() -> None:
    play = Play(log_normal(), earlier=learnt(log_normal()))
    figures = play.clips(200, 200)
    first = sorted(figures.asked_at_s)[:100]
    assert busiest_second(first) <= 50
    assert max(figures.asked_at_s.count(at) for at in first) == 1


def test_never_more_requests_a_second_than_the_budget() -> None:
    figures = Play(log_normal(), earlier=learnt(log_normal())).resumed(2000, age_s=30.0)
    assert MAX_CHECKS_A_SECOND / 2 < busiest_second(figures.asked_at_s) <= MAX_CHECKS_A_SECOND


def test_nobody_starves_when_the_budget_is_short() -> None:
    """2,000 that ended long ago, in one go: each is heard of as soon as the budget allows."""
    figures = Play(log_normal()).resumed(2000, age_s=3000.0)
    took_s = max(figures.asked_at_s) - min(figures.asked_at_s)
    assert len(figures.asked_at_s) == 2000, "the first look finds each one"
    assert took_s <= 2000 / MAX_CHECKS_A_SECOND * 1.3


def test_trouble_on_the_way_costs_checks_and_loses_nobody() -> None:
    play = Play(log_normal(), earlier=learnt(log_normal()))
    play.faults.update({Fault.POLL_500: 0.1, Fault.POLL_HTML: 0.1, Fault.POLL_DROP: 0.1})
    figures = play.clips(100, SLOTS)
    assert len(figures.delay_s) == 100
    assert figures.checks <= 25


def test_a_few_that_take_very_long_are_asked_ever_more_seldom() -> None:
    """One in fifty takes half an hour: some dozens of checks, not hundreds."""

    def draw(chance: random.Random) -> float:
        return 1800.0 if chance.random() < 0.02 else chance.lognormvariate(5.0, 0.42)

    figures = Play(draw, earlier=learnt(log_normal())).clips(CLIPS, SLOTS)
    assert figures.checks <= 15
