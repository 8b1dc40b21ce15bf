"""Changed inputs of finished clips: little is bought unasked, much waits for a yes, what is new goes on."""

import asyncio
import json
import shutil
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrun.cli.main import main
from batchrun.emulator.faults import Fault
from batchrun.errors import ExitCode
from batchrun.manifest.jobs import Batch, Caps, Limits
from batchrun.plan import Reason, Selection
from batchrun.run import consent, summary
from batchrun.run.consent import Rerun, threshold_usd_micros
from batchrun.run.events import Event, Kind
from batchrun.run.stop import Stop
from tests.conftest import Shop, Watcher, emulated, make_picture, run_shop
from tests.run.test_doubts import change
from tests.run.test_session import code_of, counts
from tests.sim.loop import VirtualLoop
from tests.sim.machine import SimClock
from tests.store.stores import spec

COUNT = 8


async def test_a_changed_template_waits_for_consent_and_new_rows_go_on(shop: Shop) -> None:
    shop.add_many(COUNT)
    asked: list[Rerun] = []

    def refuse(rerun: Rerun) -> bool:
        asked.append(rerun)
        return False

    async with emulated() as emulator:
        await run_shop(shop, emulator)
        old = {path: path.read_bytes() for path in (shop.folder / "videos" / "shop").glob("*.mp4")}
        shop.rows = [row.replace("It turns", "It falls") for row in shop.rows]
        shop.add("new")
        result = await run_shop(shop, emulator, agree=refuse)
        assert [(rerun.clips, rerun.usd_micros) for rerun in asked] == [(COUNT, COUNT * 250_000)]
        assert str(asked[0]) == "shop: 8 finished clips would be bought again for $2.00 (8 prompt changed)"
        assert code_of(result) is ExitCode.NEEDS_PERSON
        (reason,) = summary.exit_reasons(result, "shop.yaml")
        assert (reason.kind, reason.count, reason.next_command) == (
            "rerun_not_agreed",
            COUNT,
            "batchrun shop.yaml --yes",
        )
        assert (counts(result), len(emulator.world.submits)) == (
            {"done": 1, "not_agreed": COUNT, "total": COUNT + 1},
            COUNT + 1,
        )
        said = summary.run_lines(result, [reason], preview=False, real_price_usd_micros=0)
        assert f"{asked[0]}: left as they are, nobody has agreed" in said
        assert said[-1] == "next: batchrun shop.yaml --yes buys them; changing the inputs back keeps the old ones"
        assert all(path.read_bytes() == data for path, data in old.items())
        result = await run_shop(shop, emulator, agree=lambda _: True)
        assert (code_of(result), len(emulator.world.submits)) == (ExitCode.DONE, 2 * COUNT + 1)
        assert (await run_shop(shop, emulator, agree=refuse)).bought == 0
        assert len(asked) == 1


async def test_what_a_person_edits_while_being_asked_counts(shop: Shop) -> None:
    """Another run has even bought it by then: an older reading is not put over it."""
    shop.add_many(COUNT)

    def edit(_: Rerun) -> bool:
        shop.replace("It falls", "It rises")
        asyncio.run(run_shop(shop, emulator, agree=lambda _: True))
        return True

    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.replace("It turns", "It falls")
        result = await run_shop(shop, emulator, agree=edit)
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"up_to_date": COUNT, "total": COUNT})
        assert (result.bought, len(emulator.world.submits)) == (0, 2 * COUNT)


async def test_little_is_bought_unasked_and_the_manifest_says_how_much_that_is(shop: Shop) -> None:
    shop.limits = shop.limits.replace("budget: 100", "budget: 100, confirm_rerun_above: 0.50")
    shop.add_many(3)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.rows[:2] = [row.replace("It turns", "It falls") for row in shop.rows[:2]]
        shop.write()
        assert (await run_shop(shop, emulator)).bought == 2  # $0.50 is not more than $0.50
        shop.rows = [row.replace("It ", "They ") for row in shop.rows]
        shop.write()
        assert (await run_shop(shop, emulator)).bought == 0


async def test_what_goes_back_to_an_earlier_text_costs_nothing_and_is_not_asked_about(shop: Shop) -> None:
    shop.add_many(COUNT)
    first = list(shop.rows)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.rows = [row.replace("It turns", "It falls") for row in first]
        shop.write()
        await run_shop(shop, emulator, agree=lambda _: True)
        shop.rows = first
        shop.write()
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought, counts(result)["done"]) == (ExitCode.DONE, 0, COUNT)


async def test_clips_whose_files_are_gone_are_neither_copied_nor_bought_again(shop: Shop) -> None:
    shop.add_many(COUNT)
    first = list(shop.rows)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.rows = [row.replace("It turns", "It falls") for row in first]
        shop.write()
        await run_shop(shop, emulator, agree=lambda _: True)
        shutil.rmtree(shop.queue_path.parent / "history")
        change(shop, f"UPDATE attempts SET finished_ms = finished_ms - {8 * 86_400_000}")
        shop.rows = first
        shop.write()
        result = await run_shop(shop, emulator, agree=lambda _: True)
        assert (code_of(result), result.bought) == (ExitCode.NEEDS_PERSON, 0)


async def test_jobs_that_a_run_is_not_asked_for_are_neither_asked_about_nor_queued(shop: Shop) -> None:
    shop.add_many(COUNT)
    asked: list[Rerun] = []
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.rows = [row.replace("It turns", "It falls") for row in shop.rows]
        shop.write()
        result = await run_shop(
            shop, emulator, selection=Selection(only=("job-00",)), agree=lambda rerun: bool(asked.append(rerun))
        )
        assert (code_of(result), result.bought, asked) == (ExitCode.DONE, 1, [])
        result = await run_shop(shop, emulator)  # the others were not queued by that
        assert (code_of(result), result.bought) == (ExitCode.NEEDS_PERSON, 0)


async def test_a_new_take_does_not_free_its_job_from_being_compared(shop: Shop) -> None:
    shop.add("a", seed=1, prompt="It turns").add("b", seed=1, prompt="It falls")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        assert await asyncio.to_thread(main, ["redo", str(shop.manifest), "a"]) == 0
        await run_shop(shop, emulator)
        shop.replace("It turns", "It falls")
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought, len(emulator.world.submits)) == (ExitCode.DONE, 0, 3)


async def test_a_stop_at_the_question_ends_the_run(shop: Shop) -> None:
    shop.add_many(COUNT)
    stop, answered = Stop(), threading.Event()
    loop = asyncio.get_running_loop()

    def agree(_: Rerun) -> bool:
        loop.call_soon_threadsafe(stop.ask, signal.SIGINT)
        return answered.wait(50)

    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.rows = [row.replace("It turns", "It falls") for row in shop.rows]
        shop.write()
        try:
            result = await run_shop(shop, emulator, agree=agree, stop=stop)
        finally:
            answered.set()
        assert (code_of(result), result.bought) == (ExitCode.INTERRUPTED, 0)


def test_no_answer_in_time_is_a_no() -> None:
    loop, answered = VirtualLoop(), threading.Event()
    asked = Rerun("shop", ((Reason.PROMPT_CHANGED, 8),), 2_000_000)
    try:
        clock = SimClock(loop)
        assert loop.run_until_complete(consent._answer(lambda _: answered.wait(50), asked, clock)) is False
        assert clock.monotonic_s() >= consent.ANSWER_S
    finally:
        answered.set()
        loop.close()


async def test_touched_files_reordered_rows_and_other_settings_of_pace_are_no_change(shop: Shop) -> None:
    shop.add_many(COUNT)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        for picture in (shop.folder / "pics").iterdir():
            picture.touch()
        shop.rows.reverse()
        shop.limits = shop.limits.replace("concurrency: 4", "concurrency: 2")
        shop.write()
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought) == (ExitCode.DONE, 0)


async def test_plan_says_that_a_yes_is_needed(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add_many(COUNT)
    async with emulated() as emulator:
        monkeypatch.setenv("WAVESPEED_BASE_URL", emulator.base_url)
        await run_shop(shop, emulator)
    shop.rows = [row.replace("It turns", "It falls") for row in shop.rows]
    shop.write()
    assert await asyncio.to_thread(main, ["plan", str(shop.manifest)]) == 0
    assert "needs --yes, or a yes at the terminal: shop: 8 finished clips" in capsys.readouterr().out
    assert await asyncio.to_thread(main, ["plan", str(shop.manifest), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["needs_yes"] == [{"batch": "shop", "clips": COUNT, "price_usd": "2.00"}]


@given(st.integers(1, 10_000))
def test_the_default_lies_between_one_and_ten_dollars(jobs: int) -> None:
    one = spec("a", Path("videos"))
    limits = Limits(concurrency=1, per_minute=1)
    whole = Batch(path=one.output, name="x", model=one.model, limits=limits, caps=Caps(), jobs=(one,) * jobs)
    above = threshold_usd_micros(whole)
    assert 1_000_000 <= above <= 10_000_000
    assert above in (1_000_000, 10_000_000) or above == whole.worst_price_usd_micros // 5


async def test_a_yes_holds_for_what_its_run_got_to_buy(shop: Shop) -> None:
    shop.add_many(COUNT)
    asked: list[Rerun] = []

    def refuse(rerun: Rerun) -> bool:
        asked.append(rerun)
        return False

    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.rows = [row.replace("It turns", "It falls") for row in shop.rows]
        shop.write()
        emulator.world.dice.chances = {Fault.CLIP_BLACK: 1.0}
        result = await run_shop(shop, emulator, canary=2, agree=lambda _: True)
        assert (code_of(result), result.bought) == (ExitCode.NEEDS_PERSON, 2)
        emulator.world.dice.chances = {}
        result = await run_shop(shop.add("new"), emulator, agree=refuse)
        assert str(asked[0]) == "shop: 6 finished clips would be bought again for $1.50 (6 waiting)"
        assert (code_of(result), result.bought) == (ExitCode.NEEDS_PERSON, 1)
        assert counts(result) == {"done": 1, "up_to_date": 2, "queued": 6, "total": 9}
        assert (await run_shop(shop, emulator, no_new=True)).bought == 0
        result = await run_shop(shop, emulator, agree=lambda _: True)
        assert (code_of(result), result.bought, counts(result)["done"]) == (ExitCode.DONE, 6, 6)


async def test_a_retry_a_redo_and_a_change_of_one_clip_need_no_yes_again(shop: Shop) -> None:
    shop.add_many(2)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.replace(
            "{id: job-00, image: pics/job-00.png, prompt: 'It turns'",
            "{id: job-00, image: pics/job-00.png, prompt: 'Up'",
        )
        emulator.world.account = emulator.world.account.__class__(concurrency=1)
        stop = Stop()
        watcher = Watcher(on={Kind.CLAIMED: lambda _: stop.ask(signal.SIGINT)})
        assert (await run_shop(shop, emulator, watcher=watcher, stop=stop)).bought == 0  # queued, and not bought
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought) == (ExitCode.DONE, 1)
        assert await asyncio.to_thread(main, ["redo", str(shop.manifest), "job-00", "job-01"]) == 0
        assert (await run_shop(shop, emulator)).bought == 2


async def test_another_run_leaves_alone_what_this_one_has_been_allowed(shop: Shop) -> None:
    shop.add_many(COUNT)
    asked: list[Rerun] = []
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.rows = [row.replace("It turns", "It falls") for row in shop.rows]
        shop.write()
        emulator.world.account = emulator.world.account.__class__(concurrency=1)
        both: list[asyncio.Task[object]] = []

        def second(_: Event) -> None:
            if not both:
                both.append(
                    asyncio.ensure_future(run_shop(shop, emulator, agree=lambda rerun: bool(asked.append(rerun))))
                )

        watcher = Watcher(on={Kind.ACCEPTED: second})
        result = await run_shop(shop, emulator, watcher=watcher, agree=lambda _: True)
        await both[0]
        assert (code_of(result), asked, len(emulator.world.submits)) == (ExitCode.DONE, [], 2 * COUNT)


async def test_a_limit_over_several_manifests_is_one_limit_for_changes_too(shop: Shop) -> None:
    shop.add_many(3)
    second = shop.folder / "second.yaml"
    rows = [row.replace("id: job", "id: two").replace("It turns", "It rises") for row in shop.rows]

    def write_second() -> None:
        second.write_text(f"version: 1\nlimits: {shop.limits}\njobs:\n" + "\n".join(rows) + "\n")

    write_second()
    manifests = [shop.manifest, second]
    async with emulated() as emulator:
        await run_shop(shop, emulator, manifests=manifests)
        shop.rows = [row.replace("It turns", "It falls") for row in shop.rows]
        shop.write()
        rows = [row.replace("It rises", "It sinks") for row in rows]
        write_second()
        result = await run_shop(shop, emulator, manifests=manifests, selection=Selection(limit=2))
        assert (code_of(result), result.bought) == (ExitCode.DONE, 2)
        reasons = Counter(one.reason for plan in result.plans.values() for one in plan)
        assert reasons == {Reason.PROMPT_CHANGED: 2, Reason.NOT_ASKED: 4}


async def test_what_failed_for_a_passing_reason_is_bought_by_the_next_run_as_it_was_allowed(shop: Shop) -> None:
    shop.add("a", seed=3)
    picture = shop.folder / "pics" / "a.png"
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.replace("It turns", "It falls")
        result = await run_shop(shop, emulator, watcher=Watcher(on={Kind.CLAIMED: lambda _: picture.unlink()}))
        assert (code_of(result), result.bought) == (ExitCode.SOME_FAILED, 0)
        make_picture(picture, seed=3)
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought, len(emulator.world.submits)) == (ExitCode.DONE, 1, 2)


async def test_what_was_under_way_when_its_run_ended_is_retried_by_the_next_one(shop: Shop) -> None:
    shop.add("a")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.replace("It turns", "It falls")
        emulator.world.dice.chances = {Fault.TASK_UNAVAILABLE: 1.0}
        stop = Stop()

        def leave(_: Event) -> None:
            stop.ask(signal.SIGINT)
            stop.ask(signal.SIGINT)

        assert (await run_shop(shop, emulator, stop=stop, watcher=Watcher(on={Kind.ACCEPTED: leave}))).bought == 1
        emulator.world.dice.chances = {}
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought, len(emulator.world.submits)) == (ExitCode.DONE, 1, 3)


@pytest.mark.parametrize("how", ["canary", "stop", "moderation"])
async def test_a_second_change_of_clips_that_were_not_bought_anew_is_asked_about_too(shop: Shop, how: str) -> None:
    shop.add_many(COUNT)
    asked: list[Rerun] = []
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.replace("It turns", "It rolls")
        stop, watcher = Stop(), Watcher()
        if how == "stop":
            watcher.on[Kind.CLAIMED] = lambda _: stop.ask(signal.SIGINT)
        else:
            emulator.world.dice.chances = {Fault.TASK_MODERATION: 1.0}
        await run_shop(shop, emulator, agree=lambda _: True, canary=how == "canary", stop=stop, watcher=watcher)
        emulator.world.dice.chances = {}
        bought = len(emulator.world.submits)
        shop.replace("It rolls", "It slides")
        result = await run_shop(shop, emulator, agree=lambda rerun: bool(asked.append(rerun)))
        assert (code_of(result), result.bought, [rerun.clips for rerun in asked]) == (
            ExitCode.NEEDS_PERSON,
            0,
            [COUNT],
        )
        result = await run_shop(shop, emulator, agree=lambda _: True)
        assert (code_of(result), len(emulator.world.submits)) == (ExitCode.DONE, bought + COUNT)
        assert {sent["prompt"] for sent in emulator.world.submits[bought:]} == {"It slides"}


async def test_takes_that_wait_are_not_bought_with_a_text_that_the_manifest_no_longer_has(shop: Shop) -> None:
    shop.add_many(COUNT)
    keys = [f"job-{number:02}" for number in range(COUNT)]
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        assert await asyncio.to_thread(main, ["redo", str(shop.manifest), *keys]) == 0
        shop.replace("It turns", "It rolls")
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought) == (ExitCode.NEEDS_PERSON, 0)
        result = await run_shop(shop, emulator, agree=lambda _: True)
        assert (code_of(result), result.bought) == (ExitCode.DONE, COUNT)
        assert {sent["prompt"] for sent in emulator.world.submits[COUNT:]} == {"It rolls"}
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought) == (ExitCode.DONE, 0)


async def test_takes_that_wait_are_bought_when_the_manifest_has_their_text_again(shop: Shop) -> None:
    shop.add_many(COUNT)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        assert await asyncio.to_thread(main, ["redo", str(shop.manifest), "job-00"]) == 0
        shop.replace("It turns", "It rolls")
        assert (await run_shop(shop, emulator)).bought == 0
        shop.replace("It rolls", "It turns")
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought) == (ExitCode.DONE, 1)
