"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere. An observer like any other."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TextIO

from batchrun.cli.logfile import LogFile
from batchrun.cli.screen import Count, Screen
from batchrun.cli.terminal import visible
from batchrun.clock import Clock, rfc3339
from batchrun.money import decimal_usd, format_usd
from batchrun.run.events import Event, Kind

_ENDS = frozenset({Kind.DONE, Kind.FAILED, Kind.REJECTED, Kind.LOST, Kind.PARKED})
"""Nothing more happens to the job in this run by itself."""
_RUNS_NO_MORE = _ENDS | {Kind.COMPLETED, Kind.TASK_FAILED, Kind.UNKNOWN, Kind.REFUSED, Kind.NOT_SENT}
_WORTH_A_LINE = _ENDS | {
    Kind.TASK_FAILED,
    Kind.UNKNOWN,
    Kind.WARNED,
    Kind.PUT_OFF,
    Kind.REFUSED,
    Kind.NOT_SENT,
    Kind.LEASE_LOST,
    Kind.NO_SIDECAR,
    Kind.LATE,
    Kind.LATE_CLIP,
    Kind.LATE_LOST,
}
_WORDS = {Kind.TASK_FAILED: "failed at the provider"}
_WHOLE_RUN = {Kind.WAITING, Kind.NOTE}


class Progress:
    """Hears the events of a run and shows them on standard error."""

    def __init__(
        self, clock: Clock, *, quiet: bool, verbose: bool, money: str | None = None, stream: TextIO | None = None
    ) -> None:
        """See the class.

        Args:
            clock: of the lines' times.
            quiet: no bar and no lines.
            verbose: a line for every event.
            money: what the bar says in place of an amount that is real.
            stream: where to; standard error.
        """
        stream = stream or sys.stderr
        self._clock = clock
        self._quiet = quiet
        self._verbose = verbose
        self._play_money = money
        self._total: int | None = None
        self._ended = 0
        self._without_clip: set[tuple[str, str]] = set()
        """Ended since the last plan. A person may bring them back at any moment: they do not end twice."""
        self._reserved_usd_micros = 0
        self._running: set[tuple[str, str]] = set()
        self._has_bar = stream.isatty() and not quiet
        self._screen = Screen(stream, has_bar=self._has_bar)

    def __enter__(self) -> Self:
        """Begin to show."""
        self._show()
        self._screen.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away and leave a clean line."""
        self._screen.close()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        self._count(event)
        self._show()
        if self._quiet:
            return
        if event.kind in _WHOLE_RUN:
            self.say(event.detail)
        elif self._verbose or (event.kind in _WORTH_A_LINE and not (self._has_bar and event.kind is Kind.DONE)):
            self.say(self._words(event))

    def say(self, text: str) -> None:
        """Show a line; without a bar with its time."""
        text = visible(text)
        self._screen.line(text if self._has_bar else f"{rfc3339(self._clock.now_ms())[11:19]} {text}")

    @contextmanager
    def asking(self, question: str) -> Iterator[None]:
        """Show a question for the time of the block. Not longer than until the plan is made: no answer in time is one."""
        self._screen.ask(visible(question))
        try:
            yield
        finally:
            self._screen.ask("")

    def _count(self, event: Event) -> None:
        job = (event.batch, event.key)
        if event.kind is Kind.PLANNED:
            self._screen.ask("")
            self._total = self._ended + event.count
            self._without_clip.clear()
        elif event.kind is Kind.INTENT:
            self._reserved_usd_micros += event.usd_micros
            self._running.add(job)
        elif event.kind in _ENDS:
            self._ended += job not in self._without_clip
            if event.kind is not Kind.DONE:
                self._without_clip.add(job)
        if event.kind in _RUNS_NO_MORE:
            self._running.discard(job)

    @property
    def _known_total(self) -> int | None:
        """None also where more has ended than was planned: the next queue of a run is not planned yet."""
        return None if self._total is None or self._ended > self._total else self._total

    def _show(self) -> None:
        if not self._has_bar:
            return
        money = self._play_money or f"{format_usd(self._reserved_usd_micros)} this run"
        self._screen.show(Count(self._ended, self._known_total, f"{len(self._running)} running, {money}"))

    def _words(self, event: Event) -> str:
        what = _WORDS.get(event.kind, event.kind.value.replace("_", " "))
        total = "" if self._known_total is None else f"/{self._known_total}"
        count = f" ({self._ended}{total})" if event.kind in _ENDS else ""
        detail = f": {event.detail}" if event.detail else ""
        name = f"{event.batch}/{event.key} " if event.key else ""
        return f"{name}{what}{count}{detail}"


class RunLog:
    """A run in a log file, a JSON line an event; `pid` tells processes apart that share the file."""

    def __init__(self, file: LogFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._pid = os.getpid()

    @contextmanager
    def warning_by(self, say: Callable[[str], None]) -> Iterator[None]:
        """Within the block it is said by this that lines are lost."""
        before, self._file.warn = self._file.warn, lambda text: say(f"warning: {text}")
        try:
            yield
        finally:
            self._file.warn = before

    def __call__(self, event: Event) -> None:
        """Write one event."""
        usd = decimal_usd(event.usd_micros) if event.usd_micros else None
        self.say(event.kind, batch=event.batch, id=event.key, detail=event.detail, count=event.count or None, usd=usd)

    def say(self, event: str, **more: object) -> None:
        """Write one line; without what is empty."""
        row = {"at": rfc3339(self._clock.now_ms()), "pid": self._pid, "event": str(event)}
        self._file.write(
            json.dumps(row | {name: one for name, one in more.items() if one not in (None, "")}, ensure_ascii=False)
        )


def both(*observers: Callable[[Event], None]) -> Callable[[Event], None]:
    """One observer that tells several."""

    def tell(event: Event) -> None:
        for observer in observers:
            observer(event)

    return tell
