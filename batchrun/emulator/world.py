"""What the emulator knows: predictions and the bill, on a handed-in clock. No HTTP here.

Time is looked at when somebody asks (`advance`), and everything happens at its own moment, not at the moment of the
question: the same night comes out whoever asks how often. Nothing walks over all tasks.

Kept in a folder when one is given: one JSON line a fact, read again at the next start, so that a preview that was
stopped goes on like a paid run.
"""

import heapq
import json
import random
import secrets
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from batchrun.clock import Clock
from batchrun.emulator.books import PRICE_USD_MICROS, Books
from batchrun.emulator.faults import Dice, Fault
from batchrun.emulator.inputs import check_inputs
from batchrun.emulator.latency import Latency
from batchrun.emulator.reply import RefusedRequestError
from batchrun.emulator.timeline import Timeline, page_of

MODEL = "kwaivgi/kling-v1.6-i2v-standard"
MINUTE_MS = 60_000
_LATE = "late"
"""The status of a task that does not exist yet: nobody is shown it."""
_FAILURES = {
    Fault.TASK_FAILED: (1405, "task failed"),
    Fault.TASK_UNAVAILABLE: (5003, "service unavailable"),
    Fault.TASK_MODERATION: (1200, "content moderation"),
}


@dataclass(frozen=True, slots=True)
class Account:
    """What the emulated account may do, and what it pays. May be replaced while the world goes on."""

    concurrency: int = 1_000_000
    per_minute: int = 1_000_000
    overflow_429: bool = False
    """Above the concurrency: refuse with 429, or let it wait (the sources disagree)."""
    refund_after_ms: int = 0
    """From the failure of a task to its refund."""
    list_lag_ms: int = 0
    """From the creation of a task to its place in the list. Asked for by its id, it is there at once."""
    late_ms: tuple[int, int] = (5_000, 120_000)
    """How much later `submit_drop_late` creates the task: from, to."""
    list_open: bool = True
    """Whether the key may read the list; else 403."""
    billing_open: bool = True
    """Whether the key may read the billing; else 403."""
    image_host: str | None = None
    """Pictures are echoed under an address of this host; None: as they were sent."""
    price_usd_micros: Mapping[int, int] = field(default_factory=lambda: dict(PRICE_USD_MICROS))
    """What a clip is quoted at, by its duration in seconds."""
    charge_usd_micros: Mapping[int, int] | None = None
    """What a clip is charged, where that is not the quote."""

    def quote(self, duration_s: int) -> int:
        """The price of a clip; an unknown duration has the base price, as at the provider."""
        return self.price_usd_micros.get(duration_s, self.price_usd_micros[5])

    def charge(self, duration_s: int) -> int:
        """What is taken for a clip."""
        return self.quote(duration_s) if self.charge_usd_micros is None else self.charge_usd_micros[duration_s]


@dataclass(slots=True)
class Task:
    """One prediction."""

    task_id: str
    inputs: dict[str, Any]
    created_ms: int
    latency_ms: int
    fate: str | None = None
    """The fault that the task will end in."""
    started_ms: int | None = None
    status: str = "created"
    code: int = 0
    error: str = ""
    ended_ms: int | None = None
    rendered: bool = False
    stranger: bool = False
    """Somebody else's of the same account."""
    charged_usd_micros: int | None = None
    """None before it is created, and in notes of older versions."""
    refundable: bool = True
    warnings: list[str] = field(default_factory=list)
    """What was asked for and its clip does not show."""

    @property
    def running(self) -> bool:
        """Whether it holds a slot or waits for one."""
        return self.status in ("created", "processing")

    @property
    def duration_s(self) -> int:
        """The asked length."""
        return int(self.inputs.get("duration", 5))


@dataclass(slots=True)
class World:
    """The whole state of one emulated account."""

    clock: Clock
    latency: Latency
    dice: Dice
    account: Account = field(default_factory=Account)
    books: Books = field(default_factory=lambda: Books(10_000_000_000))
    folder: Path | None = None
    seed: int | None = None
    tasks: dict[str, Task] = field(default_factory=dict)
    """Every prediction of the account, strangers' as well."""
    submits: list[dict[str, Any]] = field(default_factory=list)
    """Every submit that was taken, as it came, when its task was created: for tests that compare."""
    strangers: dict[str, Task] = field(default_factory=dict)
    """The predictions among `tasks` that are not ours."""
    peak_running: int = 0
    """The most of ours that held or waited for a slot at once."""
    on_created: Callable[[Task], object] = field(default=lambda _: None)
    """Is told of each task that was created, so that somebody makes its clip and says `rendered`. May call that at
    once; may not submit."""
    _chance: random.Random = field(init=False)
    _order: Timeline[Task] = field(default_factory=Timeline)
    _events: list[tuple[int, int, Task]] = field(default_factory=list)
    """A heap of moment, running number, and the task that is created or has had its time then."""
    _pushed: int = 0
    _waiting: deque[Task] = field(default_factory=deque)
    """For a slot; may hold tasks that failed meanwhile."""
    _overdue: set[str] = field(default_factory=set)
    """Had their time, but the clip is not there yet."""
    _busy: int = 0
    _running: int = 0
    _ours: int = 0
    _refunds: deque[Task] = field(default_factory=deque)
    _recent: deque[int] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed) if self.seed is not None else random.SystemRandom()  # noqa: S311  # a seed plays the same again
        if self.folder is not None:
            self._read_back()

    # ------------------------------------------------------------------ submit

    def submit(self, inputs: Mapping[str, Any]) -> Task:
        """Create and charge a task.

        Raises:
            RefusedRequestError: bad inputs, throttled, no credit.
        """
        task = self._taken(inputs)
        if not self._create(task):
            raise RefusedRequestError(400, 1407, "insufficient credits")
        return task

    def submit_late(self, inputs: Mapping[str, Any]) -> None:
        """Take a task that is created and charged later only, if there is credit then.

        Raises:
            RefusedRequestError: bad inputs, throttled.
        """
        task = self._taken(inputs)
        task.status = _LATE
        task.created_ms += self._chance.randint(*self.account.late_ms)
        self._keep(task)
        self._push(task.created_ms, task)

    def add_stranger(self, inputs: Mapping[str, Any]) -> Task:
        """Somebody else of the account buys a clip: charged, listed and in need of a slot as ours, not in `submits`.

        Raises:
            RefusedRequestError: bad inputs, no credit.
        """
        self.advance()
        check_inputs(inputs)
        task = self._new_task(inputs, stranger=True)
        if not self._create(task):
            raise RefusedRequestError(400, 1407, "insufficient credits")
        self._recent.append(task.created_ms)
        return task

    def _taken(self, inputs: Mapping[str, Any]) -> Task:
        self.advance()
        check_inputs(inputs)
        self._check_pace(self.clock.now_ms())
        return self._new_task(inputs)

    def _check_pace(self, now_ms: int) -> None:
        while self._recent and self._recent[0] <= now_ms - MINUTE_MS:
            self._recent.popleft()
        if len(self._recent) >= self.account.per_minute:
            wait_s = max(1, -(-(self._recent[0] + MINUTE_MS - now_ms) // 1000))
            raise RefusedRequestError(429, 429, "too many generations in this minute", retry_after_s=wait_s)
        if self.account.overflow_429 and self._running >= self.account.concurrency:
            raise RefusedRequestError(429, 429, "too many generations at once", retry_after_s=1)
        self._recent.append(now_ms)

    def _new_task(self, inputs: Mapping[str, Any], *, stranger: bool = False) -> Task:
        """A task of this moment that does not exist yet. Strangers have no bad luck: what is thrown is about ours."""
        duration_s = int(inputs.get("duration", 5))
        return Task(
            task_id=f"{self._chance.getrandbits(128):032x}" if self.seed is not None else secrets.token_hex(16),
            inputs=dict(inputs),
            created_ms=self.clock.now_ms(),
            latency_ms=int(self.latency.draw_s(duration_s, self._chance) * 1000),
            fate=None if stranger else self.dice.throw(Fault.TASK_STUCK, *_FAILURES),
            stranger=stranger,
        )

    def _create(self, task: Task) -> bool:
        """Charge and begin it, at its own moment, when there is credit."""
        amount = self.account.charge(task.duration_s)
        if not self.books.deduct(task.task_id, amount, task.created_ms, stranger=task.stranger):
            return False
        task.status, task.charged_usd_micros = "created", amount
        if not task.stranger:
            self.submits.append(dict(task.inputs))
        self._admit(task)
        self._keep(task)
        self._start_waiting(task.created_ms)
        self.on_created(task)
        return True

    def _admit(self, task: Task) -> None:
        """Into every index."""
        self.tasks[task.task_id] = task
        self._order.add(task.created_ms, task)
        if task.stranger:
            self.strangers[task.task_id] = task
        if task.running:
            self._waiting.append(task)
            self._running += 1
            self._ours += not task.stranger
            self.peak_running = max(self.peak_running, self._ours)

    # ------------------------------------------------------------------ time

    def advance(self) -> None:
        """Bring everything to where it is by now."""
        now_ms = self.clock.now_ms()
        self._start_waiting(now_ms)  # the account may have got more slots
        while self._events and self._events[0][0] <= now_ms:
            at_ms, _, task = heapq.heappop(self._events)
            if task.status == _LATE:
                self._create(task)
            elif task.running:
                self._ripen(task, at_ms)
        while self._refunds and (due_ms := (self._refunds[0].ended_ms or 0) + self.account.refund_after_ms) <= now_ms:
            task = self._refunds.popleft()
            if task.refundable:
                self.books.refund(task.task_id, due_ms)

    def _push(self, at_ms: int, task: Task) -> None:
        self._pushed += 1
        heapq.heappush(self._events, (at_ms, self._pushed, task))

    def _start_waiting(self, at_ms: int) -> None:
        while self._waiting and self._busy < self.account.concurrency:
            task = self._waiting.popleft()
            if not task.running:
                continue
            task.status, task.started_ms = "processing", at_ms
            self._busy += 1
            if task.fate != Fault.TASK_STUCK:
                self._push(at_ms + task.latency_ms, task)

    def _ripen(self, task: Task, at_ms: int) -> None:
        """The task has had its time."""
        if task.fate is not None:
            self._fail(task, *_FAILURES[Fault(task.fate)], at_ms)
        elif task.rendered:
            self._end(task, "completed", at_ms)
        else:
            self._overdue.add(task.task_id)

    def rendered(self, task: Task) -> None:
        """The clip is there; the task completes when it has had its time."""
        task.rendered = True
        if task.task_id in self._overdue:
            self.advance()
            self._end(task, "completed", self.clock.now_ms())

    def fail(self, task: Task, code: int, error: str) -> None:
        """The task ends now without a clip; the refund follows."""
        self.advance()
        if task.running:
            self._fail(task, code, error, self.clock.now_ms())

    def _fail(self, task: Task, code: int, error: str, at_ms: int) -> None:
        task.code, task.error = code, error
        task.refundable = self.dice.throw(Fault.REFUND_NEVER) is None
        self._refunds.append(task)
        self._end(task, "failed", at_ms)

    def _end(self, task: Task, status: str, at_ms: int) -> None:
        self._busy -= task.status == "processing"
        self._running -= 1
        self._ours -= not task.stranger
        self._overdue.discard(task.task_id)
        task.status, task.ended_ms = status, at_ms
        self._keep(task)
        self._start_waiting(at_ms)

    # ------------------------------------------------------------------ asked

    def listed(
        self, first_ms: int | None, last_ms: int | None, status: str | None, page: int, size: int
    ) -> tuple[int, list[Task]]:
        """How many predictions the list shows, and one page of them, newest first.

        Args:
            first_ms: the first moment of creation, included; None is open.
            last_ms: the last one, included.
            status: only these; costs a walk over the span.
            page: from 1 on.
            size: predictions a page.
        """
        if self.account.list_lag_ms:
            shown_ms = self.clock.now_ms() - self.account.list_lag_ms
            last_ms = shown_ms if last_ms is None else min(last_ms, shown_ms)
        places: Sequence[int] = self._order.span(first_ms, last_ms)[::-1]
        if status is not None:
            places = [place for place in places if self._order[place].status == status]
        return len(places), [self._order[place] for place in page_of(places, page, size)]

    def found(self, status: str | None, words: str, page: int, size: int) -> tuple[int, list[Task]]:
        """For the books: how many predictions there are, and one page of them, newest first. Walks over all of them.

        Args:
            status: only these.
            words: only those whose id or prompt has this text in it, whatever the case.
            page: from 1 on.
            size: predictions a page.
        """
        text = words.casefold()

        def is_meant(task: Task) -> bool:
            has_words = not text or text in task.task_id or text in task.inputs["prompt"].casefold()
            return has_words and (status is None or task.status == status)

        places = [place for place in reversed(range(len(self._order))) if is_meant(self._order[place])]
        return len(places), [self._order[place] for place in page_of(places, page, size)]

    # ------------------------------------------------------------------ keeping

    def _keep(self, task: Task) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "tasks.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(task)) + "\n")

    def _read_back(self) -> None:
        """What was kept; tasks that had not ended are worked on again, late ones and refunds still come."""
        path = self.folder / "tasks.jsonl" if self.folder else None
        if path is None or not path.exists():
            return
        kept: dict[str, Task] = {}
        for line in path.read_text("utf-8").splitlines():
            try:
                task = Task(**json.loads(line))
            except (ValueError, TypeError):
                continue  # the last line of a killed process may be half a line
            kept[task.task_id] = task
        for task in kept.values():
            if task.status == _LATE:
                self._push(task.created_ms, task)
                continue
            if task.running:
                task.status, task.started_ms, task.rendered = "created", None, False
            if task.charged_usd_micros is None:
                task.charged_usd_micros = self.account.charge(task.duration_s)
            self.books.deduct(task.task_id, task.charged_usd_micros, task.created_ms, stranger=task.stranger)
            self._admit(task)
        failed = (task for task in kept.values() if task.status == "failed")
        self._refunds.extend(sorted(failed, key=lambda task: task.ended_ms or 0))
