"""When to look at a prediction next. Pure.

A finished clip that nobody has looked at yet waits, and its slot with it. The next check comes when the time that it is
expected to have waited by then is worth one request: often where the end is likely, seldom where it is not. No schedule
does noticeably better: mean checks times mean delay tends to half the square of the integral of sqrt(density * survivors)
(J. B. Keller, "Optimum checking schedules for systems subject to random failure", Management Science 21, 1974).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

CEILING_S = 300.0
"""The longest pause between two checks."""
_PRICE = 0.0055
"""What a check is worth, as a part of the spread (sigma times median): about 12 checks a clip, whatever the spread."""
_GROWTH = 0.02
"""A pause is at least this part of the age: news that is late by less is early enough, however little was expected."""
_SURPRISES = 0.02
_SURPRISED_SIGMA = 1.0
"""How many predictions are taken to follow a much wider distribution: the provider may be another one today."""
_SIGMA, _SIGMA_WEIGHT = 0.6, 4
"""The spread before anything is learnt, and how many samples it is worth."""
_WIDEST_SIGMA = 2.0
"""Wider than this, e.g. seconds and hours mixed, a log-normal's mean is far from anything that happens."""
_BISECTIONS = 8
_SQRT_2 = math.sqrt(2)


@dataclass(frozen=True, slots=True)
class Latency:
    """How long predictions of one kind take: log-normal, as the few published figures are, and surprises."""

    median_s: float
    sigma: float
    is_learnt: bool = True


def latency_of(took_s: Sequence[float], assumed_median_s: float) -> Latency:
    """What past predictions say of the next ones; with none of them, the assumed median and a wide spread."""
    if not took_s:
        return Latency(assumed_median_s, _SIGMA, is_learnt=False)
    logs = [math.log(one) for one in took_s]
    mean = fmean(logs)
    squares = _SIGMA_WEIGHT * _SIGMA**2 + sum((one - mean) ** 2 for one in logs)
    return Latency(math.exp(mean), min(_WIDEST_SIGMA, math.sqrt(squares / (_SIGMA_WEIGHT + len(logs)))))


def next_check_s(age_s: float, latency: Latency, floor_s: float, stuck_after_s: float) -> float:
    """Seconds until the next check of a prediction that is `age_s` old and was running when it was looked at.

    Never under `floor_s`. As long as nothing is learnt a pause is at most half the age, so that a fast provider is not
    waited for; a prediction that becomes stuck is looked at when it does.
    """
    least_s = max(floor_s, age_s * _GROWTH)
    most_s = CEILING_S if latency.is_learnt else min(CEILING_S, age_s / 2)
    if age_s < stuck_after_s:
        most_s = min(most_s, stuck_after_s - age_s)
    return max(floor_s, min(_worth_a_check_s(age_s, latency, least_s, max(least_s, most_s)), CEILING_S))


def _worth_a_check_s(age_s: float, latency: Latency, least_s: float, most_s: float) -> float:
    """The pause, between two bounds, after which the clip is expected to have waited for as long as a check is worth."""
    price_s = _PRICE * latency.sigma * latency.median_s
    alive, ahead_s = _left(latency, age_s)

    def is_worth_it(pause_s: float) -> bool:
        return pause_s - (ahead_s - _left(latency, age_s + pause_s)[1]) / alive >= price_s

    if alive <= 0.0 or not is_worth_it(most_s):
        return most_s
    if is_worth_it(least_s):
        return least_s
    for _ in range(_BISECTIONS):
        pause_s = math.sqrt(least_s * most_s)
        least_s, most_s = (least_s, pause_s) if is_worth_it(pause_s) else (pause_s, most_s)
    return most_s


def _left(latency: Latency, age_s: float) -> tuple[float, float]:
    """The share of predictions that still run at an age, and the integral of that share from there on, seconds."""
    wide = max(latency.sigma, _SURPRISED_SIGMA)
    usual_alive, usual_ahead_s = _log_normal_left(latency.median_s, latency.sigma, age_s)
    rare_alive, rare_ahead_s = _log_normal_left(latency.median_s, wide, age_s)
    return (
        (1 - _SURPRISES) * usual_alive + _SURPRISES * rare_alive,
        (1 - _SURPRISES) * usual_ahead_s + _SURPRISES * rare_ahead_s,
    )


def _log_normal_left(median_s: float, sigma: float, age_s: float) -> tuple[float, float]:
    mean_s = median_s * math.exp(sigma**2 / 2)
    if age_s <= 0:
        return 1.0, mean_s
    z = (math.log(age_s) - math.log(median_s)) / sigma
    alive = math.erfc(z / _SQRT_2) / 2
    return alive, mean_s * math.erfc((z - sigma) / _SQRT_2) / 2 - age_s * alive


def took_s(running_at_s: float, ended_at_s: float, told_s: float | None) -> float:
    """How long a prediction took that was seen running at one age and ended at a later one.

    The provider's own figure leaves its queue out, so it counts only where it does not contradict what was seen.
    """
    if told_s is not None and running_at_s < told_s <= ended_at_s:
        return told_s
    return (running_at_s + ended_at_s) / 2
