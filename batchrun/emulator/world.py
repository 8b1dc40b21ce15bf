"""What the emulator knows: predictions, uploads and the bill, on a handed-in clock. No HTTP here.

Kept in a folder when one is given: one JSON line a fact, read again at the next start, so that a preview that was
stopped goes on like a paid run.
"""

import json
import random
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from batchrun.clock import Clock
from batchrun.emulator.books import PRICE_USD_MICROS, Books
from batchrun.emulator.faults import Dice, Fault
from batchrun.emulator.latency import Latency
from batchrun.emulator.reply import RefusedRequestError

MODEL = "kwaivgi/kling-v1.6-i2v-standard"
MINUTE_MS = 60_000
_FAILURES = {
    Fault.TASK_FAILED: (1405, "task failed"),
    Fault.TASK_UNAVAILABLE: (5003, "service unavailable"),
    Fault.TASK_MODERATION: (1200, "content moderation"),
}


@dataclass(frozen=True, slots=True)
class Account:
    """What the emulated account may do."""

    concurrency: int = 1_000_000
    per_minute: int = 1_000_000
    overflow_429: bool = False
    """Above the concurrency: refuse with 429, or let it wait (the sources disagree)."""
    refund_after_ms: int = 0


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
    submits: list[dict[str, Any]] = field(default_factory=list)
    """Every submit that was taken, as it came: for tests that compare."""
    peak_running: int = 0
    on_created: Callable[[Task], object] = field(default=lambda _: None)
    """Is told of each task that was created, so that somebody makes its clip and says `rendered`."""
    _chance: random.Random = field(init=False)
    _waiting: deque[Task] = field(default_factory=deque)
    _busy: dict[str, Task] = field(default_factory=dict)
    _refunds: deque[Task] = field(default_factory=deque)
    _recent: deque[int] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed) if self.seed is not None else random.SystemRandom()  # noqa: S311
        if self.folder is not None:
            self._read_back()

    # ------------------------------------------------------------------ submit

    def submit(self, inputs: Mapping[str, Any]) -> Task:
        """Create and charge a task.

        Raises:
            RefusedRequestError: bad inputs, throttled, no credit.
        """
        check_inputs(inputs)
        now_ms = self.clock.now_ms()
        self._check_pace(now_ms)
        duration_s = int(inputs.get("duration", 5))
        task = Task(
            task_id=self._new_id(),
            inputs=dict(inputs),
            created_ms=now_ms,
            latency_ms=int(self.latency.draw_s(duration_s, self._chance) * 1000),
            fate=self.dice.throw(Fault.TASK_STUCK, *_FAILURES),
        )
        if not self.books.deduct(task.task_id, PRICE_USD_MICROS[duration_s], now_ms):
            raise RefusedRequestError(400, 1407, "insufficient credits")
        self.tasks[task.task_id] = task
        self.submits.append(dict(inputs))
        self._waiting.append(task)
        self._keep(task)
        self.advance()
        self.on_created(task)
        return task

    def _check_pace(self, now_ms: int) -> None:
        while self._recent and self._recent[0] <= now_ms - MINUTE_MS:
            self._recent.popleft()
        if len(self._recent) >= self.account.per_minute:
            wait_s = max(1, -(-(self._recent[0] + MINUTE_MS - now_ms) // 1000))
            raise RefusedRequestError(429, 429, "too many generations in this minute", retry_after_s=wait_s)
        if self.account.overflow_429 and self._running() >= self.account.concurrency:
            raise RefusedRequestError(429, 429, "too many generations at once", retry_after_s=1)
        self._recent.append(now_ms)

    def _running(self) -> int:
        return len(self._waiting) + len(self._busy)

    # ------------------------------------------------------------------ time

    def advance(self) -> None:
        """Bring every task to where it is by now."""
        now_ms = self.clock.now_ms()
        self.peak_running = max(self.peak_running, self._running())
        for task in list(self._busy.values()):
            self._maybe_end(task, now_ms)
        while self._waiting and len(self._busy) < self.account.concurrency:
            task = self._waiting.popleft()
            task.status, task.started_ms = "processing", now_ms
            self._busy[task.task_id] = task
            self._maybe_end(task, now_ms)
        while self._refunds and (self._refunds[0].ended_ms or 0) + self.account.refund_after_ms <= now_ms:
            self.books.refund(self._refunds.popleft().task_id, now_ms)

    def _maybe_end(self, task: Task, now_ms: int) -> None:
        due = now_ms >= (task.started_ms or now_ms) + task.latency_ms
        if not due or task.fate == Fault.TASK_STUCK:
            return
        if task.fate is not None:
            self.fail(task, *_FAILURES[Fault(task.fate)])
        elif task.rendered:
            del self._busy[task.task_id]
            task.status, task.ended_ms = "completed", now_ms
            self._keep(task)

    def rendered(self, task: Task) -> None:
        """The clip is there."""
        task.rendered = True
        self.advance()

    def fail(self, task: Task, code: int, error: str) -> None:
        """The task ends without a clip; the refund follows."""
        if not task.running:
            return
        if self._busy.pop(task.task_id, None) is None:
            self._waiting.remove(task)
        task.status, task.code, task.error, task.ended_ms = "failed", code, error, self.clock.now_ms()
        self._refunds.append(task)
        self._keep(task)

    # ------------------------------------------------------------------ keeping

    def _new_id(self) -> str:
        return f"{self._chance.getrandbits(128):032x}" if self.seed is not None else secrets.token_hex(16)

    def _keep(self, task: Task) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "tasks.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(task)) + "\n")

    def _read_back(self) -> None:
        """What was kept; tasks that had not ended are worked on again."""
        path = self.folder / "tasks.jsonl" if self.folder else None
        if path is None or not path.exists():
            return
        for line in path.read_text("utf-8").splitlines():
            try:
                task = Task(**json.loads(line))
            except (ValueError, TypeError):
                continue  # the last line of a killed process may be half a line
            if task.task_id not in self.tasks:
                self.books.deduct(task.task_id, PRICE_USD_MICROS[task.duration_s], task.created_ms)
            self.tasks[task.task_id] = task
        for task in self.tasks.values():
            if task.running:
                task.status, task.started_ms, task.rendered = "created", None, False
                self._waiting.append(task)


_FIELDS = {"prompt", "image", "negative_prompt", "guidance_scale", "duration"}
_MAX_CHARS = 2500


def check_inputs(inputs: Mapping[str, Any]) -> None:
    """The documented fields and ranges of the model's page.

    Raises:
        RefusedRequestError: 400 with 1400 (missing) or 1401 (invalid).
    """
    for name in ("prompt", "image"):
        if not isinstance(inputs.get(name), str) or not inputs[name]:
            raise RefusedRequestError(400, 1400, f"missing parameter: {name}")
    for name in ("prompt", "negative_prompt"):
        if not isinstance(inputs.get(name, ""), str) or len(inputs.get(name, "")) > _MAX_CHARS:
            raise RefusedRequestError(400, 1401, f"invalid parameter: {name}")
    if inputs.get("duration", 5) not in PRICE_USD_MICROS or isinstance(inputs.get("duration", 5), bool):
        raise RefusedRequestError(400, 1401, "invalid parameter: duration")
    guidance = inputs.get("guidance_scale", 0.5)
    if not isinstance(guidance, (int, float)) or isinstance(guidance, bool) or not 0 <= guidance <= 1:
        raise RefusedRequestError(400, 1401, "invalid parameter: guidance_scale")
    if unknown := set(inputs) - _FIELDS:
        raise RefusedRequestError(400, 1401, f"unknown parameter: {', '.join(sorted(unknown))}")
    if not inputs["image"].startswith(("http://", "https://")):
        raise RefusedRequestError(400, 1401, "invalid parameter: image")
