"""Some jobs, a few first, or only what is ready in time: what is not asked for is not bought."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrun.cli.main import main
from batchrun.clock import next_local_ms
from batchrun.emulator.faults import Fault
from batchrun.emulator.latency import Latency as EmulatedLatency
from batchrun.errors import ExitCode
from batchrun.manifest.jobs import Limits
from batchrun.manifest.spool import CHUNK
from batchrun.plan import Planned, Reason, Selection, select
from batchrun.queue.states import JobState
from batchrun.run.asked import _choose, ready_in_time, start_by_ms
from batchrun.run.events import Event, Kind
from batchrun.run.halts import HaltKind
from batchrun.run.polling import Latency
from batchrun.run.summary import exit_reasons
from tests.clocks import StillClock
from tests.conftest import Shop, Watcher, emulated, make_picture, run_shop
from tests.run.test_kill import environment
from tests.run.test_session import code_of, counts
from tests.store.stores import batch, opened, spec, take_in


async def test_only_the_named_jobs_are_bought_and_the_code_speaks_of_them(shop: Shop) -> None:
    for key in ("mug-1", "mug-2", "lamp"):
        shop.add(key)
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, selection=Selection(only=("mug-*",)))
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"done": 2, "total": 2})
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"done": 1, "up_to_date": 2, "total": 3})


async def test_only_jobs_with_a_tag(shop: Shop) -> None:
    shop.add("a", more=", tags: [kitchen]").add("b")
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, selection=Selection(tags=("kitchen",)))
        assert (counts(result), len(emulator.world.submits)) == ({"done": 1, "total": 1}, 1)


async def test_at_most_so_many_the_highest_priorities_first(shop: Shop) -> None:
    for number in range(5):
        shop.add(f"job-{number}", more=f", priority: {number}")
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, selection=Selection(limit=2))
        assert (code_of(result), result.bought) == (ExitCode.DONE, 2)
        assert shop.output("job-4").exists()
        assert shop.output("job-3").exists()
        assert (await run_shop(shop, emulator, selection=Selection(limit=2))).bought == 2
        assert (await run_shop(shop, emulator, selection=Selection(limit=2))).bought == 1


async def test_a_name_that_no_job_has_buys_nothing(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.add("a")
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, selection=Selection(only=("b",)))
        assert (code_of(result), len(emulator.world.submits)) == (ExitCode.USAGE, 0)
        assert "--only b: no job of the manifest has such an id" in str(result.problem)
    assert await asyncio.to_thread(main, [str(shop.manifest), "--limit", "0"]) == ExitCode.USAGE
    assert "'0' is not a number of 1 or more" in capsys.readouterr().err


async def test_what_fails_outside_the_selection_is_not_its_code(shop: Shop) -> None:
    shop.add("bad").add("good")
    async with emulated({Fault.TASK_MODERATION: 1.0}) as emulator:
        assert code_of(await run_shop(shop, emulator, selection=Selection(only=("bad",)))) is ExitCode.SOME_FAILED
        emulator.world.dice.chances = {}
        assert code_of(await run_shop(shop, emulator, selection=Selection(only=("good",)))) is ExitCode.DONE
        assert code_of(await run_shop(shop, emulator)) is ExitCode.SOME_FAILED


async def test_a_canary_that_is_well_lets_the_others_go(shop: Shop) -> None:
    shop.add_many(5)
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, canary=2)
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"done": 5, "total": 5})
        created = sorted(task.created_ms for task in emulator.world.tasks.values())
        ended = sorted(task.ended_ms or 0 for task in emulator.world.tasks.values())
        assert created[2] >= ended[1]  # the third one waited for the first two


@pytest.mark.parametrize(
    "fault", [Fault.TASK_MODERATION, Fault.OUTPUT_SHORT, Fault.CLIP_BLACK, Fault.SUBMIT_DROP_BEFORE]
)
async def test_a_canary_that_is_not_well_stops_the_others(shop: Shop, fault: Fault) -> None:
    shop.add_many(5)
    async with emulated({fault: 1.0}) as emulator:
        result = await run_shop(shop, emulator, canary=2)
        assert len(emulator.world.submits) <= 2
        assert code_of(result) is ExitCode.NEEDS_PERSON
        assert HaltKind.CANARY in result.halts
        (reason,) = [one for one in exit_reasons(result, "x.yaml") if one.kind == "canary"]
        assert "without --canary" in (reason.advice or "")
        emulator.world.dice.chances = {}
        assert counts(await run_shop(shop, emulator))["done"] >= 3


async def test_a_canary_that_another_run_has_taken_over_does_not_count_as_well(shop: Shop) -> None:
    shop.add_many(4)
    watcher = Watcher()

    def take_over(_: Event) -> None:
        connection = sqlite3.connect(shop.queue_path)
        connection.execute("UPDATE jobs SET chosen_by = 'another'")
        connection.commit()
        connection.close()

    watcher.on[Kind.ACCEPTED] = take_over
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, watcher=watcher, canary=1)
        assert HaltKind.CANARY in result.halts
        assert len(emulator.world.submits) == 1


async def test_a_limit_is_one_over_several_queues(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Shop(tmp_path / "other", head="name: other")
    shop.add_many(3)
    other.add_many(3)
    async with emulated() as emulator:
        words = [str(shop.manifest), str(other.manifest), "--limit", "2", "-q"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "batchrun", *words, stdout=subprocess.DEVNULL, env=environment(emulator)
        )
        assert await process.wait() == 0
        assert len(emulator.world.submits) == 2


async def test_a_canary_whose_picture_changes_under_way_does_not_hang(shop: Shop) -> None:
    shop.add_many(3)
    watcher = Watcher()
    watcher.on[Kind.PLANNED] = lambda _: make_picture(shop.folder / "pics" / "job-00.png", seed=99)
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, watcher=watcher, canary=1)
        assert HaltKind.CANARY in result.halts
        assert len(emulator.world.submits) == 0
        assert code_of(await run_shop(shop, emulator, canary=1)) is ExitCode.DONE


async def test_a_second_round_keeps_to_the_limit(shop: Shop) -> None:
    shop.add("a")
    watcher = Watcher()

    def change(_: Event) -> None:
        make_picture(shop.folder / "pics" / "a.png", seed=99)
        shop.add("urgent", more=", priority: 9")
        watcher.on.clear()

    watcher.on[Kind.CLAIMED] = change
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, watcher=watcher, selection=Selection(limit=1))
        assert (result.bought, len(emulator.world.submits)) == (1, 1)
        assert shop.output("urgent").exists()


async def test_nothing_is_started_that_would_miss_the_deadline(shop: Shop) -> None:
    shop.add_many(3)
    watcher = Watcher()
    async with emulated() as emulator:
        now_ms = emulator.world.clock.now_ms()
        result = await run_shop(
            shop, emulator, deadline_ms=now_ms + 60_000, watcher=watcher
        )  # 150 s is what is assumed
        assert (code_of(result), len(emulator.world.submits)) == (ExitCode.DEADLINE, 0)
        assert any("about 0 of 3 clips will be ready" in event.detail for event in watcher.of(Kind.NOTE))
        result = await run_shop(shop, emulator, deadline_ms=now_ms + 3_600_000)
        assert (code_of(result), counts(result)["done"]) == (ExitCode.DONE, 3)
        # From now on it is known how fast this provider is
        result = await run_shop(shop.add("late"), emulator, deadline_ms=emulator.world.clock.now_ms() + 60_000)
        assert (code_of(result), counts(result)["done"]) == (ExitCode.DONE, 1)


async def test_what_runs_at_the_deadline_is_finished(shop: Shop) -> None:
    shop.limits = shop.limits.replace("concurrency: 4", "concurrency: 1")
    async with emulated(latency=EmulatedLatency(300)) as emulator:
        await run_shop(shop.add("first"), emulator)
        bought = len(emulator.world.submits)
        shop.add_many(4)
        result = await run_shop(shop, emulator, deadline_ms=emulator.world.clock.now_ms() + 30_500)
        assert code_of(result) in (ExitCode.DEADLINE, ExitCode.DONE)
        assert counts(result).get("done", 0) == len(emulator.world.submits) - bought


def test_the_last_start_leaves_time_for_most_predictions() -> None:
    assert start_by_ms(None, Latency(150, 0.4)) is None
    last = start_by_ms(1_000_000, Latency(150, 0.4))
    assert last is not None
    assert 1_000_000 - 260_000 < last < 1_000_000 - 150_000 - 30_000


@given(st.integers(0, 300), st.integers(1, 50), st.integers(0, 10_000_000))
def test_how_many_will_be_ready_is_never_more_than_there_are(jobs: int, slots: int, left_ms: int) -> None:
    said = ready_in_time([Latency(150, 0.4)] * jobs, Limits(concurrency=slots, per_minute=60), 0, left_ms)
    ready = int(said.split("about ")[1].split(" of ")[0])
    assert 0 <= ready <= jobs
    assert ready <= slots * (left_ms / 1000 / 150 + 1)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([Reason.NEW, Reason.UP_TO_DATE])), max_size=12),
    st.integers(0, 12),
)
def test_a_limit_takes_the_highest_priorities(jobs: Sequence[tuple[int, Reason]], limit: int) -> None:
    base = spec("a", Path("videos"))
    plan = [
        Planned(base._replace(key=f"j{at}", priority=priority, position=at), reason, None)
        for at, (priority, reason) in enumerate(jobs)
    ]
    kept = list(select({"x": plan}, Selection(limit=limit))["x"])
    buys = [one for one in plan if one.reason is Reason.NEW]
    assert len(kept) == min(limit, len(buys))
    assert all(one in buys for one in kept)
    rest = [one for one in buys if one not in kept]
    assert not kept or not rest or min(one.spec.priority for one in kept) >= max(one.spec.priority for one in rest)


@given(st.integers(0, 4_000_000_000_000), st.integers(0, 23), st.integers(0, 59))
def test_the_next_time_of_day_lies_within_a_day(now_ms: int, hour: int, minute: int) -> None:
    at_ms = next_local_ms(now_ms, hour, minute)
    assert now_ms < at_ms <= now_ms + 86_400_000


async def test_more_jobs_than_one_chunk_may_be_asked_for(tmp_path: Path) -> None:
    """Chosen a chunk at a time: none of them may forget the one before; another round forgets them all."""
    count = CHUNK * 2 + 1
    async with opened(tmp_path, StillClock()) as queue:
        scope = await take_in(queue, batch(tmp_path, [spec(f"j{n}", tmp_path) for n in range(count)]))
        plan = [Planned(spec(f"j{n}", tmp_path), Reason.WAITING, None) for n in range(count)]
        await _choose(queue, {"shop": scope.batch_id}, {"shop": plan})
        assert (await queue.chosen([scope.batch_id])).counts == {JobState.QUEUED: count}
        await _choose(queue, {"shop": scope.batch_id}, {"shop": plan[:1]})
        assert (await queue.chosen([scope.batch_id])).counts == {JobState.QUEUED: 1}
        await _choose(queue, {"shop": scope.batch_id}, {"shop": []})
        assert (await queue.chosen([scope.batch_id])).counts == {}
