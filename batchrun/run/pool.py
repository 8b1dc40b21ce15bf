"""Many jobs at once: claims, one worker a job, the lease, and the end of the run. One task group owns every task."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from batchrun.clock import Clock
from batchrun.errors import BatchrunError
from batchrun.provider.outcome import NotAllowedError
from batchrun.queue.leases import ClaimScope
from batchrun.queue.records import CapReached, Job
from batchrun.queue.states import JobState
from batchrun.queue.store import LEASE_MS, Queue
from batchrun.run.events import Event, Kind
from batchrun.run.halts import ABANDONS, Halt, HaltKind, halt_of_error
from batchrun.run.late import collect_late
from batchrun.run.stop import Stop
from batchrun.run.tools import Carried, Ending, Tools
from batchrun.run.unexpected import set_aside
from batchrun.run.worker import carry

_LOOK_AGAIN_S = 1.0
"""Put-off jobs become ready, other processes give jobs back: nobody tells us."""
_PATIENT_S = 5.0
"""The same while our own jobs keep us busy, or after some looks in vain."""
_LOOKS = 10
_SAY_PAUSE_S = 1.0
_MAX_PAID_CLAIM = 500
_LEAST_CLAIM = 4
"""Of what may be prepared at once a quarter must be missing: one claim for several jobs, not one for each."""
_GOES_ON = "The run goes on: what they were about is asked for at the provider, and its money is held until then"
_LAST_ANSWERS_S = 5.0
"""At the end of a run, for submits whose answer has not come yet."""

ANY_PRICE = 2**62


@dataclass(frozen=True, slots=True)
class Capped:
    """A cap that stopped jobs."""

    reached: CapReached
    price_usd_micros: int


class Pool:
    """One run's workers. Opened for what is in flight first, then for what the manifest asks for."""

    def __init__(self, queue: Queue, clock: Clock, stop: Stop, *, grace_s: float) -> None:
        self._queue = queue
        self._clock = clock
        self._stop = stop
        self._grace_s = grace_s
        self._tools: Tools | None = None
        self._paid: dict[int, bool] = {}
        """Batches in which something may be in flight, and whether the run is asked for them."""
        self._scopes: dict[int, ClaimScope] = {}
        self._intake_closed = False
        self._claimed_put_off = False
        self._paid_due = True
        self._active: dict[int, asyncio.Task[None]] = {}
        self._preparing: dict[tuple[str, str], int] = {}
        self._wake = asyncio.Event()
        self._freed_since_cap = False
        self._abandoned = False
        self._is_outdated = False
        self._said_idle = False
        self._doubtful: set[tuple[str, str]] = set()
        self._late_wake = asyncio.Event()
        self._late_waits = True
        self.ahead = 1
        self.halts: dict[HaltKind, Halt] = {}
        self._waiting: str | None = None
        self._new_wait = asyncio.Event()
        self.capped: dict[int, Capped] = {}
        self.endings: dict[Ending, int] = {}
        self.bought = 0
        self.observers_error: Exception | None = None
        """What an observer has raised, which ends the run."""

    # ------------------------------------------------------------------ told from outside

    def collect(self, batch_ids: Sequence[int], *, are_asked_for: bool) -> None:
        """Go on with what is in flight in these batches."""
        for batch_id in batch_ids:
            self._paid[batch_id] = are_asked_for or self._paid.get(batch_id, False)
        self._claimed_put_off = False
        self.wake()

    def open(self, scopes: Sequence[ClaimScope]) -> None:
        """Buy what is queued in these scopes."""
        self._scopes.update({scope.batch_id: scope for scope in scopes})
        self._wake.set()

    @property
    def is_closing(self) -> bool:
        """Whether something has come up that ends the buying: a halt, a cap, other budgets, a stop."""
        return bool(self.halts or self.capped) or self._is_outdated or self._stop.drain.is_set()

    def close_intake(self) -> None:
        """Nothing more will be told: end when everything is done."""
        self._intake_closed = True
        self._wake.set()

    def halt(self, halt: Halt) -> None:
        """Start nothing more, for this reason. What runs is collected."""
        if halt.kind not in self.halts:
            self.halts[halt.kind] = halt
            self._note(halt.message)
        self._abandoned |= halt.kind in ABANDONS
        self._close_line()
        self._wake.set()

    def cap_reached(self, job: Job, reached: CapReached) -> None:
        """No room for the job: nothing of its batch at that price or above is claimed any more."""
        scope = self._scopes.get(job.batch_id)
        if job.batch_id not in self.capped:
            self._note(f"cap {reached.cap.name} of batch {job.batch} reached")
        self.capped[job.batch_id] = Capped(reached, job.price_usd_micros)
        if scope is not None:
            price = min(scope.price_below_usd_micros, job.price_usd_micros)
            self._scopes[job.batch_id] = replace(scope, price_below_usd_micros=price)

    def reread(self, job: Job) -> None:
        """Another run has read other budgets for the job's batch: nothing more of it is claimed before this one has as well."""
        self._is_outdated = True
        if self._scopes.pop(job.batch_id, None) is not None:
            self._note(f"the budgets of batch {job.batch} have changed; its manifest is read again")

    def wake(self) -> None:
        """A job has got a new state: there may be something to claim."""
        self._paid_due = True
        self._wake.set()
        if self._tools is not None:
            self._tools.starter.slot_freed()

    def watch(self, event: Event) -> None:
        """Hear what the workers do."""
        self._count(event)
        if event.kind is Kind.WAITING:
            self._waiting = event.detail
            self._new_wait.set()
        elif event.kind is Kind.INTENT and self._waiting is not None:
            self._waiting = None
            self._new_wait.set()
        if event.kind is Kind.UNKNOWN and self._tools is not None:
            self._tools.reconciler.look()
        if event.kind is Kind.ACCEPTED and self._tools is not None:
            self._tools.reconciler.accepted()
        if event.kind is Kind.LATE:
            self._late_waits = True
            self._late_wake.set()
        # A reservation that may be void, by a refusal or because nothing was created after all.
        if event.kind in (Kind.NOT_SENT, Kind.REFUSED, Kind.FAILED):
            self._freed_since_cap = True
        if event.kind is Kind.INTENT:
            self._preparing.pop((event.batch, event.key), None)
            self._wake.set()

    def _count(self, event: Event) -> None:
        """Every submit that may have been taken, once: an unknown one may be found later."""
        name = (event.batch, event.key)
        if event.kind is Kind.UNKNOWN:
            self._doubtful.add(name)
            self.bought += 1
        elif event.kind is Kind.ACCEPTED:
            self.bought += name not in self._doubtful
            self._doubtful.discard(name)

    # ------------------------------------------------------------------ the run

    async def run(self, tools: Tools) -> None:
        """Work until nothing is left, or until stopped."""
        self._tools = tools
        for path in await self._queue.start_run():
            self._note(f"{path} holds answers of the provider that cannot be booked: report it. {_GOES_ON}")
        try:
            async with asyncio.TaskGroup() as group:
                services = [
                    group.create_task(tools.starter.run(), name="starter"),
                    group.create_task(tools.poller.run(), name="poller"),
                    group.create_task(tools.health.run(), name="breaker"),
                    group.create_task(self._renew(), name="lease"),
                    group.create_task(self._say_waiting(), name="waiting"),
                    group.create_task(tools.reconciler.run(), name="reconciler"),
                    group.create_task(self._collect_late(tools), name="late clips"),
                    group.create_task(self._obey(), name="stop"),
                ]
                await self._feed(group)
                for task in (*self._active.values(), *services):
                    task.cancel()
        finally:
            await self._write_down(tools)
            await self._queue.end_run()

    async def _write_down(self, tools: Tools) -> None:
        """Give answers that are under way a moment, then write down that they did not come."""
        if tools.keeping:
            await asyncio.wait(tools.keeping, timeout=_LAST_ANSWERS_S)
        for task in tools.keeping:
            task.cancel()
        while tools.keeping:
            await asyncio.wait(tools.keeping)

    async def _feed(self, group: asyncio.TaskGroup) -> None:
        """Claim and start workers; come back when there is nothing left to do."""
        looks = 0
        while not (self._stop.now.is_set() or self._abandoned):
            self._wake.clear()
            await self._claim(group)
            if not self._active:
                if self._stop.drain.is_set() or await self._finished():
                    return
                self._say_idle()
            looks = 0 if self._active else looks + 1
            try:
                async with self._clock.timeout(_PATIENT_S if self._active or looks > _LOOKS else _LOOK_AGAIN_S):
                    await self._wake.wait()
            except TimeoutError:
                self._paid_due = True

    def _say_idle(self) -> None:
        if self._intake_closed and not self._said_idle and self._tools is not None:
            self._said_idle = True
            text = "waiting for jobs that are put off, of unknown outcome, or held by another run"
            self._tools.observer(Event(Kind.WAITING, detail=text))

    async def _claim(self, group: asyncio.TaskGroup) -> None:
        if self._paid and self._paid_due:
            self._paid_due = False
            for batch in await self._queue.batches():  # another process may have read a new manifest, and died
                self._paid.setdefault(batch.batch_id, False)
            jobs = await self._queue.claim_paid(
                [*self._paid], _MAX_PAID_CLAIM, put_off_too=not self._claimed_put_off, busy=self._active
            )
            self._claimed_put_off = len(jobs) < _MAX_PAID_CLAIM
            self._paid_due = not self._claimed_put_off
            self._work_on(jobs, group)
        room = self.ahead - len(self._preparing)
        is_worth_it = room * _LEAST_CLAIM >= self.ahead
        scopes = [scope for scope in self._scopes.values() if scope.may_hold_something]
        if scopes and is_worth_it and not (self.halts or self._stop.drain.is_set()):
            self._work_on(await self._queue.claim_queued(scopes, room, busy=self._active), group)

    def _work_on(self, jobs: Sequence[Job], group: asyncio.TaskGroup) -> None:
        for job in jobs:
            if job.state is JobState.QUEUED:
                self._preparing[job.batch, job.key] = job.job_id
            task = group.create_task(self._carry(job), name=f"job {job.batch}/{job.key}")
            self._active[job.job_id] = task
            # Not in the coroutine's own `finally`: a task that is cancelled before its first step never runs any.
            task.add_done_callback(partial(self._left, job))

    async def _carry(self, job: Job) -> None:
        if self._tools is None:
            raise RuntimeError("the pool is not running")
        self._tools.observer(Event(Kind.CLAIMED, job.batch, job.key))
        carried = Carried(self._tools, job)
        try:
            ending = await self._carried(carried)
            self.endings[ending] = self.endings.get(ending, 0) + 1
            # Perhaps nobody has it now: a late answer has put it in flight and taken the lease away.
            self._paid_due |= ending in (Ending.GONE, Ending.TO_COLLECT)
        except NotAllowedError as error:
            self._abandoned = True  # who may not ask for results cannot collect anything
            self.halt(halt_of_error(error))
            await self._queue.release(job)

    async def _carried(self, carried: Carried) -> Ending:
        """How the worker leaves the job. What ends a run on purpose does so still; a mistake of ours is its job's alone."""
        try:
            return await carry(carried)
        except (BatchrunError, NotAllowedError):
            raise
        except Exception as error:
            if error is self.observers_error:
                raise
            return await set_aside(carried, error)

    def _left(self, job: Job, _: "asyncio.Task[None]") -> None:
        """The worker of a job has ended, however."""
        self._active.pop(job.job_id, None)
        self._preparing.pop((job.batch, job.key), None)
        self._wake.set()

    async def _finished(self) -> bool:
        """Whether nothing is left that this run should do or wait for."""
        if not self._intake_closed:
            return False
        # In this order: what the reconciler finds while it is asked is a job in flight, or a late clip, right after.
        if self._tools is not None and await self._tools.reconciler.hopeful():
            return False
        scopes = [] if self.halts else [scope for scope in self._scopes.values() if scope.may_hold_something]
        if await self._queue.something_left(self._paid, scopes) or self._late_waits:
            return False
        return bool(self.halts) or not self._reopen_after_cap()

    def _reopen_after_cap(self) -> bool:
        """A reservation that was void since the cap was reached may have made room: ask once more."""
        if not self.capped or not self._freed_since_cap:
            return False
        self._freed_since_cap = False
        self.capped.clear()
        self._scopes = {
            batch_id: replace(scope, price_below_usd_micros=ANY_PRICE) for batch_id, scope in self._scopes.items()
        }
        self._wake.set()
        return True

    def _close_line(self) -> None:
        """Who has bought nothing yet stops; the lease goes back with the run's end."""
        if self._tools is not None:
            self._tools.starter.close()
        for job_id in self._preparing.values():
            task = self._active.get(job_id)
            if task is not None and task is not asyncio.current_task():
                task.cancel()

    async def _collect_late(self, tools: Tools) -> None:
        while True:
            self._late_wake.clear()
            waits = await collect_late(tools)
            if not self._late_wake.is_set():
                self._late_waits = waits
                self._wake.set()
            with suppress(TimeoutError):
                async with self._clock.timeout(tools.poller.floor_s if waits else None):
                    await self._late_wake.wait()

    async def _renew(self) -> None:
        while True:
            await self._clock.sleep(LEASE_MS / 3000)
            await self._queue.renew_run()

    async def _say_waiting(self) -> None:
        """Write down what the run waits for, at most once a second."""
        said: str | None = None
        while True:
            await self._new_wait.wait()
            self._new_wait.clear()
            if self._waiting != said:
                said = self._waiting
                await self._queue.say_waiting(said)
            await self._clock.sleep(_SAY_PAUSE_S)

    async def _obey(self) -> None:
        """Turn a stop into its two stages."""
        await self._stop.drain.wait()
        self._close_line()
        self._paid_due = True  # what was found since the last claim is paid for as well
        rest = len(self._active) - len(self._preparing)
        self._note(
            f"stopping: nothing new is bought; waiting up to {self._grace_s:.0f} s for {rest} clips that are paid for "
            "(once more to leave now, they are collected by the next run)"
        )
        self._wake.set()
        try:
            async with self._clock.timeout(self._grace_s):
                await self._stop.now.wait()
        except TimeoutError:
            self._stop.now.set()
        self._wake.set()

    def _note(self, text: str) -> None:
        if self._tools is not None:
            self._tools.observer(Event(Kind.NOTE, detail=text))
