"""Stopping in two stages: the first signal drains, the second leaves now."""

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Stop:
    """What a run looks at to know whether it shall end."""

    drain: asyncio.Event = field(default_factory=asyncio.Event)
    """Submit nothing new; go on with what is paid for."""
    now: asyncio.Event = field(default_factory=asyncio.Event)
    """Leave at once; everything is on disk anyway."""
    signal_number: int | None = None
    """The first signal that came."""

    def ask(self, signal_number: int | None = None) -> None:
        """Ask once to drain, ask again to leave now."""
        if self.drain.is_set():
            self.now.set()
            return
        self.signal_number = signal_number
        self.drain.set()

    def hang_up(self) -> None:
        """Ask once to drain: the terminal is gone. Kernel and shell both say so, which is no second wish."""
        if not self.drain.is_set():
            self.ask(signal.SIGHUP)

    async def before(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The work's value; None when to drain is asked for first, which cancels the work."""
        doing, asked = asyncio.ensure_future(work), asyncio.ensure_future(self.drain.wait())
        try:
            await asyncio.wait((doing, asked), return_when=asyncio.FIRST_COMPLETED)
            return doing.result() if doing.done() else None
        finally:
            doing.cancel()
            asked.cancel()
            await asyncio.wait((doing, asked))


@contextmanager
def on_signals(stop: Stop) -> Iterator[None]:
    """Within the block SIGINT, SIGTERM and SIGHUP ask `stop`; afterwards the former handlers are back.

    SIGHUP stays ignored where it was: that is what `nohup` is for.
    """
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]
    for number in before:
        if number is signal.SIGHUP:
            loop.add_signal_handler(number, stop.hang_up)
        else:
            loop.add_signal_handler(number, stop.ask, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
