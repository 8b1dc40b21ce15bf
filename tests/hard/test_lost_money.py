"""Sequences in which money, clips or the truth get lost."""

import json
import sqlite3
from dataclasses import replace

import pytest

from batchrun.clock import SystemClock
from batchrun.emulator.books import Books
from batchrun.emulator.faults import Dice, Fault
from batchrun.emulator.latency import Latency
from batchrun.emulator.world import Account, World
from batchrun.errors import ExitCode
from batchrun.run.events import Event, Kind
from batchrun.run.stop import Stop
from tests.clocks import HastyClock
from tests.conftest import Shop, Watcher, emulated, run_shop, surroundings
from tests.run.test_doubts import OTHER_KEY, attempts, books, change, resolve
from tests.run.test_session import code_of, counts

DAY_MS = 86_400_000


def rows(shop: Shop, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(shop.queue_path)
    found = connection.execute(sql).fetchall()
    connection.close()
    return found


async def test_a_lost_job_that_is_changed_can_be_bought(shop: Shop) -> None:
    """Stuck until the retention was over: `lost`, its attempt still `running`. Then the manifest changes its text."""
    shop.add("a")
    stop, watcher = Stop(), Watcher()
    watcher.on[Kind.ACCEPTED] = lambda _: (stop.ask(), stop.ask())
    async with emulated({Fault.TASK_STUCK: 1.0}) as emulator:
        await run_shop(shop, emulator, stop=stop, watcher=watcher)
        change(shop, f"UPDATE attempts SET submitted_ms = submitted_ms - {8 * DAY_MS}")
        change(shop, "UPDATE jobs SET not_before_ms = 0")
        result = await run_shop(shop, emulator)
        assert counts(result) == {"lost": 1, "total": 1}
        emulator.world.dice.chances = {}
        shop.add("b")
        shop.replace("It turns", "It dances")
        result = await run_shop(shop, emulator)
        assert counts(result) == {"done": 2, "total": 2}, (
            rows(shop, "SELECT key, state, failure_message FROM jobs"),
            rows(shop, "SELECT * FROM attempts"),
        )


async def test_another_accounts_key_within_five_minutes(shop: Shop) -> None:
    """No credit here, so the other key at once: what is unknown is judged by the other account's list, and bought again."""
    shop.add("a")
    other = World(SystemClock(), Latency(None), Dice({}, 9), books=Books(10**9), seed=77)
    async with emulated({Fault.SUBMIT_DROP_AFTER: 1.0}, others={OTHER_KEY: other}, show_inputs=False) as emulator:
        await run_shop(shop, emulator)
        assert list(attempts(shop).values()) == ["unknown"]
        emulator.world.dice.chances = {}
        shop.add("b")
        await run_shop(shop, emulator)  # b is bought with the right key
        shop.add("c")
        hasty = replace(surroundings(), clock=HastyClock(100))  # an account's own answer may lag for five minutes
        watcher = Watcher()
        result = await run_shop(shop, emulator, key=OTHER_KEY, outside=hasty, watcher=watcher)
        said = [one.detail for one in watcher.of(Kind.WAITING) if "sees none of the predictions" in one.detail]
        assert len(said) == 1
        again = await run_shop(shop, emulator, key=OTHER_KEY, outside=hasty)
        assert code_of(result) == ExitCode.KEY, (counts(result), counts(again), attempts(shop))
        assert other.submits == []


async def test_an_echo_that_is_not_verbatim_is_no_proof_of_absence(shop: Shop) -> None:
    """The provider shows the picture under its own address (another host, a signature): then nothing can match."""
    shop.add("a")
    account = Account(image_host="https://cdn.provider.example")
    async with emulated({Fault.SUBMIT_DROP_AFTER: 1.0}, account=account) as emulator:
        await run_shop(shop, emulator)
        emulator.world.dice.chances = {}
        shop.add("b")
        await run_shop(shop, emulator)
        await run_shop(shop, emulator)
        assert len(emulator.world.submits) == 2, attempts(shop)


async def test_a_late_clip_that_cannot_be_had_is_not_silently_fine(shop: Shop) -> None:
    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_LATE: 1.0}, account=Account(late_ms=(0, 0), list_lag_ms=10**9)) as emulator:
        await run_shop(shop, emulator)
        await resolve(shop, emulator, "a", "--void")
        emulator.world.dice.chances = {}
        await run_shop(shop, emulator)
        emulator.world.account = Account()
        emulator.world.dice.chances = {Fault.OUTPUT_404: 1.0}
        assert code_of(await run_shop(shop, emulator)) == ExitCode.NEEDS_PERSON
        again = await run_shop(shop, emulator)
        assert sorted(attempts(shop).values()) == ["completed", "late"]
        assert code_of(again) != ExitCode.DONE


async def test_a_late_clip_that_is_lost_is_told(shop: Shop) -> None:
    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_LATE: 1.0}, account=Account(late_ms=(0, 0), list_lag_ms=10**9)) as emulator:
        await run_shop(shop, emulator)
        await resolve(shop, emulator, "a", "--void")
        emulator.world.dice.chances = {}
        await run_shop(shop, emulator)
        emulator.world.account = Account()
        emulator.world.dice.chances = {Fault.OUTPUT_404: 1.0}
        await run_shop(shop, emulator)
        change(shop, f"UPDATE attempts SET submitted_ms = submitted_ms - {8 * DAY_MS} WHERE state = 'late'")
        result = await run_shop(shop, emulator)
        assert sorted(attempts(shop).values()) == ["completed", "completed"]
        assert code_of(result) == ExitCode.NEEDS_PERSON


async def test_a_late_charge_is_told_also_after_a_kill(shop: Shop) -> None:
    """Killed right after the commit that books it: the next run must still exit 4."""
    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_LATE: 1.0}, account=Account(late_ms=(0, 0), list_lag_ms=10**9)) as emulator:
        await run_shop(shop, emulator)
        await resolve(shop, emulator, "a", "--void")
        emulator.world.account = Account()
        emulator.world.dice.chances = {}
        watcher = Watcher()

        class Killed(BaseException):
            pass

        def kill(_: Event) -> None:
            raise Killed

        watcher.on[Kind.LATE] = kill
        with pytest.raises(BaseException):  # noqa: B017, PT011  # whatever the kill comes out as
            await run_shop(shop, emulator, no_new=True, watcher=watcher)
        assert "late_charge" in [row[0] for row in books(shop)]
        result = await run_shop(shop, emulator)
        assert code_of(result) == ExitCode.NEEDS_PERSON


async def test_a_rescued_answer_of_a_void_attempt_is_told(shop: Shop) -> None:
    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_AFTER: 1.0}, show_inputs=False) as emulator:
        await run_shop(shop, emulator)
        (attempt_id,) = attempts(shop)
        (prediction_id,) = emulator.world.tasks
        await resolve(shop, emulator, "a", "--void")
        line = json.dumps(["accepted", [attempt_id, prediction_id, "created", 1]]) + "\n"
        (shop.queue_path.parent / "queue.db.rescue-gone").write_text(line)
        result = await run_shop(shop, emulator, no_new=True)
        assert "late_charge" in [row[0] for row in books(shop)]
        assert code_of(result) == ExitCode.NEEDS_PERSON


async def test_a_refused_key_is_exit_12_also_when_only_unknowns_are_left(shop: Shop) -> None:
    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_AFTER: 1.0}, show_inputs=False) as emulator:
        watcher = Watcher()
        stop = Stop()
        watcher.on[Kind.UNKNOWN] = lambda _: (stop.ask(), stop.ask())  # not parked yet
        await run_shop(shop, emulator, watcher=watcher, stop=stop)
        assert rows(shop, "SELECT state FROM jobs") == [("unknown",)]
        result = await run_shop(shop, emulator, key="wsk_revoked")
        assert code_of(result) == ExitCode.KEY
        assert rows(shop, "SELECT state FROM jobs") == [("unknown",)], "nothing was changed"


async def test_the_reason_for_parking_is_true(shop: Shop) -> None:
    """The billing does not answer (500): the person is told that it shows a charge."""
    shop.add("a")
    async with emulated({Fault.SUBMIT_500: 1.0}) as emulator:
        stop, watcher = Stop(), Watcher()
        watcher.on[Kind.UNKNOWN] = lambda _: (stop.ask(), stop.ask())
        await run_shop(shop, emulator, watcher=watcher, stop=stop)
        emulator.world.dice.chances = {Fault.BILLING_500: 1.0}
        shop.add("b")
        result = await run_shop(shop, emulator)
        messages = [one[0] for one in rows(shop, "SELECT failure_message FROM jobs WHERE failure_message IS NOT NULL")]
        assert not any("shows a charge" in str(one) for one in messages), messages
        assert counts(result) == {"done": 1, "parked": 1, "total": 2}, (counts(result), messages)


async def test_an_undecided_job_of_another_manifest_is_exit_4_not_5(shop: Shop) -> None:
    """The manifest was renamed while a submit was undecided: the new name waits for ever, and says `run again later`."""
    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_AFTER: 1.0}, show_inputs=False) as emulator:
        await run_shop(shop, emulator)
        renamed = shop.folder / "renamed.yaml"
        shop.manifest.rename(renamed)
        result = await run_shop(shop, emulator, manifests=[renamed])
        assert code_of(result) == ExitCode.NEEDS_PERSON, counts(result)


async def test_void_of_a_changed_job_that_is_changed_back(shop: Shop) -> None:
    """`resolve --void` says: the next run buys the job again."""
    shop.add("a")
    async with emulated({Fault.SUBMIT_500: 1.0}) as emulator:
        await run_shop(shop, emulator)
        shop.replace("It turns", "It dances")
        await run_shop(shop, emulator)
        await resolve(shop, emulator, "a", "--void")
        emulator.world.dice.chances = {}
        shop.replace("It dances", "It turns")
        result = await run_shop(shop, emulator)
        assert counts(result) == {"done": 1, "total": 1}


async def test_what_was_submitted_is_counted_once(shop: Shop) -> None:
    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_AFTER: 1.0}) as emulator:
        result = await run_shop(shop, emulator)
        assert counts(result) == {"done": 1, "total": 1}
        assert result.bought == 1
