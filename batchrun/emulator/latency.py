"""How long the provider takes. Source: the few published figures for this model (log-normal, median 150 s for 5 s).

Where somebody has real figures, those are drawn from instead.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_MEDIAN_S = {5: 150.0, 10: 260.0}
_SIGMA = {5: math.log(300 / 150) / 1.645, 10: math.log(550 / 260) / 1.645}
_TAIL = 0.005
_TAIL_S = (1200.0, 2400.0)


@dataclass(frozen=True, slots=True)
class Latency:
    """Draws the time that one generation takes, in seconds, divided by `speed`; 0 for `speed` None (as fast as can be)."""

    speed: float | None = 1.0
    seen_s: Mapping[int, Sequence[float]] = field(default_factory=dict)
    """What generations have really taken, in seconds, by the clip's length in seconds."""

    def draw_s(self, duration_s: int, chance: random.Random) -> float:
        """One generation's time."""
        if self.speed is None:
            return 0.0
        if seen_s := self.seen_s.get(duration_s):
            return chance.choice(seen_s) / self.speed
        if chance.random() < _TAIL:
            return chance.uniform(*_TAIL_S) / self.speed
        median_s, sigma = _MEDIAN_S.get(duration_s, 150.0), _SIGMA.get(duration_s, 0.42)
        return chance.lognormvariate(math.log(median_s), sigma) / self.speed
