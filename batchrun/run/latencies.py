"""What predictions have taken lately, by model and duration: the newest `PLACES` of each, kept in the queue."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from batchrun.manifest.jobs import JobSpec
from batchrun.queue.records import Took
from batchrun.run.polling import Latency, latency_of

PLACES = 64
"""Enough to know the spread within a tenth, few enough to forget yesterday's provider within an hour."""
_ASSUMED_S_A_SECOND = 30.0
"""Of a clip, before anything is learnt: the published figure for this model is 150 s for 5 s."""


class ClipKind(NamedTuple):
    """Predictions of one kind take about the same time."""

    model: str
    duration_s: int


@dataclass(slots=True)
class _Known:
    latency: Latency
    took_ms: deque[int] = field(default_factory=lambda: deque(maxlen=PLACES))
    next_place: int = 0


class Latencies:
    """Begins with what earlier runs have learnt, oldest first, and goes on learning."""

    def __init__(self, earlier: Iterable[Took] = ()) -> None:
        self._known: dict[ClipKind, _Known] = {}
        for took in earlier:
            known = self._of(ClipKind(took.model, took.duration_s))
            known.took_ms.append(took.took_ms)
            known.next_place = (took.place + 1) % PLACES
        for kind in self._known:
            self._look_again(kind)

    def each(self, specs: Iterable[JobSpec]) -> Iterator[Latency]:
        """How long the prediction of each of these jobs takes."""
        return (self.of(ClipKind(spec.model, spec.duration_s)) for spec in specs)

    def of(self, kind: ClipKind) -> Latency:
        """How long the next ones will take."""
        return self._of(kind).latency

    def learn(self, kind: ClipKind, took_s: float) -> Took:
        """One prediction has completed; what the queue must keep of it, in place of the oldest one."""
        known = self._of(kind)
        took = Took(
            model=kind.model,
            duration_s=kind.duration_s,
            place=known.next_place,
            took_ms=max(1, math.ceil(took_s * 1000)),
        )
        known.took_ms.append(took.took_ms)
        known.next_place = (took.place + 1) % PLACES
        self._look_again(kind)
        return took

    def _of(self, kind: ClipKind) -> _Known:
        known = self._known.get(kind)
        if known is None:
            known = self._known[kind] = _Known(latency_of([], kind.duration_s * _ASSUMED_S_A_SECOND))
        return known

    def _look_again(self, kind: ClipKind) -> None:
        known = self._known[kind]
        known.latency = latency_of([one / 1000 for one in known.took_ms], kind.duration_s * _ASSUMED_S_A_SECOND)
