"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere. An observer like any other."""

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import NoReturn, Self, TextIO

from tqdm import tqdm

from batchrun.cli.logfile import LogFile
from batchrun.cli.terminal import visible
from batchrun.clock import Clock, rfc3339
from batchrun.money import decimal_usd, format_usd
from batchrun.run.events import Event, Kind

_ENDS = {
    Kind.DONE: "done",
    Kind.FAILED: "failed",
    Kind.TASK_FAILED: "failed at the provider",
    Kind.REJECTED: "rejected",
    Kind.UNKNOWN: "unknown",
}
_WORTH_A_LINE = {
    *_ENDS,
    Kind.WARNED,
    Kind.PUT_OFF,
    Kind.REFUSED,
    Kind.NOT_SENT,
    Kind.LEASE_LOST,
    Kind.NO_SIDECAR,
    Kind.PARKED,
    Kind.LATE,
    Kind.LATE_CLIP,
    Kind.LOST,
}
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
        self._clock = clock
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._verbose = verbose
        self._play_money = money
        self._total = 0
        self._ended = 0
        self._reserved_usd_micros = 0
        self._running: set[tuple[str, str]] = set()
        self._bar: tqdm[NoReturn] | None = None
        if self._stream.isatty() and not quiet:
            self._bar = tqdm(
                total=0, unit="clip", file=self._stream, dynamic_ncols=True, leave=False, smoothing=0.1,
                bar_format="{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} clips, {elapsed}<{remaining}{postfix}",
            )  # fmt: skip

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away and leave a clean line."""
        if self._bar is not None:
            self._bar.close()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        self._count(event)
        if self._bar is not None:
            self._draw()
        if self._quiet:
            return
        if event.kind in _WHOLE_RUN:
            self._line(event.detail)
        elif self._verbose or (event.kind in _WORTH_A_LINE and not (self._bar is not None and event.kind is Kind.DONE)):
            self._line(self._words(event))

    def _count(self, event: Event) -> None:
        job = (event.batch, event.key)
        match event.kind:
            case Kind.PLANNED:
                self._total = max(event.count, self._ended)
            case Kind.INTENT:
                self._reserved_usd_micros += event.usd_micros
                self._running.add(job)
            case kind if kind in _ENDS:
                self._ended += 1
                self._total = max(self._total, self._ended)
        if event.kind in {*_ENDS, Kind.COMPLETED, Kind.REFUSED, Kind.NOT_SENT}:
            self._running.discard(job)

    def _draw(self) -> None:
        if self._bar is None:
            return
        self._bar.total = self._total
        self._bar.n = self._ended
        money = self._play_money or f"{format_usd(self._reserved_usd_micros)} this run"
        self._bar.set_postfix_str(f"{len(self._running)} running, {money}", refresh=False)
        self._bar.refresh()

    def _words(self, event: Event) -> str:
        what = _ENDS.get(event.kind, event.kind.value.replace("_", " "))
        count = f" ({self._ended}/{self._total})" if event.kind in _ENDS else ""
        detail = f": {event.detail}" if event.detail else ""
        name = f"{event.batch}/{event.key} " if event.key else ""
        return f"{name}{what}{count}{detail}"

    def _line(self, text: str) -> None:
        text = visible(text)
        if self._bar is not None:
            with suppress(OSError, ValueError):
                self._bar.write(text, file=self._stream)
        else:
            moment = rfc3339(self._clock.now_ms())[11:19]
            with suppress(OSError, ValueError):  # nobody reads any more: the run goes on
                print(f"{moment} {text}", file=self._stream, flush=True)


class RunLog:
    """A run in a log file, a JSON line an event; `pid` tells processes apart that share the file."""

    def __init__(self, file: LogFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._pid = os.getpid()

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
