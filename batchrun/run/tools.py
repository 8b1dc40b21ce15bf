"""What the steps of a job share: the run's tools, and the job that is being carried."""

import asyncio
import contextvars
import itertools
import os
import random
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import tzinfo
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from batchrun.clock import Clock
from batchrun.manifest.jobs import Limits
from batchrun.provider.client import Client
from batchrun.provider.http import Http
from batchrun.provider.outcome import ProviderError, TryLaterError
from batchrun.queue.records import Attempt, Cap, CapReached, Job
from batchrun.queue.states import JobState
from batchrun.queue.store import Queue
from batchrun.run.events import Event, Kind, Observer
from batchrun.run.first_frames import LookBook
from batchrun.run.halts import Halt
from batchrun.run.health import Health
from batchrun.run.poller import Poller
from batchrun.run.reconcile import Reconciler
from batchrun.run.retry import RetryRule
from batchrun.run.saving import SaveGuard
from batchrun.run.sidecar import Sidecars
from batchrun.run.starter import Starter

P = ParamSpec("P")
T = TypeVar("T")

_PUT_OFF_S = 60.0
_PUT_OFFS = 2
_NEXT_RUN_S = 3600.0
"""A job that was put off more often in one run is left to the next one."""


class Ending(StrEnum):
    """How the worker left a job."""

    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    LOST = "lost"
    UNKNOWN = "unknown"
    AGAIN = "again"
    """Queued once more, now or a little later."""
    PUT_OFF = "put off"
    """In flight still; a later look may succeed."""
    CAPPED = "capped"
    CLOSED = "closed"
    """The run buys nothing more."""
    OUTDATED = "outdated"
    """What it asks for has changed: it waits for the next plan."""
    TO_COLLECT = "to collect"
    """Bought before under another name: in flight once more, and free for whoever collects."""
    GONE = "gone"
    """Another process has it."""
    UNEXPECTED = "unexpected"
    """It met an error that nobody has foreseen, and is put off."""


class Decoders:
    """Threads that decode clips, as many as there are cores.

    A hundred clips that end at once wait for their turn, and the threads that everybody shares stay free for files.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="check")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The work's value, as with `asyncio.to_thread`."""
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        return await loop.run_in_executor(self._threads, partial(context.run, work, *args, **kwargs))

    def close(self) -> None:
        """Begin nothing more; what is being decoded ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Tools:
    """What a worker works with; one set a run."""

    queue: Queue
    client: Client
    http: Http
    clock: Clock
    starter: Starter
    poller: Poller
    reconciler: Reconciler
    book: LookBook | None
    """Where paid clips teach what first frames look like; previews teach nothing."""
    sidecars: Sidecars
    health: Health
    decoders: Decoders
    observer: Observer
    chance: random.Random
    new_id: Callable[[], str]
    caps: Callable[[int], tuple[Cap, ...]]
    """The caps of a batch, by its id."""
    caps_read: Callable[[int], str]
    """The same as its manifest said it (`Caps.as_text`)."""
    price: Callable[[Job], int]
    """What a job is reserved at: the quote of the day."""
    zone: Callable[[int], tzinfo]
    """Where the days of a batch begin and end."""
    start_by_ms: Callable[[Job], int | None]
    """After it a job would most likely not be ready by the deadline; None without one."""
    halt: Callable[[Halt], None]
    """The account or the key is the problem: start nothing more."""
    capped: Callable[[Job, CapReached], None]
    """A cap left no room for the job."""
    reread: Callable[[Job], None]
    """Another run has read other budgets for the job's batch."""
    limits: Callable[[int], Limits]
    """The limits of a batch, by its id; the defaults while its manifest is not read."""
    saves: SaveGuard
    folder: Path
    """The queue's folder: quarantine and history."""
    kind: str
    """`paid` or `preview`."""
    keeping: set["asyncio.Task[Any]"]
    """Facts being written down; a run ends only after them."""
    plans_again: bool = True
    """Whether the run would read the manifest once more for a job whose picture has changed."""
    put_offs: dict[int, int] = field(default_factory=dict)
    """How often each job was put off in this run."""


@dataclass(slots=True)
class Carried:
    """One job on its way."""

    tools: Tools
    job: Job
    fresh_url: bool = False
    """The output's address came from the provider in this run; those of earlier runs may have expired."""
    not_shown: tuple[str, ...] = ()
    """What the clip does not show, as the provider said together with the address."""

    spurned: frozenset[int] = frozenset()
    """Twins whose finished file is gone and is made again: of previews, which cost nothing."""
    was_downloading: bool = field(init=False)
    """When it was claimed: somebody before may have left parts of its clip."""

    def __post_init__(self) -> None:
        self.was_downloading = self.job.state is JobState.DOWNLOADING

    @property
    def attempt(self) -> Attempt:
        """The submit that the job is about now."""
        if self.job.attempt is None:
            raise ValueError(f"job {self.job.key} in state {self.job.state} has no attempt")
        return self.job.attempt

    def tell(self, kind: Kind, detail: str = "", usd_micros: int = 0) -> None:
        """Tell the observers."""
        self.tools.observer(Event(kind, self.job.batch, self.job.key, detail, usd_micros=usd_micros))

    async def keep(self, fact: Coroutine[Any, Any, T]) -> T:
        """Carry a fact to the end, also when the worker is cancelled meanwhile."""
        task = asyncio.create_task(fact)
        self.tools.keeping.add(task)
        task.add_done_callback(self.tools.keeping.discard)
        return await asyncio.shield(task)

    async def free(self, request: Callable[[], Coroutine[Any, Any, T]], rule: RetryRule, *, is_api: bool = True) -> T:
        """A request that costs nothing, tried again with growing pauses.

        Args:
            request: makes the request.
            rule: how often, and how long the pauses are.
            is_api: its trouble is the provider's; a single clip that cannot be downloaded is not an outage.

        Raises:
            TryLaterError: it did not work often enough for now, or is not to be asked for longer than the rule waits.
        """
        tools = self.tools
        for tries in itertools.count(1):
            try:
                return await (self._heard(request) if is_api else request())
            except TryLaterError as error:
                if tries == rule.tries or (error.retry_after_s or 0.0) > rule.patience_s:
                    raise
                await tools.clock.sleep(rule.wait_s(tries, tools.chance.random(), error.retry_after_s))
        raise AssertionError("the last try returns or raises")

    async def _heard(self, request: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """A request to the API, when it is there to be asked; what came of it tells how it is."""
        health = self.tools.health
        await health.ready()
        try:
            value = await request()
        except TryLaterError as error:
            if error.throttled:
                self.tools.starter.throttled()
            health.failed(str(error))
            raise
        except ProviderError:
            health.worked()  # a refusal is an answer
            raise
        health.worked()
        return value

    async def put_off(self, kind: str, message: str, *, passes: bool = True) -> Ending:
        """Leave the job as it is for a while; for the next run after some times, or where time alone changes nothing."""
        tools, job_id = self.tools, self.job.job_id
        tools.put_offs[job_id] = tools.put_offs.get(job_id, 0) + 1
        delay_s = _PUT_OFF_S if passes and tools.put_offs[job_id] <= _PUT_OFFS else _NEXT_RUN_S
        await tools.queue.put_off(self.job, tools.clock.now_ms() + int(delay_s * 1000), kind, message)
        self.tell(Kind.PUT_OFF, message)
        return Ending.PUT_OFF
