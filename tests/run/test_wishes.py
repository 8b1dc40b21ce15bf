"""retry, redo, cancel: what a person asks of single jobs, typed once or twice."""

import asyncio
import hashlib
import json
import sqlite3
import threading

import pytest

from batchrun.cli.main import main
from batchrun.emulator.faults import Fault
from batchrun.errors import ExitCode
from batchrun.plan import Selection
from batchrun.run.events import Event, Kind
from batchrun.run.problems import problem_lines
from tests.conftest import Shop, Watcher, emulated, run_shop
from tests.run.test_session import code_of, counts


async def ask(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, tuple[bool, str]]:
    """One verb; what became of each job."""
    capsys.readouterr()
    code = await asyncio.to_thread(main, [*words, "--json"])
    jobs = json.loads(capsys.readouterr().out)["jobs"]
    assert code == (ExitCode.DONE if all(job["as_asked"] for job in jobs) else ExitCode.SOME_FAILED)
    return {job["id"]: (job["changed"], job["message"]) for job in jobs}


async def test_retry_allows_failed_jobs_another_attempt_and_nothing_else(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.add("ok").add("bad").add("worse")
    manifest = str(shop.manifest)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        emulator.world.dice.chances = {Fault.TASK_MODERATION: 1.0}
        shop.replace("{id: bad, image: pics/bad.png, prompt: 'It turns'", "{id: bad, image: pics/bad.png, prompt: 'No'")
        await run_shop(shop, emulator)
        emulator.world.dice.chances = {Fault.OUTPUT_SHORT: 1.0}
        shop.replace("image: pics/worse.png, prompt: 'It turns'", "image: pics/worse.png, prompt: 'Short'")
        await run_shop(shop, emulator)
        emulator.world.dice.chances = {}
        bought = len(emulator.world.submits)
        assert counts(await run_shop(shop, emulator)) == {"failed": 1, "rejected": 1, "up_to_date": 1, "total": 3}
        assert len(emulator.world.submits) == bought
        assert await ask(capsys, "retry", manifest) == {"bad": (True, "will be tried again")}
        assert await ask(capsys, "retry", manifest) == {}
        assert await ask(capsys, "retry", manifest, "bad", "worse") == {
            "bad": (False, "is waiting to be bought already"),
            "worse": (False, "is rejected: only failed and cancelled jobs are tried again"),
        }
        result = await run_shop(shop, emulator)
        assert (counts(result)["done"], len(emulator.world.submits)) == (1, bought + 1)


async def test_retry_by_kind_and_by_tag(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.add("a", more=", tags: [kitchen]").add("b")
    manifest = str(shop.manifest)
    async with emulated({Fault.TASK_MODERATION: 1.0}) as emulator:
        await run_shop(shop, emulator)
    assert await ask(capsys, "retry", manifest, "--kind", "task_failed") == {}
    assert list(await ask(capsys, "retry", manifest, "--kind", "moderation", "--tag", "kitchen")) == ["a"]
    assert list(await ask(capsys, "retry", manifest, "--kind", "moderation")) == ["b"]


async def test_retry_of_all_leaves_requests_that_are_paid_for_under_another_name(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.add("a", seed=5)
    manifest = str(shop.manifest)
    async with emulated({Fault.OUTPUT_SHORT: 1.0}) as emulator:
        await run_shop(shop, emulator)
        shop.rows.clear()
        shop.add("b", seed=5)
        assert counts(await run_shop(shop, emulator)) == {"failed": 1, "total": 1}
    assert await ask(capsys, "retry", manifest) == {}
    assert await ask(capsys, "retry", manifest, "b") == {"b": (True, "will be tried again")}


async def test_redo_buys_one_new_take_however_often_it_is_typed(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.add("a").add("b")
    manifest = str(shop.manifest)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        assert await ask(capsys, "redo", manifest, "a") == {"a": (True, "take 2 will be bought")}
        assert await ask(capsys, "redo", manifest, "a") == {"a": (False, "take 2 is waiting to be bought already")}
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought, len(emulator.world.submits)) == (ExitCode.DONE, 1, 3)
        assert (await run_shop(shop, emulator)).bought == 0
        assert await ask(capsys, "redo", manifest, "a", "b") == {
            "a": (True, "take 3 will be bought"),
            "b": (True, "take 2 will be bought"),
        }


async def test_a_script_goes_on_only_when_every_named_job_is_as_it_was_asked(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.add("done", more=", tags: [kitchen]").add("gone").add("waits")
    manifest = str(shop.manifest)
    async with emulated() as emulator:
        await run_shop(shop, emulator, selection=Selection(only=("done", "gone")))
        shop.rows.pop(1)
        await run_shop(shop.write(), emulator, max_spend_usd_micros=0)

    async def code(*words: str) -> int:
        return await asyncio.to_thread(main, words)

    assert await code("retry", manifest, "done") == await code("cancel", manifest, "done") == ExitCode.SOME_FAILED
    assert await code("redo", manifest, "gone") == ExitCode.SOME_FAILED
    assert await code("retry", manifest) == await code("retry", manifest, "--tag", "kitchen") == ExitCode.DONE
    assert await code("retry", manifest, "waits") == await code("redo", manifest, "waits") == ExitCode.DONE
    for verb in ("cancel", "retry"):
        assert await code(verb, manifest, "waits") == await code(verb, manifest, "waits") == ExitCode.DONE
    capsys.readouterr()
    assert await code("redo", manifest, "done", "waits", "--tag", "bakery", "--tag", "new") == ExitCode.SOME_FAILED
    lacks = "has no tag bakery or new"
    assert capsys.readouterr().out == f"shop/done: {lacks}\nshop/waits: {lacks}\nnothing was changed\n"
    assert await code("redo", manifest, "done", "gone") == ExitCode.SOME_FAILED
    assert "shop/done: take 2 will be bought" in capsys.readouterr().out  # what can be done is done
    assert await code("redo", manifest, "done") == await code("redo", manifest, "done") == ExitCode.DONE


async def test_redo_of_what_is_in_flight_changes_nothing(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_BEFORE: 1.0}) as emulator:
        await run_shop(shop, emulator)
    said = await ask(capsys, "redo", str(shop.manifest), "a")
    assert said == {"a": (False, "is parked: a new take is bought when this one has ended")}


async def test_cancel_takes_out_what_is_not_bought_and_retry_takes_it_back(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.limits = shop.limits.replace("budget: 100", "budget: 0.50")
    shop.add_many(4)
    manifest = str(shop.manifest)
    async with emulated() as emulator:
        assert code_of(await run_shop(shop, emulator)) is ExitCode.CAP_REACHED
        taken_out = await ask(capsys, "cancel", manifest)
        assert list(taken_out.values()) == [(True, "will not be bought; `retry` takes it back")] * 2
        (bought, *_) = {f"job-{number:02}" for number in range(4)} - set(taken_out)
        assert (await ask(capsys, "cancel", manifest, bought))[bought][0] is False
        shop.replace("budget: 0.50", "budget: 100")
        result = await run_shop(shop, emulator)
        assert (counts(result)["cancelled"], len(emulator.world.submits)) == (2, 2)
        assert list(await ask(capsys, "retry", manifest)) == []  # a cancelled job comes back by name only
        (first, _) = taken_out
        assert (await ask(capsys, "retry", manifest, first))[first][0] is True
        assert counts(await run_shop(shop, emulator))["done"] == 1


async def test_a_name_that_is_not_there_changes_nothing(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.add("mug-01").add("mug-02")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
    for verb in ("retry", "redo", "cancel"):
        words = [verb, str(shop.manifest), "mug-01", "mug-3"]
        assert await asyncio.to_thread(main, words) == ExitCode.USAGE
        assert "has no job 'mug-3' in its queue; did you mean 'mug-0" in capsys.readouterr().err
    connection = sqlite3.connect(shop.queue_path)
    assert connection.execute("SELECT DISTINCT state FROM jobs").fetchall() == [("done",)]
    connection.close()
    assert await asyncio.to_thread(main, ["redo", str(shop.manifest), "mug-01"]) == 0
    said = capsys.readouterr().out
    assert "shop/mug-01: take 2 will be bought" in said
    assert "next: batchrun" in said


async def test_without_a_name_only_what_the_filter_chose_is_tried_again(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """One manifest, two batches after its name has changed: an id of the one says nothing about the other's job."""
    shop.limits = shop.limits.replace("budget: 100", "budget: 100, max_attempts: 1")
    shop.add("a")
    manifest = str(shop.manifest)
    async with emulated({Fault.TASK_FAILED: 1.0}) as emulator:
        await run_shop(shop, emulator)
        emulator.world.dice.chances = {Fault.TASK_MODERATION: 1.0}
        shop.replace("version: 1", "version: 1\nname: spring")
        shop.replace("It turns", "It glows")
        await run_shop(shop, emulator)

    def kinds() -> dict[str, tuple[str, str]]:
        connection = sqlite3.connect(shop.queue_path)
        rows = connection.execute("SELECT b.name, j.state, j.failure_kind FROM jobs j JOIN batches b USING (batch_id)")
        found = {name: (state, kind) for name, state, kind in rows}
        connection.close()
        return found

    assert kinds() == {"shop": ("failed", "task_failed"), "spring": ("failed", "moderation")}
    assert await ask(capsys, "retry", manifest, "--kind", "moderation") == {"a": (True, "will be tried again")}
    assert kinds() == {"shop": ("failed", "task_failed"), "spring": ("queued", None)}
    assert await asyncio.to_thread(main, ["retry", manifest, "a"]) == ExitCode.USAGE
    assert "'a' stands for shop/a and spring/a: name one of them so; nothing was changed" in capsys.readouterr().err
    assert await ask(capsys, "retry", manifest, "shop/a") == {"a": (True, "will be tried again")}
    assert kinds() == {"shop": ("queued", None), "spring": ("queued", None)}


async def test_what_left_the_manifest_is_promised_nothing(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.add("a").add("b")
    manifest = str(shop.manifest)
    async with emulated({Fault.TASK_MODERATION: 1.0}) as emulator:
        await run_shop(shop, emulator)
        shop.rows.pop()
        shop.write()
        await run_shop(shop, emulator)
        assert await ask(capsys, "retry", manifest, "--kind", "moderation") == {"a": (True, "will be tried again")}
        waits = "will be tried again, once the manifest names it again"
        assert await ask(capsys, "retry", manifest, "b") == {"b": (True, waits)}
        emulator.world.dice.chances = {}
        before = len(emulator.world.submits)
        await run_shop(shop, emulator)
        assert len(emulator.world.submits) == before + 1
        shop.rows.pop()
        shop.add("c")
        await run_shop(shop, emulator)
        changed, said = (await ask(capsys, "redo", manifest, "a"))["a"]
        assert (changed, said[:29]) == (False, "is no longer in the manifest,")
        assert await asyncio.to_thread(main, ["list", manifest, "--json", "--state", "done"]) == 0
        assert [job["id"] for job in json.loads(capsys.readouterr().out)["jobs"]] == ["a", "c"]


async def test_the_next_step_names_the_same_queue(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.add("a")
    elsewhere = shop.folder / "our queues" / "q.db"
    async with emulated() as emulator:
        await run_shop(shop, emulator, queue_path=elsewhere)
    assert await asyncio.to_thread(main, ["redo", str(shop.manifest), "a", "--db", str(elsewhere)]) == 0
    assert f"next: batchrun {shop.manifest} --db '{elsewhere}'" in capsys.readouterr().out


async def test_what_is_cancelled_stays_so_when_its_inputs_change_and_retry_buys_the_new_ones(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.add_many(3)
    manifest = str(shop.manifest)
    async with emulated() as emulator:
        await run_shop(shop, emulator, max_spend_usd_micros=0)
        assert len(await ask(capsys, "cancel", manifest)) == 3
        shop.head = "defaults: {negative_prompt: blur}"
        shop.write()
        for _ in range(2):
            result = await run_shop(shop, emulator)
            assert (code_of(result), counts(result)) == (ExitCode.DONE, {"cancelled": 3, "total": 3})
        await ask(capsys, "retry", manifest, "job-01")
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought, counts(result)["cancelled"]) == (ExitCode.DONE, 1, 2)
        assert [sent["negative_prompt"] for sent in emulator.world.submits] == ["blur"]


async def test_what_is_taken_back_is_not_bought_with_inputs_that_the_manifest_no_longer_has(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that has read the manifest before is still going on while the job is taken back."""
    shop.limits = shop.limits.replace("concurrency: 4", "concurrency: 1")
    shop.add_many(3)
    manifest = str(shop.manifest)
    async with emulated() as emulator:
        await run_shop(shop, emulator, max_spend_usd_micros=0)
        await ask(capsys, "cancel", manifest, "job-02")
        shop.replace("It turns", "It rolls")

        def take_back(event: Event) -> None:
            if event.key == "job-00":
                thread = threading.Thread(target=main, args=(["retry", manifest, "job-02"],))
                thread.start()
                thread.join()

        await run_shop(shop, emulator, watcher=Watcher(on={Kind.INTENT: take_back}))
        await run_shop(shop, emulator)
        assert [sent["prompt"] for sent in emulator.world.submits] == ["It rolls"] * 3


@pytest.mark.parametrize("words", [(), ("a",), ("--kind", "output_occupied")])
async def test_retry_of_what_failed_otherwise_does_not_free_a_clip_that_was_rejected_under_another_name(
    shop: Shop, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    shop.add("a", seed=1)
    manifest = str(shop.manifest)
    shop.output("a").parent.mkdir(parents=True)
    shop.output("a").write_text("somebody's")
    async with emulated({Fault.OUTPUT_SHORT: 1.0}) as emulator:
        await run_shop(shop, emulator)
        shop.add("b", seed=1)
        assert counts(await run_shop(shop, emulator)) == {"failed": 1, "rejected": 1, "total": 2}
        emulator.world.dice.chances = {}
        shop.output("a").unlink()
        assert await ask(capsys, "retry", manifest, *words) == {"a": (True, "will be tried again")}
        result = await run_shop(shop, emulator)
        assert (result.bought, len(emulator.world.submits)) == (0, 1)
        assert "not bought again: the same request failed as shop/b" in problem_lines(result.batches)[0]
        # now it is that verdict which the job has failed by, and a person names it
        assert await ask(capsys, "retry", manifest) == {}
        assert await ask(capsys, "retry", manifest, "a") == {"a": (True, "will be tried again")}
        result = await run_shop(shop, emulator)
        assert (result.bought, counts(result)["done"]) == (1, 1)


async def test_a_new_take_that_is_cancelled_leaves_the_clip_that_there_is(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.add("a").add("b")
    manifest = str(shop.manifest)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        old = shop.output("a").read_bytes()
        await ask(capsys, "redo", manifest, "a")
        taken_back = {"a": (True, "take 2 will not be bought; the clip that it has stays")}
        assert await ask(capsys, "cancel", manifest, "a") == taken_back
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result), result.bought) == (ExitCode.DONE, {"up_to_date": 2, "total": 2}, 0)
        assert await asyncio.to_thread(main, ["report", manifest, "--json"]) == 0
        rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)["jobs"]}
        assert (rows["a"]["state"], rows["a"]["attempts"], rows["a"]["cost_usd"]) == ("done", 1, "0.25")
        assert rows["a"]["sha256"] == hashlib.sha256(old).hexdigest()
        assert await ask(capsys, "redo", manifest, "a") == {"a": (True, "take 2 will be bought")}
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought) == (ExitCode.DONE, 1)
