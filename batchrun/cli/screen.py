"""Whoever writes to the terminal while a run goes on: a thread of its own, for which the run never waits.

A terminal may stop reading at any moment (Ctrl-S, `2>&1 | less`, a stalled ssh), and then a write lasts until it goes on.
"""

import os
import select
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO

from tqdm import tqdm

_MOST_LINES = 10_000
"""So many wait for a terminal that does not read; what comes after them is counted only."""
_LOOK_S = 0.25
"""The bar is drawn anew when it says something else, which it does each second at least."""
_GOODBYE_S = 2.0
_PLAIN = "{n_fmt} clips, {elapsed}{postfix}"
_OF_TOTAL = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} clips, {elapsed}<{remaining}{postfix}"


@dataclass(frozen=True, slots=True)
class Count:
    """What the bar shows. `total` is None while nobody knows it."""

    ended: int = 0
    total: int | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class _News:
    """What the thread has been told since it last looked."""

    lines: list[str]
    dropped: int
    count: Count
    question: str
    is_last: bool


class Screen:
    """Lines, one after another, and below them a bar or a question."""

    def __init__(self, stream: TextIO, *, has_bar: bool) -> None:
        self._out = _Out(stream)
        self._has_bar = has_bar
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._dropped = 0
        self._count = Count()
        self._question = ""
        self._asked = ""
        self._is_closing = False
        self._thread = threading.Thread(target=self._work, name="terminal", daemon=True)

    def open(self) -> None:
        """Begin."""
        self._thread.start()

    def line(self, text: str) -> None:
        """Say a line; it is lost when nobody has read the last ones."""
        with self._changed:
            if len(self._lines) < _MOST_LINES:
                self._lines.append(text)
            else:
                self._dropped += 1
            self._changed.notify()

    def show(self, count: Count) -> None:
        """Let the bar say this. Wakes nobody: a thousand events a second are no reason to draw a thousand bars."""
        with self._changed:
            self._count = count

    def ask(self, question: str) -> None:
        """Put a question in the bar's place; an empty one gives it back."""
        with self._changed:
            self._question = question
            self._changed.notify()

    def close(self) -> None:
        """Take the bar away and leave a clean line; or leave, when nobody reads."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(_GOODBYE_S)

    # ------------------------------------------------------------------ in the thread

    def _work(self) -> None:
        # Nobody else may touch the bar: tqdm has a lock, and its owner may be stuck.
        bar = _Bar(file=self._out, unit="clip", dynamic_ncols=True, leave=False) if self._has_bar else None
        shown, is_last = "", False
        while not is_last:
            news = self._next()
            is_last = news.is_last
            says = ""
            if bar is not None:
                bar.tell(news.count)
                says = "" if news.question or is_last else str(bar)
            if news.lines or news.question != self._asked or says != shown:
                self._draw(news, bar)
                shown = says
        if bar is not None:
            bar.close()
        self._out.send()

    def _next(self) -> _News:
        with self._changed:
            self._changed.wait_for(self._has_news, _LOOK_S if self._has_bar else None)
            news = _News(self._lines, self._dropped, self._count, self._question, self._is_closing)
            self._lines, self._dropped = [], 0
        return news

    def _has_news(self) -> bool:
        return bool(self._lines) or self._is_closing or self._question != self._asked

    def _draw(self, news: _News, bar: "_Bar | None") -> None:
        if self._asked:
            self._out.write("\n")  # whatever was typed stays where it is
        elif bar is not None:
            bar.clear()
        for line in news.lines:
            self._out.write(f"{line}\n")
        if news.dropped:
            self._out.write(f"{news.dropped} lines are left out here: they were not read in time\n")
        self._asked = news.question
        if news.question:
            self._out.write(f"{news.question} ")
        elif bar is not None and not news.is_last:
            bar.refresh()
        self._out.send()


class _Bar(tqdm):  # type: ignore[type-arg]  # it has parameters for the type checker only
    """The bar; says how many clips have ended, and of how many where that is known."""

    monitor_interval = 0  # no other thread draws it

    def tell(self, count: Count) -> None:
        self.n, self.total = count.ended, count.total
        self.bar_format = _PLAIN if count.total is None else _OF_TOTAL
        self.set_postfix_str(count.words, refresh=False)


class _Out:
    """What tqdm takes for the terminal. It keeps the text until it is sent, so that no lock is held while that lasts.

    Sent is to the descriptor itself: a thread that is stuck with the lock of `sys.stderr` makes Python abort at its end.
    """

    def __init__(self, stream: TextIO) -> None:
        self.encoding = stream.encoding or "utf-8"
        self._stream = stream
        self._text: list[str] = []

    def write(self, text: str) -> None:
        self._text.append(text)

    def flush(self) -> None:
        """Asked for by tqdm after each bar."""

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def send(self) -> None:
        """Blocks while nobody reads."""
        text, self._text = "".join(self._text), []
        with suppress(OSError, ValueError):  # nobody will ever read: the run goes on
            try:
                descriptor = self.fileno()
            except (OSError, ValueError):  # it is no file
                self._stream.write(text)
                self._stream.flush()
            else:
                _write(descriptor, text.encode(self.encoding, "backslashreplace"))


def _write(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # another program that shares the terminal has made it so
            select.select([], [descriptor], [])
