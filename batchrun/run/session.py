"""One run over one queue: collect what is paid for, read, plan, quote, buy, and say how it ended."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from batchrun.clock import Clock, day_of
from batchrun.errors import BatchrunError, QueueError, UsageError
from batchrun.manifest.jobs import Batch, Limits
from batchrun.manifest.read import READS
from batchrun.plan import Plan, Reason
from batchrun.provider.client import Client
from batchrun.provider.http import Http
from batchrun.provider.urls import origin_of
from batchrun.queue.leases import ClaimScope
from batchrun.queue.records import Cap, Job, Pace
from batchrun.queue.sqlite import SqliteDatabase
from batchrun.queue.store import Connect, Queue
from batchrun.run.account import other_account
from batchrun.run.asked import (
    Asked,
    asked_of,
    count_in_flight,
    left_of,
    lost_of,
    open_in_turn,
    other_samples,
    ready_in_time,
    start_by_ms,
)
from batchrun.run.audit import audit_charges
from batchrun.run.campaigns import check_all
from batchrun.run.closing import look
from batchrun.run.consent import Rerun
from batchrun.run.events import Event, Kind, Observer
from batchrun.run.first_frames import FirstFrames, LookBook
from batchrun.run.halts import Halt, HaltKind, halt_of_error
from batchrun.run.health import Health
from batchrun.run.latencies import ClipKind, Latencies
from batchrun.run.mistakes import described
from batchrun.run.poller import Poller
from batchrun.run.pool import ANY_PRICE, Pool
from batchrun.run.quotes import ask_quotes, halt_of_quotes, prices_of
from batchrun.run.reading import OldReadingError, Reading
from batchrun.run.reconcile import Reconciler
from batchrun.run.refunds import watch_refunds
from batchrun.run.saving import SaveGuard, halt_of_decoder
from batchrun.run.sidecar import Sidecars
from batchrun.run.starter import BalanceGuard, DiskGuard, Starter
from batchrun.run.stop import Stop
from batchrun.run.terms import Options, Result, caps_of, most_careful
from batchrun.run.tools import Decoders, Ending, Tools

SEND_WITHIN_S = 30.0
"""A POST leaves this soon after its intent is written, or not at all."""
_MAX_AHEAD = 200
_ROUNDS = 20
"""How often a run reads its manifests, each time because something had changed meanwhile."""
_UNREAD = Limits(concurrency=2, per_minute=2, max_attempts=1)
"""While no manifest is read."""


Load = Callable[[], Sequence[Batch]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a run gets from outside: time, chance, names, the database and the network."""

    clock: Clock
    chance: random.Random
    new_id: Callable[[], str]
    """Makes ids that are unique in the world."""
    connect: Connect = SqliteDatabase.open
    connect_http: Callable[[str, str | None, Clock], Http] = Http
    """From the API's address and the key."""


class Session:
    """One run over one queue."""

    def __init__(
        self, options: Options, load: Load, surroundings: Surroundings, *, stop: Stop, observer: Observer
    ) -> None:
        self._options = options
        self._load = load
        self._outside = surroundings
        self._clock = surroundings.clock
        self._stop = stop
        self._observer = observer
        self._batches: dict[int, Batch] = {}
        self._prices: Mapping[tuple[str, int], int] = {}
        self._decoders = Decoders()
        self._asked: dict[Rerun, bool] = {}

    async def run(self) -> Result:
        """The whole run.

        Raises:
            BatchrunError: it could not be done at all.
        """
        options, started_s = self._options, self._clock.monotonic_s()
        queue = await Queue.open(
            options.queue_path,
            self._clock,
            kind=options.kind,
            origin=options.origin,
            new_id=self._outside.new_id,
            connect=self._outside.connect,
        )
        result = Result(run_id=queue.run_id, no_new=options.no_new)
        try:
            async with self._outside.connect_http(options.base_url, options.key, self._clock) as http:
                client = Client(http, self._clock)
                if await self._is_our_account(queue, client, result):
                    rounds = 1
                    while await self._round(queue, http, result, is_last=rounds == _ROUNDS):
                        rounds += 1
                result.signal_number = self._stop.signal_number
                if options.kind == "paid" and not result.halts:
                    await self._stop.before(audit_charges(queue, client, self._clock, self._observer))
            ids = set(self._batches) | set(await self._batches_of_manifests(queue))
            caps = [cap for batch_id in self._batches for cap in self._caps(batch_id, queue.run_id)]
            await look(queue, result, ids, caps)
        except BaseExceptionGroup as group:
            raise first_cause(group) from group
        finally:
            self._decoders.close()
            await queue.close()
        result.duration_s = self._clock.monotonic_s() - started_s
        return result

    async def _is_our_account(self, queue: Queue, client: Client, result: Result) -> bool:
        """Before anything is concluded from what this key sees, or bought with it."""
        if self._options.kind == "paid":
            halt = await self._stop.before(other_account(queue, client, self._clock, self._observer))
            if halt is not None:
                result.halts[halt.kind] = halt
        return not (result.halts or self._stop.drain.is_set())

    async def _round(self, queue: Queue, http: Http, result: Result, *, is_last: bool) -> bool:
        """Collect, read, buy. Whether another round is due: a job asks for something else than was planned."""
        client = Client(http, self._clock)
        pool = Pool(queue, self._clock, self._stop, grace_s=self._options.grace_s)
        # Whatever is paid for, in any batch
        pool.collect([batch.batch_id for batch in await queue.batches()], are_asked_for=False)
        known = Latencies(await queue.latencies())
        tools = self._tools(queue, http, client, pool, known, plans_again=not is_last)
        async with asyncio.TaskGroup() as group:
            intake = group.create_task(self._take_in(queue, client, pool, tools, result), name="intake")
            await pool.run(tools)
            if self._stop.drain.is_set():
                intake.cancel()  # it may be in the middle of a hundred questions
        result.capped = list(pool.capped.values())
        result.halts |= pool.halts
        result.bought += pool.bought
        for ending, count in pool.endings.items():
            result.endings[ending] = result.endings.get(ending, 0) + count
        if pool.halts or self._stop.drain.is_set() or is_last:
            return False
        # They may have ended in another process, which read the manifest before it was changed; those that are put off or
        # parked have not, and reading it again would change nothing.
        changed = sum(plan.counts[Reason.CHANGED_IN_FLIGHT] for plan in result.plans.values())
        ended = changed > 0 and changed > await queue.count_outdated_in_flight([*self._batches])
        return ended or pool.endings.get(Ending.OUTDATED, 0) > 0

    async def _batches_of_manifests(self, queue: Queue) -> list[int]:
        """The batches that were last read from these manifests, known before the manifests are read."""
        paths = {path.resolve() for path in self._options.manifests}
        return [batch.batch_id for batch in await queue.batches() if queue.real_path(batch.manifest) in paths]

    # ------------------------------------------------------------------ intake

    async def _take_in(self, queue: Queue, client: Client, pool: Pool, tools: Tools, result: Result) -> None:
        """Read, plan and open the pool for what is new; whatever is wrong, what is in flight goes on."""
        try:
            if not self._options.no_new:
                await self._read_newest(queue, client, pool, tools, result)
        except (UsageError, QueueError) as error:
            result.problem = error
        finally:
            pool.close_intake()

    async def _read_newest(self, queue: Queue, client: Client, pool: Pool, tools: Tools, result: Result) -> None:
        for _ in range(READS - 1):
            with suppress(OldReadingError):
                return await self._read_and_open(queue, client, pool, tools, result)
        return await self._read_and_open(queue, client, pool, tools, result)

    async def _read_and_open(self, queue: Queue, client: Client, pool: Pool, tools: Tools, result: Result) -> None:
        batches = await asyncio.to_thread(self._load)
        await check_all(queue, batches)
        limits = self._options.limits or most_careful([batch.limits for batch in batches])
        self._pace(tools, pool, limits)
        scopes: list[ClaimScope] = []
        selection = left_of(self._options.selection, result.bought)
        reading = Reading(queue, self._clock, self._options, selection, self._asked)
        await reading.look(batches)
        async for batch, batch_id, plan in reading.swap_all_in(batches):
            result.hear(batch)
            result.plans[batch.name] = plan
            self._batches[batch_id] = batch
            tools.sidecars.wanted[batch_id] = batch.sidecar
            scopes.append(ClaimScope(batch_id, ANY_PRICE, plan.cheapest_usd_micros or 0))
            keep = batch.caps.keep_balance_usd_micros
            if keep is not None and tools.starter.balance is not None:
                tools.starter.balance.keep_usd_micros[batch_id] = keep
        pool.collect([scope.batch_id for scope in scopes], are_asked_for=True)  # also what was just found to be missing
        if self._options.kind == "paid":
            await watch_refunds(queue, client, self._clock, self._observer)
            await audit_charges(queue, client, self._clock, self._observer)
        asked = await asyncio.to_thread(asked_of, result.plans, selection)
        result.declined = [rerun for rerun, is_agreed in self._asked.items() if not is_agreed]
        result.is_selection = not asked.is_all
        result.lost = await asyncio.to_thread(lost_of, result.plans, asked)
        if await self._can_check(pool, asked) and await self._quote(client, pool, asked, result.plans):
            self._say_plan(tools, asked, limits, await count_in_flight(queue))
            ids = {batch.name: batch_id for batch_id, batch in self._batches.items()}
            await open_in_turn(queue, tools, pool, asked, scopes, ids, self._options.canary)

    async def _can_check(self, pool: Pool, asked: Asked) -> bool:
        """Whether what is bought could become done here. A night without work does not load the codecs."""
        halt = await asyncio.to_thread(halt_of_decoder) if asked.to_buy.count else None
        if halt is not None:
            pool.halt(halt)
        return halt is None

    def _say_plan(self, tools: Tools, asked: Asked, limits: Limits, in_flight: int) -> None:
        to_buy = asked.to_buy
        if self._options.deadline_ms is not None:
            kinds = tools.poller.latencies.each(to_buy.in_order())
            text = ready_in_time(kinds, limits, self._clock.now_ms(), self._options.deadline_ms)
            tools.observer(Event(Kind.NOTE, detail=text))
        tools.observer(Event(Kind.PLANNED, count=to_buy.count + in_flight, usd_micros=to_buy.usd_micros))

    async def _quote(self, client: Client, pool: Pool, asked: Asked, plans: Mapping[str, Plan]) -> bool:
        """Ask what today's prices are. Whether to go on: a dearer quote than `max_price` stops before spending."""
        if self._options.kind != "paid":
            return True
        quotes, halt = await ask_quotes(client, asked.to_buy.samples)
        halt = halt or halt_of_quotes(quotes)
        if halt is None:  # a dearer one of these stops when it comes to that
            others = await asyncio.to_thread(other_samples, plans, asked)
            more, halt = await ask_quotes(client, others)
            quotes += more
        self._prices = prices_of(quotes)
        if halt is not None:
            pool.halt(halt)
        return halt is None

    # ------------------------------------------------------------------ tools

    def _tools(
        self, queue: Queue, http: Http, client: Client, pool: Pool, latencies: Latencies, *, plans_again: bool
    ) -> Tools:
        options = self._options
        limits = options.limits or _UNREAD

        observe = self._observing(pool)
        health = self._health(client, pool, observe)
        chance, stuck_after_s = self._outside.chance, limits.stuck_after_s
        poller = Poller(client, self._clock, health, latencies, limits.poll_s, stuck_after_s, chance)
        poller.note = lambda text: observe(Event(Kind.NOTE, detail=text))
        folder = options.queue_path.resolve().parent
        book = LookBook(queue)
        matcher = FirstFrames(queue, client, http, self._clock, book, folder)
        reconciler = Reconciler(queue, client, self._clock, observe, pool.wake, limits.settle_s, limits.poll_s, matcher)
        reconciler.refused, reconciler.heard = lambda error: pool.halt(halt_of_error(error)), health.worked
        reconciler.in_words = lambda error: described(error, http.without_key)
        starter = self._starter(queue, client, pool, reconciler, health, observe)
        tools = Tools(
            queue=queue,
            client=client,
            http=http,
            clock=self._clock,
            starter=starter,
            poller=poller,
            reconciler=reconciler,
            book=book if options.kind == "paid" else None,
            sidecars=Sidecars(queue, observe),
            health=health,
            decoders=self._decoders,
            observer=observe,
            chance=chance,
            new_id=self._outside.new_id,
            caps=lambda batch_id: self._caps(batch_id, queue.run_id),
            caps_read=lambda batch_id: self._batches[batch_id].caps.as_text,
            reread=pool.reread,
            price=self._price,
            zone=lambda batch_id: self._batches[batch_id].caps.zone,
            start_by_ms=lambda job: start_by_ms(
                options.deadline_ms, latencies.of(ClipKind(job.revision.model, job.revision.duration_s))
            ),
            halt=pool.halt,
            capped=pool.cap_reached,
            limits=lambda batch_id: self._limits(batch_id, limits),
            saves=SaveGuard(self._clock),
            folder=folder,
            kind=options.kind,
            keeping=starter.keeping,
            plans_again=plans_again,
        )
        self._pace(tools, pool, limits)
        return tools

    def _starter(
        self, queue: Queue, client: Client, pool: Pool, reconciler: Reconciler, health: Health, observe: Observer
    ) -> Starter:
        options = self._options
        return Starter(
            queue,
            self._clock,
            _pace(options.limits or _UNREAD),
            observe,
            balance=BalanceGuard(client, self._clock) if options.kind == "paid" else None,
            hopeful=reconciler.hopeful,
            health=health,
            disk=DiskGuard(options.queue_path.resolve().parent, self._clock),
            halt=pool.halt,
            server_ahead_ms=lambda: client.server_ahead_ms,
        )

    def _observing(self, pool: Pool) -> Observer:
        def observe(event: Event) -> None:
            pool.watch(event)
            try:
                self._observer(event)
            except Exception as error:
                pool.observers_error = error
                raise

        return observe

    def _health(self, client: Client, pool: Pool, observe: Observer) -> Health:
        give_up_s = self._options.give_up_after_s

        def outage(message: str) -> None:
            pool.halt(Halt(HaltKind.UNAVAILABLE, f"no answer for {give_up_s:.0f} s: {message}"))

        return Health(
            self._clock,
            self._outside.chance,
            outage,
            client.balance,
            lambda text: observe(Event(Kind.WAITING, detail=text)),
            give_up_s,
        )

    def _pace(self, tools: Tools, pool: Pool, limits: Limits) -> None:
        tools.starter.pace = _pace(limits)
        tools.poller.floor_s = limits.poll_s
        tools.reconciler.poll_s, tools.reconciler.settle_s = limits.poll_s, limits.settle_s
        tools.reconciler.look()  # it may be pausing by the numbers from before
        tools.poller.stuck_after_s = limits.stuck_after_s
        pool.ahead = min(limits.concurrency, _MAX_AHEAD)

    def _price(self, job: Job) -> int:
        if self._options.kind != "paid":
            return 0
        quote = self._prices.get((job.revision.model, job.revision.duration_s))
        return job.price_usd_micros if quote is None else quote

    def _limits(self, batch_id: int, unread: Limits) -> Limits:
        batch = self._batches.get(batch_id)
        return self._options.limits or (unread if batch is None else batch.limits)

    def _caps(self, batch_id: int, run_id: str) -> tuple[Cap, ...]:
        batch = self._batches[batch_id]
        day, options = day_of(self._clock.now_ms(), batch.caps.zone), self._options
        return caps_of(
            batch, batch_id, day, run_id, kind=options.kind, max_spend_usd_micros=options.max_spend_usd_micros
        )


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception that a person should read out of those that ended a task group."""
    leaves = [first_cause(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return next((leaf for leaf in leaves if isinstance(leaf, BatchrunError)), leaves[0])


def origin(base_url: str) -> str:
    """What a paid queue is bound to."""
    return origin_of(base_url)


def _pace(limits: Limits) -> Pace:
    return Pace(
        concurrency=limits.concurrency,
        per_minute=limits.per_minute,
        max_unknown=limits.max_unknown,
        stuck_after_ms=int(limits.stuck_after_s * 1000),
        send_within_s=SEND_WITHIN_S,
        settle_ms=int(limits.settle_s * 1000),
    )
