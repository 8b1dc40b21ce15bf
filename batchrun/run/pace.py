"""How fast to start after the provider has throttled: half at once, back to the full pace in small steps. Pure.

Additive increase and multiplicative decrease, as in TCP (Chiu and Jain, 1989): several processes that share one account
come to fair shares without knowing of each other.
"""

from dataclasses import dataclass, replace

from batchrun.queue.records import Pace

_DECREASE = 0.5
_LEAST = 1 / 64
_RECOVERY_S = 600.0
"""From nothing to the full pace."""
_BURST_S = 10.0
"""Refusals so close together are one message."""


@dataclass(frozen=True, slots=True)
class Throttle:
    """The part of the configured pace that is used, as of a moment on the monotonic clock."""

    level: float = 1.0
    at_s: float = 0.0

    def level_at(self, now_s: float) -> float:
        """From above 0 to 1."""
        return min(1.0, self.level + max(0.0, now_s - self.at_s) / _RECOVERY_S)

    def lowered(self, now_s: float) -> "Throttle":
        """After the provider has said that it is too much."""
        if self.level < 1.0 and now_s - self.at_s < _BURST_S:
            return self
        return Throttle(max(_LEAST, self.level_at(now_s) * _DECREASE), now_s)

    def paced(self, pace: Pace, now_s: float) -> Pace:
        """The pace for now: never above the configured one, never nothing."""
        level = self.level_at(now_s)
        return replace(
            pace,
            slots=max(1, int(pace.concurrency * level)),
            per_minute=max(1, int(pace.per_minute * level)),
        )
