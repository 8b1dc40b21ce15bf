"""What nobody has foreseen happens to one job: the others go on, its money is right, and the run does not end with 0."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from batchrun.emulator.faults import Fault
from batchrun.emulator.world import Account
from batchrun.provider.http import Http, RawAnswer
from batchrun.queue.states import JobState
from batchrun.run.events import Event, Kind
from batchrun.run.session import Surroundings
from batchrun.run.summary import exit_reasons
from tests.conftest import KEY, Shop, Watcher, emulated, run_shop, surroundings
from tests.hard.test_lost_money import rows
from tests.run.test_doubts import resolve
from tests.run.test_session import code_of, counts

_FOR_EVER = 1000


def once(method: str, ending: str, bugs: int = 1) -> Surroundings:
    """A network layer with a bug: after the first answers to such a request it raises what nobody catches."""
    waiting = ["bug"] * bugs

    class Buggy(Http):
        async def api(self, asked: str, path: str, **more: object) -> RawAnswer:
            answer = await super().api(asked, path, **more)  # type: ignore[arg-type]
            if asked == method and path.endswith(ending) and waiting:
                waiting.pop()
                raise KeyError(f"a bug with {'x' * 190} {KEY}\x1b[2J\ud800 in it")
            return answer

    return replace(surroundings(), connect_http=Buggy)


@pytest.mark.parametrize(
    ("method", "ending", "state"),
    [("POST", "/media/uploads", "queued"), ("GET", "/result", "running")],
)
async def test_one_job_meets_a_bug(shop: Shop, method: str, ending: str, state: str) -> None:
    shop.add_many(3)
    watcher = Watcher()
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, watcher=watcher, outside=once(method, ending))
        assert counts(result) == {"done": 2, state: 1, "total": 3}
        assert code_of(result) == 4
        assert [one.kind for one in exit_reasons(result, "shop.yaml")] == ["unexpected"]
        ((key, kind, text, lease),) = rows(
            shop, "SELECT key, failure_kind, failure_message, lease_run_id FROM jobs WHERE state <> 'done'"
        )
        assert (kind, lease) == ("unexpected", None)
        assert "KeyError" in str(text)
        assert "test_unexpected.py" in str(text)
        (note,) = [event for event in watcher.of(Kind.NOTE) if "KeyError" in event.detail]
        assert f"shop/{key}" in note.detail
        for said in (note.detail, str(text)):
            assert KEY[:8] not in said
            assert said.isprintable()
        result = await run_shop(shop, emulator)
        assert (counts(result)["done"], code_of(result)) == (1, 0)
        assert len(emulator.world.submits) == 3
        assert emulator.world.books.billed_usd_micros == result.balance.spent_usd_micros


async def test_a_bug_in_a_submit_keeps_no_other_waiting(shop: Shop) -> None:
    """Where only one answer at a time may be waited for; what became of the submit shows the provider's list."""
    shop.limits = shop.limits.replace("per_minute: 10000", "per_minute: 60")
    shop.add_many(3)
    watcher = Watcher()
    async with emulated() as emulator:
        outside = once("POST", "i2v-standard")
        result = await asyncio.wait_for(run_shop(shop, emulator, watcher=watcher, outside=outside), 30)
        assert (counts(result), result.bought, len(emulator.world.submits)) == ({"done": 3, "total": 3}, 3, 3)
        assert [one.kind for one in exit_reasons(result, "shop.yaml")] == ["unexpected"]
        (doubt,) = watcher.of(Kind.UNKNOWN)
        assert "KeyError" in doubt.detail
        assert KEY[:8] not in doubt.detail
        assert emulator.world.books.billed_usd_micros == result.balance.spent_usd_micros


async def test_a_bug_in_looking_for_unknown_submits_parks_them_and_stops_nothing_else(shop: Shop) -> None:
    shop.add("lost")
    watcher = Watcher()
    async with emulated({Fault.SUBMIT_DROP_AFTER: 1.0}) as emulator:
        outside = once("POST", "/predictions", bugs=_FOR_EVER)
        result = await run_shop(shop, emulator, watcher=watcher, outside=outside)
        assert (counts(result), code_of(result)) == ({"parked": 1, "total": 1}, 4)
        assert all("report it" in event.detail for event in watcher.of(Kind.NOTE) if "KeyError" in event.detail)
        assert "KeyError" in str(rows(shop, "SELECT failure_message FROM jobs"))
        emulator.world.dice.chances = {}
        shop.add("other")
        result = await run_shop(shop, emulator, outside=once("POST", "/predictions", bugs=_FOR_EVER))
        assert counts(result) == {"done": 1, "parked": 1, "total": 2}
        result = await run_shop(shop, emulator)
        assert (counts(result)["done"], code_of(result), len(emulator.world.submits)) == (1, 0, 2)
        assert emulator.world.books.billed_usd_micros == result.balance.spent_usd_micros == 500_000


async def test_a_bug_in_a_late_clip_leaves_it_to_the_next_run(shop: Shop) -> None:
    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_LATE: 1.0}, account=Account(late_ms=(0, 0), list_lag_ms=10**9)) as emulator:
        await run_shop(shop, emulator)
        await resolve(shop, emulator, "a", "--void")
        emulator.world.dice.chances = {}
        assert counts(await run_shop(shop, emulator)) == {"done": 1, "total": 1}
        emulator.world.account = Account()
        ((known,),) = rows(shop, "SELECT prediction_id FROM attempts WHERE prediction_id IS NOT NULL")
        (late,) = set(emulator.world.tasks) - {str(known)}
        watcher = Watcher()
        await run_shop(shop, emulator, watcher=watcher, outside=once("GET", f"/{late}/result"))
        (note,) = [event.detail for event in watcher.of(Kind.NOTE) if "KeyError" in event.detail]
        assert "late clip" in note
        watcher = Watcher()
        await run_shop(shop, emulator, watcher=watcher)
        assert len(watcher.of(Kind.LATE_CLIP)) == 1


async def test_a_bug_after_a_job_is_done_is_not_hidden_behind_a_zero(shop: Shop) -> None:
    """Nothing is left to put off, and yet somebody must hear of it."""
    shop.add("a")
    outside = surroundings()
    calls: list[Callable[[], str]] = [outside.new_id, outside.new_id]

    def new_id() -> str:
        if not calls:
            raise LookupError("no more names")
        return calls.pop()()

    async with emulated() as emulator:
        result = await run_shop(shop, emulator, outside=replace(outside, new_id=new_id))
        assert (counts(result), code_of(result)) == ({"queued": 1, "total": 1}, 4)
        result.batches = []  # as if the job had come to its end all the same
        assert code_of(result) == 4


async def test_an_observer_that_raises_in_a_worker_still_ends_the_run(shop: Shop) -> None:
    def die(_: Event) -> None:
        raise LookupError("observed")

    shop.add_many(2)
    async with emulated() as emulator:
        with pytest.raises(LookupError, match="observed"):
            await run_shop(shop, emulator, watcher=Watcher(on={Kind.UPLOADED: die}))
        assert rows(shop, "SELECT DISTINCT state, failure_kind FROM jobs") == [(JobState.QUEUED.value, None)]
