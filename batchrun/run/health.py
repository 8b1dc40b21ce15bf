"""Whether the provider answers at all: one failed request is weather, minutes without a single answer are an outage."""

from collections.abc import Callable
from dataclasses import dataclass

from batchrun.clock import Clock

GIVE_UP_AFTER_S = 180.0


@dataclass(slots=True)
class Health:
    """One a run, told about every request that may be repeated."""

    clock: Clock
    on_outage: Callable[[str], None]
    """Called once, with the last error, when nothing has worked for too long."""
    give_up_after_s: float = GIVE_UP_AFTER_S
    failing_since_s: float | None = None
    _given_up: bool = False

    def worked(self) -> None:
        """An answer came."""
        self.failing_since_s = None

    def failed(self, message: str) -> None:
        """No answer, or one that says that the provider is in trouble."""
        now_s = self.clock.monotonic_s()
        if self.failing_since_s is None:
            self.failing_since_s = now_s
        elif now_s - self.failing_since_s >= self.give_up_after_s and not self._given_up:
            self._given_up = True
            self.on_outage(message)
