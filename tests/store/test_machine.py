"""Queue and ledger against a plain model: any order of claims, submits, answers, crashes, takeovers and decisions.

The model is a dictionary of attempts with what each holds and has cost; the real one is the schema, the statements and
the scripts on a real SQLite file. After every step both say the same of every attempt, job and cap.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from batchrun.errors import LostLeaseError
from batchrun.queue.answers import Audit, Recorded, RefundSeen
from batchrun.queue.records import CapReached, NotYet, Pace, Started, TooManyUnknown
from batchrun.queue.store import LEASE_MS, Queue
from tests.clocks import StillClock
from tests.sim.loop import VirtualLoop
from tests.sim.machine import Process, SimDatabase
from tests.store.stores import batch, budget, new_id, request, spec, take_in

T = TypeVar("T")
JOBS = 6
PRICE = 250_000
BUDGET = 4 * PRICE
PACE = Pace(concurrency=4, per_minute=100_000, max_unknown=2, stuck_after_ms=10**12, send_within_s=30)
WAITING = ("submitting", "unknown")


@dataclass
class Known:
    """What the plain model knows of one attempt."""

    job: str
    state: str = "submitting"
    held: int = PRICE
    spent: int = 0
    prediction: str | None = None
    settled: bool = False


class Machine(RuleBasedStateMachine):
    """Two processes on one queue; either may die at any time."""

    tries = Bundle("tries")

    @initialize()
    def begin(self) -> None:
        self.loop = VirtualLoop()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))  # noqa: S108  # the folder that is made there has a name of its own
        self.clock = StillClock()
        self.model: dict[str, Known] = {}
        self.jobs = dict.fromkeys((f"j{number}" for number in range(JOBS)), "queued")
        self.predictions = 0
        self.queues = [self.run(self._open()) for _ in range(2)]
        specs = [spec(key, self.folder, price=PRICE, position=at) for at, key in enumerate(self.jobs)]
        self.scope = self.run(take_in(self.queues[0], batch(self.folder, specs)))

    async def _open(self) -> Queue:
        connect = SimDatabase.opener(Process("p"), lambda: None)
        queue = await Queue.open(
            self.folder / "queue.db", self.clock, kind="paid", origin="x", new_id=new_id, connect=connect
        )
        await queue.start_run()
        return queue

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            for queue in self.queues:
                self.run(queue.close())
            self.loop.close()
            shutil.rmtree(self.folder)

    # ------------------------------------------------------------------ buying

    @rule(target=tries, who=st.integers(0, 1), count=st.integers(1, 4))
    def buy(self, who: int, count: int) -> MultipleResults[str]:
        """Claim and start in one transaction, under one cap: as many as money, slots and doubts allow."""
        return multiple(*self._buy(self.queues[who], count))

    @rule(target=tries, who=st.integers(0, 1))
    def buy_and_hear_nothing(self, who: int) -> MultipleResults[str]:
        """The answer is lost at once: this is how doubts pile up."""
        started = self._buy(self.queues[who], 1)
        for attempt in started:
            self.unknown(attempt, who)
        return multiple(*started)

    def _buy(self, queue: Queue, count: int) -> list[str]:
        jobs = self.run(queue.claim_queued([self.scope], count))
        wanted = [request(job, budget(job, BUDGET)) for job in jobs]
        blocked = sum(one.state == "unknown" for one in self.model.values()) >= PACE.max_unknown
        started: list[str] = []
        decisions = self.run(queue.begin_submits(wanted, PACE)) if wanted else []
        for job, one, decision in zip(jobs, wanted, decisions, strict=True):
            self._expect(decision, blocked=blocked)
            if isinstance(decision, Started):
                self.model[one.attempt_id] = Known(job.key)
                self.jobs[job.key] = "submitting"
                started.append(one.attempt_id)
            else:
                self.run(queue.release(job))
        return started

    def _expect(self, decision: object, *, blocked: bool) -> None:
        doubtful = sum(one.state == "unknown" for one in self.model.values())
        waiting = sum(one.state == "submitting" for one in self.model.values())
        running = sum(one.state in (*WAITING, "running") for one in self.model.values())
        if blocked:
            assert isinstance(decision, TooManyUnknown)
        elif running >= PACE.concurrency or (doubtful and waiting) or self._too_many_wait(waiting):
            assert isinstance(decision, NotYet)
        elif self._committed() + PRICE > BUDGET:
            assert isinstance(decision, CapReached)
        else:
            assert isinstance(decision, Started)

    def _too_many_wait(self, waiting: int) -> bool:
        return waiting >= PACE.concurrency - 1  # one second's worth of the minute is far more

    def _committed(self) -> int:
        return sum(one.held + one.spent for one in self.model.values())

    # ------------------------------------------------------------------ answers, in any state, from anybody

    @rule(attempt=tries, who=st.integers(0, 1))
    def accepted(self, attempt: str, who: int) -> None:
        known = self.model[attempt]
        prediction = known.prediction or f"pred-{len(self.model)}-{attempt}"
        before, was_left = known.state, self._was_left(known.job)
        recorded = self.run(self.queues[who].record_accepted(attempt, prediction, "created"))
        if before in WAITING:
            assert recorded is Recorded.RUNNING
            known.state, known.prediction = "running", prediction
            self.jobs[known.job] = "running"
        elif known.prediction is not None:
            assert recorded is Recorded.KNOWN
        else:
            self._late(known, prediction, recorded, was_left=was_left)

    def _late(self, known: Known, prediction: str, recorded: Recorded, *, was_left: bool) -> None:
        """It was given up: void (its money is free) or left (its money is held)."""
        known.prediction = prediction
        if known.settled:
            known.spent += PRICE
        job_waits = self.jobs[known.job] == "queued" or (self.jobs[known.job] == "failed" and was_left)
        if job_waits:
            assert recorded is Recorded.LATE_RUNNING
            known.state = self.jobs[known.job] = "running"
        else:
            assert recorded is Recorded.LATE_APART
            known.state = "late"

    def _was_left(self, job: str) -> bool:
        connection = sqlite3.connect(self.folder / "queue.db")
        (kind,) = connection.execute("SELECT failure_kind FROM jobs WHERE key = ?", (job,)).fetchone()
        connection.close()
        return bool(kind == "left_undecided")

    @rule(attempt=tries, who=st.integers(0, 1), again=st.booleans())
    def nothing_created(self, attempt: str, who: int, again: bool) -> None:  # noqa: FBT001  # drawn
        known = self.model[attempt]
        retry_ms = self.clock.now_ms() if again else None
        done = self.run(self.queues[who].record_nothing_created(attempt, "void", None, "absent", retry_ms, "void"))
        assert done == (known.state in WAITING)
        if done:
            known.state, known.held, known.settled = "void", 0, True
            self.jobs[known.job] = "queued" if again else "failed"

    @rule(attempt=tries, who=st.integers(0, 1))
    def unknown(self, attempt: str, who: int) -> None:
        known = self.model[attempt]
        done = self.run(self.queues[who].record_unknown(attempt, "no answer"))
        assert done == (known.state == "submitting")
        if done:
            known.state = self.jobs[known.job] = "unknown"

    @rule(attempt=tries, who=st.integers(0, 1))
    def park(self, attempt: str, who: int) -> None:
        known = self.model[attempt]
        done = self.run(self.queues[who].doubts.park(attempt, "nobody can tell"))
        assert done == (known.state == "unknown" and self.jobs[known.job] == "unknown")
        if done:
            self.jobs[known.job] = "parked"

    @rule(attempt=tries, who=st.integers(0, 1))
    def leave(self, attempt: str, who: int) -> None:
        known = self.model[attempt]
        done = self.run(self.queues[who].doubts.leave(attempt, "left"))
        assert done == (known.state == "unknown")
        if done:
            known.state, self.jobs[known.job] = "left", "failed"

    @rule(attempt=tries, who=st.integers(0, 1))
    def completed(self, attempt: str, who: int) -> None:
        known = self.model[attempt]
        done = self.run(self.queues[who].record_completed(attempt, "completed", "https://c/x.mp4"))
        assert done == (known.state in ("running", "late"))
        if done:
            if not known.settled:
                known.held, known.spent, known.settled = 0, PRICE, True
            if known.state == "running":
                self.jobs[known.job] = "downloading"
            known.state = "completed"

    @rule(attempt=tries, who=st.integers(0, 1), again=st.booleans())
    def failed(self, attempt: str, who: int, again: bool) -> None:  # noqa: FBT001  # drawn
        known = self.model[attempt]
        retry_ms = self.clock.now_ms() if again else None
        done = self.run(self.queues[who].record_failed(attempt, "failed", 1405, "failed", retry_ms, "task_failed"))
        assert done == (known.state in ("running", "late"))
        if done:
            if known.state == "running":
                self.jobs[known.job] = "queued" if again else "failed"
            known.state = "failed"

    # ------------------------------------------------------------------ money that comes back, or not

    @rule(attempt=tries, seen=st.sampled_from(RefundSeen))
    def refund(self, attempt: str, seen: RefundSeen) -> None:
        due = {one.attempt_id for one in self.run(self.queues[0].doubts.refunds_due())}
        known = self.model.get(attempt)
        waits = known is not None and known.state == "failed" and not known.settled
        assert (attempt in due) == waits
        if known is not None and waits:
            assert self.run(self.queues[0].doubts.record_refund(attempt, seen))
            known.held, known.settled = 0, True
            known.spent = PRICE if seen is RefundSeen.DENIED else 0

    @rule(attempt=tries, charged=st.sampled_from([0, PRICE - 10_000, PRICE, PRICE + 20_000]))
    def audit(self, attempt: str, charged: int) -> None:
        """The billing says what it was charged; only what is settled and exists can differ."""
        due = {one.attempt_id for one in self.run(self.queues[1].doubts.charges_to_audit(0, "", 100))}
        known = self.model.get(attempt)
        if known is None or attempt not in due:
            return
        assert known.settled
        (more,) = self.run(self.queues[1].doubts.record_audits([Audit(attempt, charged, is_final=False)]))
        assert more == charged - known.spent
        known.spent = charged

    # ------------------------------------------------------------------ the file, and processes

    @rule(who=st.integers(0, 1))
    def collect(self, who: int) -> None:
        """Whoever holds the lease finishes; nobody else can."""
        queue = self.queues[who]
        for job in self.run(queue.claim_paid([self.scope.batch_id], 1, put_off_too=True)):
            if job.state == "downloading":
                self.run(queue.file_ready(job, "a" * 64, 1, "{}"))
                self.run(queue.finish(job))
                self.jobs[job.key] = "done"
                try:
                    self.run(queue.finish(job))
                except LostLeaseError:
                    continue
                raise AssertionError("finished twice")
            self.run(queue.release(job))

    @rule(who=st.integers(0, 1), waits=st.booleans())
    def crash(self, who: int, waits: bool) -> None:  # noqa: FBT001  # drawn
        """The process is gone without a word; another one comes, before or after its lease has run out."""
        if waits:
            self.clock.advance(LEASE_MS / 1000 + 1)
        self.queues[who] = self.run(self._open())
        self.run(self.queues[1 - who].renew_run())

    @rule(seconds=st.integers(-600, 600))
    def time(self, seconds: int) -> None:
        """Clocks run, and step back."""
        self.clock.advance(seconds)
        for queue in self.queues:
            self.run(queue.renew_run())

    # ------------------------------------------------------------------ what always holds

    @invariant()
    def the_same(self) -> None:
        if not hasattr(self, "queues"):
            return
        connection = sqlite3.connect(self.folder / "queue.db")
        attempts = dict(connection.execute("SELECT attempt_id, state FROM attempts"))
        money = {
            row[0]: row[1:]
            for row in connection.execute(
                "SELECT attempt_id, sum(held_usd_micros), sum(spent_usd_micros) FROM ledger GROUP BY attempt_id"
            )
        }
        jobs = dict(connection.execute("SELECT key, state FROM jobs"))
        connection.close()
        assert attempts == {name: one.state for name, one in self.model.items()}
        assert money == {name: (one.held, one.spent) for name, one in self.model.items()}
        assert jobs == self.jobs
        over = sum(max(0, one.spent - PRICE) for one in self.model.values())  # charged more than was agreed
        late = sum(one.spent for one in self.model.values() if one.state in ("late", "running") and one.settled)
        assert self._committed() - over - late <= BUDGET + self._late_extra()

    def _late_extra(self) -> int:
        """What was given up and is charged after all may stand above the cap: nobody could know."""
        connection = sqlite3.connect(self.folder / "queue.db")
        (extra,) = connection.execute(
            "SELECT coalesce(sum(amount_usd_micros), 0) FROM ledger WHERE kind IN ('late_charge', 'adjust')"
        ).fetchone()
        connection.close()
        return int(extra)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
