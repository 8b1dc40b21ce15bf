"""The gate before the money: who may start now, highest priority first, under slots, rate and caps of the whole queue."""

import asyncio
import heapq
import itertools
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchrun.clock import Clock, rfc3339
from batchrun.provider.client import Client
from batchrun.provider.outcome import ProviderError
from batchrun.queue.records import (
    Cap,
    CapReached,
    Closed,
    NotYet,
    Pace,
    Scope,
    Started,
    SubmitDecision,
    SubmitRequest,
    TooManyUnknown,
)
from batchrun.queue.states import AttemptState
from batchrun.queue.store import Queue
from batchrun.run.events import Event, Kind, Observer
from batchrun.run.halts import Halt, HaltKind
from batchrun.run.health import Health
from batchrun.run.pace import Throttle

_LOOK_AGAIN_S = 1.0
"""Another process may have given a slot back; nobody tells us."""
_DOUBTS_S = 10.0
"""While too much is unknown: the reconciler tells as soon as something is settled."""
_MAX_GROUP = 200
_THROTTLED_FOR_S = 600.0
"""So long every submit may be refused for being too many before the run stops buying."""
_BALANCE_AGE_S = 10.0
KEEP_BALANCE = "keep_balance"
MIN_FREE_BYTES = 50_000_000
"""For the write-ahead log of some thousand answers."""

_Waiting = tuple[int, int, SubmitRequest, "asyncio.Future[SubmitDecision]"]


class BalanceGuard:
    """`keep_balance`, best effort: what may still go before the account's balance falls below a batch's mark.

    One for all batches of the run: whatever one of them buys is gone for the others as well.
    """

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._balance: int | None = None
        self._asked_s = 0.0
        self.keep_usd_micros: dict[int, int] = {}
        """By batch; only those with `keep_balance`."""

    async def look(self) -> None:
        """Ask for the balance, when the last answer is old; a key that may not see it can still buy."""
        now_s = self._clock.monotonic_s()
        if self.keep_usd_micros and (self._balance is None or now_s - self._asked_s > _BALANCE_AGE_S):
            with suppress(ProviderError):
                self._balance = await self._client.balance()
                self._asked_s = now_s

    def refusal(self, batch_id: int, price_usd_micros: int, before_usd_micros: int) -> CapReached | None:
        """A refusal when the price does not fit above the batch's mark beside what stands before it in the group."""
        keep = self.keep_usd_micros.get(batch_id)
        if keep is None or self._balance is None or before_usd_micros + price_usd_micros <= self._balance - keep:
            return None
        return CapReached(Cap(name=KEEP_BALANCE, scope=Scope(), limit_usd_micros=keep), self._balance - keep)

    def started(self, price_usd_micros: int) -> None:
        """The price was reserved."""
        if self._balance is not None:
            self._balance -= price_usd_micros


class DiskGuard:
    """Buys nothing when what is bought could not be written down: looks at the free space of the queue's disk."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._asked_s: float | None = None
        self._free_bytes = MIN_FREE_BYTES

    def halt(self) -> Halt | None:
        """Why nothing may be bought now, looked at once a second."""
        now_s = self._clock.monotonic_s()
        if self._asked_s is None or now_s - self._asked_s >= 1.0:
            self._asked_s, self._free_bytes = now_s, shutil.disk_usage(self._folder).free
        if self._free_bytes >= MIN_FREE_BYTES:
            return None
        free, least = self._free_bytes // 1_000_000, MIN_FREE_BYTES // 1_000_000
        return Halt(
            HaltKind.DISK_FULL, f"only {free} MB are free in {self._folder}, {least} MB are needed to buy safely"
        )


@dataclass(slots=True)
class Starter:
    """One a run. `run` must be running for `start` to come back."""

    queue: Queue
    clock: Clock
    pace: Pace
    observer: Observer
    balance: BalanceGuard | None = None
    keeping: set["asyncio.Task[Any]"] = field(default_factory=set)
    """Facts being written down; a run ends only after them."""
    hopeful: Callable[[], Awaitable[bool]] | None = None
    """Whether submits of unknown outcome may still be settled by themselves."""
    health: Health | None = None
    disk: DiskGuard | None = None
    halt: Callable[[Halt], None] = lambda _: None
    server_ahead_ms: Callable[[], int | None] = lambda: None
    """The provider's clock less ours, where it is known."""
    closed: bool = False
    _ready: list[_Waiting] = field(default_factory=list)
    _order: "itertools.count[int]" = field(default_factory=itertools.count)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _hold_until_s: float = 0.0
    _refused_since_s: float | None = None
    _throttle: Throttle = field(default_factory=Throttle)
    _said: str = ""

    async def start(self, request: SubmitRequest) -> SubmitDecision:
        """Wait for a turn: anything but NotYet. A caller that is cancelled leaves the line."""
        if self.closed:
            return Closed()
        future: asyncio.Future[SubmitDecision] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._ready, (-request.priority, next(self._order), request, future))
        self._wake.set()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                await asyncio.shield(self._undo(future.result()))
            raise

    def close(self) -> None:
        """Start nothing more: everybody in line hears it."""
        self.closed = True
        for *_, future in self._ready:
            if not future.done():
                future.set_result(Closed())
        self._wake.set()

    def slot_freed(self) -> None:
        """A prediction of this run has ended, or a submit has its answer."""
        self._wake.set()

    def throttled(self, hold_s: float | None = None) -> None:
        """The provider said that it is too much: start more slowly, and after a submit nothing at all for `hold_s`."""
        now_s = self.clock.monotonic_s()
        self._throttle = self._throttle.lowered(now_s)
        pace = self._throttle.paced(self.pace, now_s)
        slower = f"at most {pace.slots} at once and {pace.per_minute} a minute for now"
        if hold_s is None:
            self._say(f"the provider throttles: {slower}")
            return
        rested_s, self._hold_until_s = now_s - self._hold_until_s, max(self._hold_until_s, now_s + hold_s)
        self._say(f"the provider throttles: no submits for {hold_s:.0f} s, then {slower}")
        if self._refused_since_s is None or rested_s >= _THROTTLED_FOR_S / 2:
            self._refused_since_s = now_s  # two refusals an hour apart are no row of refusals
        if now_s - self._refused_since_s >= _THROTTLED_FOR_S:
            minutes = _THROTTLED_FOR_S / 60
            self.halt(
                Halt(HaltKind.THROTTLED, f"the provider has refused every submit for {minutes:.0f} min: too many")
            )

    def accepted(self) -> None:
        """A submit was taken."""
        self._refused_since_s = None

    async def run(self) -> None:
        """Serve the line, until cancelled."""
        while True:
            self._wake.clear()  # before looking: what happens meanwhile must not be slept over
            group = self._take()
            if not group:
                await self._sleep(None)
                continue
            if self.closed:
                for *_, future in group:
                    future.set_result(Closed())
                continue
            if (hold_s := self._hold_until_s - self.clock.monotonic_s()) > 0:
                self._put_back(group)
                await self._sleep(hold_s)
                continue
            if self.health is not None and self.health.is_open:  # a POST into an outage ends as an unknown outcome
                self._put_back(group)
                await self.health.closed()
                continue
            not_yet = await self._serve(group)
            if not_yet is not None:
                await self._sleep(self._patience_s(not_yet))

    async def _serve(self, group: list[_Waiting]) -> NotYet | None:
        """One transaction for the group; who must wait stays in line. The last reason to wait, if any."""
        if self.balance is not None:
            await self.balance.look()
            group = self._above_the_mark(group, self.balance)
        if not group or self.closed:
            self._put_back(group)
            return None
        writing = asyncio.create_task(self._begin(group))
        self.keeping.add(writing)  # once handed over it is written: who is told must not depend on a stop
        writing.add_done_callback(self.keeping.discard)
        return await asyncio.shield(writing)

    async def _begin(self, group: list[_Waiting]) -> NotYet | None:
        if self.disk is not None and (full := self.disk.halt()) is not None:
            self.halt(full)
            return await self._tell(group, [Closed()] * len(group))
        requests = [request for _, _, request, _ in group]
        pace = self._throttle.paced(self.pace, self.clock.monotonic_s())
        decisions = await self.queue.begin_submits(requests, pace, self.server_ahead_ms())
        if isinstance(decisions[0], TooManyUnknown) and self.hopeful is not None and await self.hopeful():
            self._say(
                f"{decisions[0].count} submits with unknown outcome: looking for them before anything new is bought"
            )
            self._put_back(group)
            return NotYet("unknown", None)
        return await self._tell(group, decisions)

    async def _tell(self, group: list[_Waiting], decisions: list[SubmitDecision]) -> NotYet | None:
        not_yet: NotYet | None = None
        for waiting, decision in zip(group, decisions, strict=True):
            if isinstance(decision, NotYet):
                not_yet = decision
                heapq.heappush(self._ready, waiting)
                continue
            if isinstance(decision, Started) and self.balance is not None:
                self.balance.started(waiting[2].price_usd_micros)
            if not waiting[3].done():
                waiting[3].set_result(decision)
            else:
                await self._undo(decision)
        return not_yet

    async def _undo(self, decision: SubmitDecision) -> None:
        """A start that nobody will use: nothing was sent, so the money goes back."""
        if isinstance(decision, Started):
            await self.queue.record_nothing_created(
                decision.attempt_id, AttemptState.VOID, None, "stopped before sending", 0, "stopped"
            )

    @staticmethod
    def _above_the_mark(group: list[_Waiting], guard: BalanceGuard) -> list[_Waiting]:
        """Who may go on under `keep_balance`; the others hear that they may not."""
        before_usd_micros = 0
        going: list[_Waiting] = []
        for waiting in group:
            _, _, request, future = waiting
            refusal = guard.refusal(request.batch_id, request.price_usd_micros, before_usd_micros)
            if refusal is None:
                before_usd_micros += request.price_usd_micros
                going.append(waiting)
            elif not future.done():
                future.set_result(refusal)
        return going

    def _take(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        while self._ready and len(group) < _MAX_GROUP:
            waiting = heapq.heappop(self._ready)
            if not waiting[3].done():
                group.append(waiting)
        return group

    def _put_back(self, group: list[_Waiting]) -> None:
        for waiting in group:
            heapq.heappush(self._ready, waiting)

    def _patience_s(self, not_yet: NotYet) -> float:
        if not_yet.why == "rate" and not_yet.retry_ms is not None:
            wait_s = max(0.01, (not_yet.retry_ms - self.clock.now_ms()) / 1000)
            self._say(f"rate limit of {self.pace.per_minute} starts a minute: the next ones wait for their turn")
            return wait_s
        if not_yet.why == "witness" and not_yet.retry_ms is not None:
            self._say(f"several unknown outcomes in a row: the next submit at {rfc3339(not_yet.retry_ms)[11:19]} UTC")
            return max(0.01, (not_yet.retry_ms - self.clock.now_ms()) / 1000)
        return _DOUBTS_S if not_yet.why == "unknown" else _LOOK_AGAIN_S

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self.observer(Event(Kind.WAITING, detail=text))

    async def _sleep(self, delay_s: float | None) -> None:
        with suppress(TimeoutError):
            async with self.clock.timeout(delay_s):
                await self._wake.wait()
