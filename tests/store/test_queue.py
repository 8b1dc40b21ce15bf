"""The queue: claims, leases, the transaction that spends, answers, and what the database refuses."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from batchrun.errors import LostLeaseError, QueueError
from batchrun.plan import intakes, make_plan
from batchrun.queue.answers import Recorded, RefundSeen
from batchrun.queue.intake import StalePlanError
from batchrun.queue.records import CapReached, Gone, Job, NotYet, Pace, Scope, Started, Took, TooManyUnknown
from batchrun.queue.sqlite import SqliteDatabase
from batchrun.queue.states import JobState
from batchrun.queue.store import LEASE_MS, Queue
from batchrun.queue.submits import unanswered_allowed
from tests.clocks import StillClock
from tests.store.stores import PACE, batch, budget, daily, opened, request, spec, take_in


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
async def queue(tmp_path: Path, clock: StillClock) -> AsyncIterator[Queue]:
    async with opened(tmp_path, clock) as one:
        yield one


async def claimed(queue: Queue, tmp_path: Path, count: int = 1, **more: int) -> list[Job]:
    specs = [spec(f"j{number}", tmp_path, **more) for number in range(count)]
    scope = await take_in(queue, batch(tmp_path, specs))
    return await queue.claim_queued([scope], count)


async def started(queue: Queue, tmp_path: Path) -> tuple[Job, str]:
    """A job whose submit is under way, and its attempt."""
    (job,) = await claimed(queue, tmp_path)
    wish = request(job)
    (decision,) = await queue.begin_submits([wish], PACE)
    assert isinstance(decision, Started)
    return await queue.read_job(job.job_id), wish.attempt_id


async def downloading(queue: Queue, tmp_path: Path) -> Job:
    job, attempt_id = await started(queue, tmp_path)
    await queue.record_accepted(attempt_id, "pred-1", "created")
    await queue.record_completed(attempt_id, "completed", "https://cdn.example/a.mp4")
    return await queue.read_job(job.job_id)


async def money(queue: Queue, job: Job) -> tuple[int, int]:
    balance = await queue.balance(Scope(batch_id=job.batch_id))
    return balance.held_usd_micros, balance.spent_usd_micros


# ---------------------------------------------------------------------- the way of a job


async def test_the_whole_way(queue: Queue, tmp_path: Path) -> None:
    job, attempt_id = await started(queue, tmp_path)
    assert (job.state, await money(queue, job)) == (JobState.SUBMITTING, (250_000, 0))
    assert await queue.record_accepted(attempt_id, "pred-1", "created")
    assert (await queue.read_job(job.job_id)).state is JobState.RUNNING
    assert await queue.record_completed(attempt_id, "completed", "https://cdn.example/a.mp4")
    job = await queue.read_job(job.job_id)
    assert (job.state, await money(queue, job)) == (JobState.DOWNLOADING, (0, 250_000))
    await queue.file_ready(job, "b" * 64, 10, "{}")
    await queue.finish(job)
    job = await queue.read_job(job.job_id)
    assert (job.state, job.placed_sha256) == (JobState.DONE, "b" * 64)


async def test_refused_gives_the_money_back_and_fails_the_job(queue: Queue, tmp_path: Path) -> None:
    job, attempt_id = await started(queue, tmp_path)
    assert await queue.record_nothing_created(attempt_id, "refused", 1401, "bad", None, "refused")
    assert (await queue.read_job(job.job_id)).state is JobState.FAILED
    assert await money(queue, job) == (0, 0)


async def test_throttled_waits_and_is_bought_later(queue: Queue, tmp_path: Path, clock: StillClock) -> None:
    job, attempt_id = await started(queue, tmp_path)
    retry_ms = clock.now_ms() + 5000
    await queue.record_nothing_created(attempt_id, "refused", 429, "slow", retry_ms, "refused")
    scope = await scope_of(queue)
    assert await queue.claim_queued([scope], 9) == []
    clock.advance(5)
    assert [one.key for one in await queue.claim_queued([scope], 9)] == [job.key]


async def scope_of(queue: Queue) -> object:
    from batchrun.queue.leases import ClaimScope  # noqa: PLC0415  # only this test needs it

    (view,) = await queue.batch_views()
    return ClaimScope(view.batch_id, 2**60)


async def test_an_unknown_outcome_holds_the_money(queue: Queue, tmp_path: Path) -> None:
    job, attempt_id = await started(queue, tmp_path)
    assert await queue.record_unknown(attempt_id, "no answer")
    assert (await queue.read_job(job.job_id)).state is JobState.UNKNOWN
    assert await money(queue, job) == (250_000, 0)


async def test_a_late_answer_is_never_thrown_away(queue: Queue, tmp_path: Path) -> None:
    job, attempt_id = await started(queue, tmp_path)
    await queue.record_unknown(attempt_id, "no answer")
    assert await queue.record_accepted(attempt_id, "pred-1", "created")
    assert (await queue.read_job(job.job_id)).state is JobState.RUNNING


@pytest.mark.parametrize(
    ("seen", "spent"), [(RefundSeen.REFUNDED, 0), (RefundSeen.NEVER_CHARGED, 0), (RefundSeen.DENIED, 250_000)]
)
async def test_a_failed_task_holds_the_money_until_its_refund_is_decided(
    queue: Queue, tmp_path: Path, seen: RefundSeen, spent: int
) -> None:
    job, attempt_id = await started(queue, tmp_path)
    await queue.record_accepted(attempt_id, "pred-1", "created")
    assert await queue.record_failed(attempt_id, "failed", 1405, "task failed", None, "task_failed")
    assert await money(queue, job) == (250_000, 0)
    (due,) = await queue.doubts.refunds_due()
    assert (due.attempt_id, due.prediction_id, due.amount_usd_micros) == (attempt_id, "pred-1", 250_000)
    assert await queue.doubts.record_refund(attempt_id, seen)
    assert (await money(queue, job), await queue.doubts.refunds_due()) == ((0, spent), [])
    assert not await queue.doubts.record_refund(attempt_id, RefundSeen.REFUNDED)
    assert await money(queue, job) == (0, spent)


async def test_every_answer_counts_once(queue: Queue, tmp_path: Path) -> None:
    job, attempt_id = await started(queue, tmp_path)
    assert await queue.record_accepted(attempt_id, "pred-1", "created") is Recorded.RUNNING
    assert await queue.record_accepted(attempt_id, "pred-1", "created") is Recorded.KNOWN
    assert await queue.record_accepted(attempt_id, "pred-2", "created") is Recorded.SECOND
    assert not await queue.record_unknown(attempt_id, "late")
    assert not await queue.record_nothing_created(attempt_id, "void", None, "late", None, "x")
    assert await queue.record_completed(attempt_id, "completed", "https://cdn.example/a.mp4")
    assert not await queue.record_completed(attempt_id, "completed", "https://cdn.example/a.mp4")
    assert not await queue.record_failed(attempt_id, "failed", 1, "late", None, "x")
    assert await money(queue, job) == (0, 250_000)


# ---------------------------------------------------------------------- claims and leases


async def test_highest_priority_first_then_the_manifests_order(queue: Queue, tmp_path: Path) -> None:
    specs = [spec("a", tmp_path), spec("b", tmp_path, priority=5), spec("c", tmp_path), spec("d", tmp_path, priority=5)]
    scope = await take_in(queue, batch(tmp_path, specs))
    assert [job.key for job in await queue.claim_queued([scope], 10)] == ["b", "d", "a", "c"]


async def test_priority_holds_across_batches(queue: Queue, tmp_path: Path) -> None:
    one = await take_in(queue, batch(tmp_path, [spec("a", tmp_path), spec("b", tmp_path, priority=9)], "one"))
    two = await take_in(queue, batch(tmp_path, [spec("c", tmp_path, priority=5), spec("d", tmp_path)], "two"))
    assert [job.key for job in await queue.claim_queued([one, two], 3)] == ["b", "c", "a"]


async def test_nobody_claims_what_a_living_run_holds(queue: Queue, tmp_path: Path, clock: StillClock) -> None:
    (job,) = await claimed(queue, tmp_path)
    async with opened(tmp_path, clock) as other:
        scope = await scope_of(queue)
        assert await other.claim_queued([scope], 9) == []
        clock.advance(LEASE_MS / 1000 + 1)
        await other.renew_run()
        assert [one.key for one in await other.claim_queued([scope], 9)] == [job.key]
        (decision,) = await queue.begin_submits([request(job)], PACE)
        assert isinstance(decision, Gone)


async def test_the_lease_of_a_process_that_is_gone_is_not_waited_for(
    queue: Queue, tmp_path: Path, clock: StillClock
) -> None:
    (job,) = await claimed(queue, tmp_path)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with sqlite3.connect(tmp_path / "queue.db") as connection:
        connection.execute("UPDATE runs SET pid = ?", (gone.pid,))
    connection.close()
    async with opened(tmp_path, clock) as other:
        assert [one.key for one in await other.claim_queued([await scope_of(queue)], 9)] == [job.key]


async def test_a_renewed_lease_holds(queue: Queue, tmp_path: Path, clock: StillClock) -> None:
    await claimed(queue, tmp_path)
    async with opened(tmp_path, clock) as other:
        for _ in range(5):
            clock.advance(LEASE_MS / 2000)
            await queue.renew_run()
            await other.renew_run()
        assert await other.claim_queued([await scope_of(queue)], 9) == []


async def test_what_a_dead_run_left_in_flight_is_taken_over(queue: Queue, tmp_path: Path, clock: StillClock) -> None:
    job, _ = await started(queue, tmp_path)
    async with opened(tmp_path, clock) as other:
        assert await other.claim_paid([job.batch_id], 9, put_off_too=True) == []
        clock.advance(LEASE_MS / 1000 + 1)
        await other.renew_run()
        (taken,) = await other.claim_paid([job.batch_id], 9, put_off_too=True)
        assert (taken.state, taken.attempt and taken.attempt.attempt_id) == (
            JobState.SUBMITTING,
            job.attempt and job.attempt.attempt_id,
        )


async def test_a_lost_lease_is_an_error_never_silence(queue: Queue, tmp_path: Path, clock: StillClock) -> None:
    job = await downloading(queue, tmp_path)
    async with opened(tmp_path, clock) as other:
        clock.advance(LEASE_MS / 1000 + 1)
        await other.renew_run()
        assert await other.claim_paid([job.batch_id], 9, put_off_too=True)
        with pytest.raises(LostLeaseError):
            await queue.file_ready(job, "b" * 64, 10, "{}")
        with pytest.raises(LostLeaseError):
            await queue.reject(job, "broken_clip", "x")


async def test_a_run_never_claims_its_own_jobs_again(queue: Queue, tmp_path: Path, clock: StillClock) -> None:
    """Not even after a jump of the clock that makes its own lease look dead."""
    await claimed(queue, tmp_path, 2)
    clock.advance(10_000)
    assert await queue.claim_queued([await scope_of(queue)], 9) == []


async def test_a_job_that_changed_is_not_bought_with_its_old_text(
    queue: Queue, tmp_path: Path, clock: StillClock
) -> None:
    job, attempt_id = await started(queue, tmp_path)
    await queue.record_accepted(attempt_id, "pred-1", "created")
    await take_in(queue, batch(tmp_path, [spec("j0", tmp_path, prompt="new", price=500_000)]))
    assert (await queue.read_job(job.job_id)).price_usd_micros == 250_000
    await queue.record_failed(attempt_id, "failed", 1405, "x", clock.now_ms(), "task_failed")
    assert (await queue.read_job(job.job_id)).state is JobState.FAILED
    scope = await take_in(queue, batch(tmp_path, [spec("j0", tmp_path, prompt="new", price=500_000)]))
    (again,) = await queue.claim_queued([scope], 9)
    assert (again.revision.prompt, again.price_usd_micros) == ("new", 500_000)


async def test_a_plan_that_another_reading_overtook_is_made_again(queue: Queue, tmp_path: Path) -> None:
    one = batch(tmp_path, [spec("a", tmp_path)])
    seen = await queue.manifests.known("shop")
    await take_in(queue, one)
    with pytest.raises(StalePlanError):
        await queue.manifests.swap_in(one, seen, intakes(make_plan(one.jobs, {}, 0)))


async def test_a_finished_run_gives_everything_back(queue: Queue, tmp_path: Path, clock: StillClock) -> None:
    (job,) = await claimed(queue, tmp_path)
    await queue.end_run()
    async with opened(tmp_path, clock) as other:
        assert [one.key for one in await other.claim_queued([await scope_of(queue)], 9)] == [job.key]


async def test_a_job_that_left_the_manifest_is_not_bought(queue: Queue, tmp_path: Path) -> None:
    await take_in(queue, batch(tmp_path, [spec("a", tmp_path), spec("b", tmp_path)]))
    scope = await take_in(queue, batch(tmp_path, [spec("b", tmp_path)]))
    assert [job.key for job in await queue.claim_queued([scope], 9)] == ["b"]
    (view,) = await queue.batch_views()
    assert (view.removed, view.counts) == (1, {JobState.QUEUED: 1})


# ---------------------------------------------------------------------- caps, slots, rate


async def test_a_cap_is_met_exactly_and_never_passed(queue: Queue, tmp_path: Path) -> None:
    jobs = await claimed(queue, tmp_path, 5)
    decisions = await queue.begin_submits([request(job, budget(job, 750_000)) for job in jobs], PACE)
    assert [type(one) for one in decisions] == [Started, Started, Started, CapReached, CapReached]
    assert await money(queue, jobs[0]) == (750_000, 0)
    assert isinstance(decisions[3], CapReached)
    assert decisions[3].left_usd_micros == 0


async def test_a_cheaper_job_may_pass_a_dearer_one(queue: Queue, tmp_path: Path) -> None:
    specs = [spec("dear", tmp_path, price=500_000), spec("cheap", tmp_path)]
    scope = await take_in(queue, batch(tmp_path, specs))
    jobs = await queue.claim_queued([scope], 2)
    decisions = await queue.begin_submits([request(job, budget(job, 300_000)) for job in jobs], PACE)
    assert [type(one) for one in decisions] == [CapReached, Started]


async def test_a_submit_that_a_person_left_and_that_failed_after_all_may_be_bought_again(
    queue: Queue, tmp_path: Path
) -> None:
    (job,) = await claimed(queue, tmp_path)
    first = request(job)
    await queue.begin_submits([first], PACE)
    await queue.record_unknown(first.attempt_id, "cut")
    await queue.doubts.park(first.attempt_id, "nobody can tell")
    await queue.doubts.leave(first.attempt_id, "left")
    await queue.record_accepted(first.attempt_id, "pred-1", "created")
    await queue.record_failed(first.attempt_id, "failed", 1405, "x", 0, "task_failed")
    (again,) = await queue.claim_queued([await scope_of(queue)], 9)
    assert isinstance((await queue.begin_submits([replace(request(again), attempt_id="second")], PACE))[0], Started)


async def test_void_makes_room_and_failure_does_not(queue: Queue, tmp_path: Path) -> None:
    jobs = await claimed(queue, tmp_path, 3)
    first, second, third = (request(job, budget(job, 250_000)) for job in jobs)
    assert isinstance((await queue.begin_submits([first], PACE))[0], Started)
    await queue.record_nothing_created(first.attempt_id, "void", None, "not sent", None, "x")
    assert isinstance((await queue.begin_submits([second], PACE))[0], Started)
    await queue.record_accepted(second.attempt_id, "pred-1", "created")
    await queue.record_failed(second.attempt_id, "failed", 1405, "x", None, "task_failed")
    assert isinstance((await queue.begin_submits([third], PACE))[0], CapReached)


async def test_a_daily_cap_opens_with_the_next_day_and_never_again(
    queue: Queue, tmp_path: Path, clock: StillClock
) -> None:
    jobs = await claimed(queue, tmp_path, 5)
    found = []
    for job, hours in zip(jobs, (0, 0, 24, -24, 48), strict=True):  # the fourth: the clock was stepped back
        clock.advance(hours * 3600)
        found.append(type((await queue.begin_submits([request(job, daily(job, 250_000))], PACE))[0]))
    assert found == [Started, CapReached, Started, CapReached, Started]


async def test_the_day_is_that_of_the_reserve(queue: Queue, tmp_path: Path, clock: StillClock) -> None:
    """A job may wait in line over midnight."""
    clock.ms = 1_800_057_599_000  # 23:59:59 UTC
    jobs = await claimed(queue, tmp_path, 2)
    first, second = (request(job, daily(job, 250_000)) for job in jobs)
    assert isinstance((await queue.begin_submits([first], PACE))[0], Started)
    clock.advance(2)
    assert isinstance((await queue.begin_submits([second], PACE))[0], Started)


async def test_caps_hold_over_processes(queue: Queue, tmp_path: Path, clock: StillClock) -> None:
    async with opened(tmp_path, clock) as other:
        scope = await take_in(queue, batch(tmp_path, [spec(f"j{n}", tmp_path) for n in range(20)]))
        mine, theirs = await queue.claim_queued([scope], 10), await other.claim_queued([scope], 10)
        assert not {job.key for job in mine} & {job.key for job in theirs}
        decisions = await asyncio.gather(
            *(queue.begin_submits([request(job, budget(job, 1_250_000))], PACE) for job in mine),
            *(other.begin_submits([request(job, budget(job, 1_250_000))], PACE) for job in theirs),
        )
        assert sum(isinstance(one, Started) for (one,) in decisions) == 5
        assert await money(queue, mine[0]) == (1_250_000, 0)


async def test_slots_are_held_from_intent_to_the_end_of_the_prediction(queue: Queue, tmp_path: Path) -> None:
    pace = Pace(concurrency=1, per_minute=100, max_unknown=9, stuck_after_ms=3_600_000, send_within_s=1)
    first, second = (request(job) for job in await claimed(queue, tmp_path, 2))
    assert isinstance((await queue.begin_submits([first], pace))[0], Started)
    assert (await queue.begin_submits([second], pace))[0] == NotYet("slots", None)
    await queue.record_accepted(first.attempt_id, "pred-1", "created")
    assert (await queue.begin_submits([second], pace))[0] == NotYet("slots", None)
    await queue.record_completed(first.attempt_id, "completed", "https://cdn.example/a.mp4")
    assert isinstance((await queue.begin_submits([second], pace))[0], Started)


async def test_an_unknown_attempt_gives_its_slot_back_but_not_its_money(
    queue: Queue, tmp_path: Path, clock: StillClock
) -> None:
    pace = Pace(concurrency=2, per_minute=100, max_unknown=9, stuck_after_ms=3_600_000, send_within_s=1)
    jobs = await claimed(queue, tmp_path, 3)
    first, second, third = (request(job) for job in jobs)
    await queue.begin_submits([first], pace)
    await queue.record_unknown(first.attempt_id, "no answer")
    clock.advance(3000)
    assert isinstance((await queue.begin_submits([second], pace))[0], Started)
    assert (await queue.begin_submits([third], pace))[0] == NotYet("slots", None)
    await queue.record_accepted(second.attempt_id, "pred-2", "created")
    assert (await queue.begin_submits([third], pace))[0] == NotYet("slots", None)
    clock.advance(601)
    assert isinstance((await queue.begin_submits([third], pace))[0], Started)
    assert await money(queue, jobs[0]) == (750_000, 0)


async def test_too_many_unknown_stop_everything(queue: Queue, tmp_path: Path) -> None:
    pace = Pace(concurrency=9, per_minute=100, max_unknown=1, stuck_after_ms=3_600_000, send_within_s=1)
    first, second = (request(job) for job in await claimed(queue, tmp_path, 2))
    await queue.begin_submits([first], pace)
    await queue.record_unknown(first.attempt_id, "no answer")
    assert (await queue.begin_submits([second], pace))[0] == TooManyUnknown(1)


async def test_when_every_slot_is_doubtful_nothing_starts(queue: Queue, tmp_path: Path, clock: StillClock) -> None:
    pace = Pace(concurrency=1, per_minute=100, max_unknown=3, stuck_after_ms=3_600_000, send_within_s=1)
    first, second = (request(job) for job in await claimed(queue, tmp_path, 2))
    await queue.begin_submits([first], pace)
    await queue.record_unknown(first.attempt_id, "no answer")
    assert (await queue.begin_submits([second], pace))[0] == TooManyUnknown(1)
    clock.advance(3601)  # its slot is given back, its money is not
    await queue.renew_run()
    assert isinstance((await queue.begin_submits([second], pace))[0], Started)


@pytest.mark.parametrize(
    ("concurrency", "per_minute", "max_unknown", "unknown", "wanted"),
    [
        (50, 60, 5, 0, 2),  # the others are kept for witnesses
        (50, 60, 5, 1, 1),
        (50, 60, 5, 2, 1),
        (50, 60, 5, 4, 1),
        (50, 600, 5, 0, 5),  # half a second's worth, while nothing is unknown
        (50, 600, 5, 1, 1),
        (2, 600, 5, 0, 1),
        (1, 600, 5, 0, 1),
        (50, 60, 1, 0, 1),
        (50, 60, 20, 5, 5),
    ],
)
def test_how_many_submits_wait_for_their_answers(
    concurrency: int, per_minute: int, max_unknown: int, unknown: int, wanted: int
) -> None:
    pace = Pace(
        concurrency=concurrency, per_minute=per_minute, max_unknown=max_unknown, stuck_after_ms=1, send_within_s=1
    )
    assert unanswered_allowed(pace, unknown) == wanted


async def test_unknown_outcomes_in_a_row_hold_the_next_submit_back(
    queue: Queue, tmp_path: Path, clock: StillClock
) -> None:
    pace = replace(PACE, settle_ms=300_000)
    waiting = [request(job) for job in await claimed(queue, tmp_path, 7)]
    pauses_s: list[int] = []
    for one in waiting[:5]:
        begun_s = clock.monotonic_s()
        await queue.renew_run()
        while not isinstance((await queue.begin_submits([one], pace))[0], Started):
            await queue.renew_run()
            clock.advance(1)
        pauses_s.append(round(clock.monotonic_s() - begun_s))
        await queue.record_unknown(one.attempt_id, "cut")
    assert pauses_s == [0, 0, 60, 240, 960]
    clock.advance(960)
    await queue.renew_run()
    assert isinstance((await queue.begin_submits([waiting[5]], pace))[0], Started)
    await queue.record_accepted(waiting[5].attempt_id, "p-1", "created")
    assert isinstance((await queue.begin_submits([waiting[6]], pace))[0], Started)


async def test_starts_in_any_sixty_seconds(queue: Queue, tmp_path: Path, clock: StillClock) -> None:
    """The provider may see a request at any time between its intent and its answer: neither end may bunch up."""
    pace = Pace(concurrency=1000, per_minute=3, max_unknown=9, stuck_after_ms=3_600_000, send_within_s=1)
    waiting = [request(job) for job in await claimed(queue, tmp_path, 12)]
    seen: list[tuple[int, int]] = []
    while waiting:
        (decision,) = await queue.begin_submits(waiting[:1], pace)
        if isinstance(decision, Started):
            intent_ms = clock.now_ms()
            clock.advance(0.7)
            await queue.record_accepted(waiting.pop(0).attempt_id, f"pred-{len(seen)}", "created")
            seen.append((intent_ms, clock.now_ms()))
        else:
            assert isinstance(decision, NotYet)
            assert decision.retry_ms is not None
            clock.ms = max(decision.retry_ms, clock.ms + 1)
            await queue.renew_run()
    for index, (intent_ms, _) in enumerate(seen[3:]):
        assert intent_ms - seen[index][1] >= 60_000
    assert clock.now_ms() - seen[0][0] < 4 * 61_000  # and no slower than it must be


# ---------------------------------------------------------------------- what the database refuses


REFUSALS = [
    "UPDATE ledger SET amount_usd_micros = 0",
    "DELETE FROM ledger",
    "INSERT INTO ledger SELECT NULL, attempt_id, batch_id, campaign, run_id, day, 'settle', 250000, -250000, 250000, 0 FROM attempts",
    "INSERT INTO ledger SELECT NULL, attempt_id, batch_id, campaign, run_id, day, 'reserve', 250000, 250000, 0, 0 FROM attempts",
    "INSERT INTO ledger SELECT NULL, attempt_id, batch_id, campaign, run_id, day, 'adjust', -1, 0, -1, 0 FROM attempts",
    "INSERT INTO ledger SELECT NULL, attempt_id, batch_id, campaign, run_id, day, 'gift', 1, 0, 1, 0 FROM attempts",
    "INSERT INTO ledger SELECT NULL, attempt_id, batch_id, campaign, run_id, day, 'void', 1, -1, 0, 0 FROM attempts",
    "INSERT INTO ledger SELECT NULL, attempt_id, batch_id, campaign, run_id, day, 'late_charge', 1, 0, 1, 0 FROM attempts",
    "INSERT INTO ledger SELECT NULL, attempt_id, batch_id, campaign, run_id, day, 'unknown', 1, 1, 0, 0 FROM attempts",
    "UPDATE attempts SET state = 'late'",
    "UPDATE attempts SET state = 'left'",
    "UPDATE revisions SET prompt = 'other'",
    "UPDATE jobs SET state = 'done'",
    "UPDATE jobs SET state = 'sleeping'",
    "UPDATE jobs SET state = 'queued'",
    "UPDATE jobs SET attempt_id = NULL",
    "UPDATE attempts SET state = 'completed', finished_ms = 1",
    "UPDATE attempts SET price_usd_micros = -1",
    "UPDATE attempts SET price_usd_micros = 0.5",
    "UPDATE queue_identity SET kind = 'other'",
    """INSERT INTO jobs SELECT job_id + 1, batch_id, key || 'x', state, revision_id, attempt_id, priority, position,
    price_usd_micros, tags, image_path, output_path, output_key, generation, 0, lease_run_id, 0, NULL, NULL, NULL,
    NULL, NULL, NULL, 0, NULL, NULL, NULL FROM jobs""",
]


@pytest.mark.parametrize("statement", REFUSALS)
async def test_the_database_refuses_what_must_never_be(
    queue: Queue, tmp_path: Path, clock: StillClock, statement: str
) -> None:
    await started(queue, tmp_path)
    with sqlite3.connect(tmp_path / "queue.db") as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)
    connection.close()


async def test_one_prediction_belongs_to_one_attempt(queue: Queue, tmp_path: Path) -> None:
    first, second = (request(job) for job in await claimed(queue, tmp_path, 2))
    await queue.begin_submits([first, second], PACE)
    await queue.record_accepted(first.attempt_id, "pred-1", "created")
    assert await queue.record_accepted(second.attempt_id, "pred-1", "created") is Recorded.TAKEN
    with sqlite3.connect(tmp_path / "queue.db") as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute("UPDATE attempts SET prediction_id = 'pred-1'")
    connection.close()


# ---------------------------------------------------------------------- the file, and to whom it belongs


async def test_a_queue_belongs_to_one_kind_and_one_origin(tmp_path: Path, clock: StillClock) -> None:
    async with opened(tmp_path, clock):
        pass
    with pytest.raises(QueueError, match="holds paid clips, not previews"):
        await Queue.open(tmp_path / "queue.db", clock, kind="preview", origin="emulator")
    with pytest.raises(QueueError, match=r"belongs to https://api.example:443"):
        await Queue.open(tmp_path / "queue.db", clock, kind="paid", origin="https://other.example:443")


async def test_looking_does_not_make_a_queue(tmp_path: Path, clock: StillClock) -> None:
    with pytest.raises(QueueError, match="there is no queue"):
        await Queue.open(tmp_path / "none.db", clock, kind="paid", origin=None, create=False)
    assert not (tmp_path / "none.db").exists()


async def test_other_files_are_not_queues(tmp_path: Path, clock: StillClock) -> None:
    (tmp_path / "text.db").write_text("hello " * 1000)
    with pytest.raises(QueueError, match="no SQLite database"):
        await Queue.open(tmp_path / "text.db", clock, kind="paid", origin="x")
    connection = sqlite3.connect(tmp_path / "foreign.db")
    connection.execute("CREATE TABLE mine (a)")
    connection.close()
    with pytest.raises(QueueError, match="another program's"):
        await Queue.open(tmp_path / "foreign.db", clock, kind="paid", origin="x")


async def test_a_newer_queue_is_left_alone(tmp_path: Path, clock: StillClock) -> None:
    async with opened(tmp_path, clock):
        pass
    connection = sqlite3.connect(tmp_path / "queue.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(QueueError, match="newer batchrun"):
        await Queue.open(tmp_path / "queue.db", clock, kind="paid", origin="x")


async def test_two_processes_make_one_queue(tmp_path: Path, clock: StillClock) -> None:
    origin = "https://api.example:443"
    queues = await asyncio.gather(
        *(Queue.open(tmp_path / "queue.db", clock, kind="paid", origin=origin) for _ in range(4))
    )
    assert len({queue.identity.queue_id for queue in queues}) == 1
    for queue in queues:
        await queue.close()


async def test_durability_settings(tmp_path: Path) -> None:
    def look(connection: sqlite3.Connection) -> tuple[object, ...]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)

    database = await SqliteDatabase.open(tmp_path / "queue.db")
    assert await database._hop(look) == ("wal", 2, 1)
    await database.close()


async def test_latencies_are_kept_in_a_ring(queue: Queue, clock: StillClock) -> None:
    took = [Took(model="m", duration_s=5, place=at % 3, took_ms=1000 + at) for at in range(7)]
    for one in took:
        await queue.record_latency(one)
        clock.advance(1)
    await queue.record_latency(replace(took[0], duration_s=10))
    assert await queue.latencies() == [*took[4:], replace(took[0], duration_s=10)], "the newest, oldest first"
