"""Whole runs against the emulator over real HTTP: what is bought, what is kept, how it ends."""

import asyncio
import json
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchrun.emulator.faults import Fault
from batchrun.emulator.latency import Latency
from batchrun.emulator.server import Emulator
from batchrun.emulator.world import Account
from batchrun.errors import ExitCode, ManifestError, QueueError, UsageError
from batchrun.queue.script import Outcome, ScriptFactory
from batchrun.queue.sqlite import SqliteDatabase
from batchrun.queue.states import JobState
from batchrun.run import summary
from batchrun.run.events import Event, Kind
from batchrun.run.problems import problems_of
from batchrun.run.stop import Stop
from batchrun.run.terms import Result
from batchrun.video.check import check_clip
from tests.conftest import KEY, Shop, Watcher, emulated, make_picture, run_shop, surroundings
from tests.sim.machine import named


def code_of(result: Result) -> ExitCode:
    return summary.exit_code(summary.exit_reasons(result, "shop.yaml"), result)


def counts(result: Result) -> dict[str, int]:
    (view,) = result.batches
    return {name: count for name, count in summary.counts_of(view, result).items() if count}


async def test_a_first_and_a_second_night(shop: Shop) -> None:
    shop.add_many(6).add("long", more=", duration: 10")
    async with emulated() as emulator:
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"done": 7, "total": 7})
        assert result.balance.spent_usd_micros == emulator.world.books.billed_usd_micros == 2_000_000
        assert result.balance.held_usd_micros == 0
        assert emulator.world.peak_running <= 4
        assert check_clip(shop.output("long"), 10).frames == 241
        assert not list(shop.folder.glob("videos/shop/.*"))
        again = await run_shop(shop, emulator)
        assert (code_of(again), counts(again), again.bought) == (ExitCode.DONE, {"up_to_date": 7, "total": 7}, 0)
        assert len(emulator.world.submits) == 7
        assert emulator.store.keys_seen == 0


async def test_every_video_is_the_right_jobs(shop: Shop) -> None:
    shop.add_many(8)
    watcher = Watcher()
    async with emulated(latency=Latency(2000)) as emulator:
        await run_shop(shop, emulator, watcher=watcher)
        for event in watcher.of(Kind.ACCEPTED):
            task = emulator.world.tasks[event.detail]
            clip = emulator.store.output_path(event.detail)
            assert clip.read_bytes() == shop.output(event.key).read_bytes()
            upload = emulator.store.local_file(task.inputs["image"])
            assert upload is not None
            assert upload.read_bytes() == (shop.folder / "pics" / f"{event.key}.png").read_bytes()


async def test_only_documented_fields_are_sent_and_empty_ones_are_left_out(shop: Shop) -> None:
    shop.add("a").add("b", more=", negative_prompt: blur, guidance_scale: 0.29, duration: 10")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        sent = sorted(emulator.world.submits, key=lambda inputs: inputs["duration"])
    assert [set(inputs) for inputs in sent] == [
        {"prompt", "image", "guidance_scale", "duration"},
        {"prompt", "image", "guidance_scale", "duration", "negative_prompt"},
    ]
    assert sent[1]["guidance_scale"] == 0.29


async def test_upload_names_are_unique_to_the_attempt(shop: Shop) -> None:
    shop.add("a", seed=5).add("b", seed=5, prompt="The same picture")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        images = [inputs["image"].rsplit("/", 1)[1] for inputs in emulator.world.submits]
    assert len(set(images)) == 2
    assert all(image.startswith("br-") and image.endswith(".png") for image in images)


async def test_highest_priority_is_bought_first(shop: Shop) -> None:
    shop.limits = "{concurrency: 1, per_minute: 1000, poll: 0.02, settle: 1, budget: 0.50}"
    shop.add("low").add("middle", more=", priority: 5").add("high", more=", priority: 9")
    async with emulated() as emulator:
        result = await run_shop(shop, emulator)
    assert code_of(result) is ExitCode.CAP_REACHED
    assert shop.output("high").exists()
    assert shop.output("middle").exists()
    assert not shop.output("low").exists()


async def test_a_budget_is_never_passed_and_raising_it_goes_on(shop: Shop) -> None:
    shop.limits = "{concurrency: 8, per_minute: 1000, poll: 0.02, settle: 1, budget: 1.10}"
    shop.add_many(7)
    async with emulated() as emulator:
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.CAP_REACHED, {"done": 4, "queued": 3, "total": 7})
        assert emulator.world.books.billed_usd_micros == 1_000_000
        (line,) = [line for line in lines_of(result) if line.startswith("cap ")]
        assert line == (
            "cap shop: budget of $1.10 reached: $0.10 left, the next clip costs $0.25; $1.25 would be enough for it"
        )
        shop.replace("budget: 1.10", "budget: 9")
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"done": 3, "up_to_date": 4, "total": 7})


def lines_of(result: Result) -> list[str]:
    reasons = summary.exit_reasons(result, "shop.yaml")
    return summary.run_lines(result, reasons, preview=False, real_price_usd_micros=0)


@pytest.mark.parametrize(
    ("head", "limits"),
    [
        ("", "daily_budget: 0.50"),
        ("campaign: {name: spring, budget: 0.50}", "budget: none"),
        ("campaign: {name: spring, daily_budget: 0.50}", "budget: none"),
        ("", "budget: 100, keep_balance: 9.50"),
    ],
)
async def test_every_kind_of_cap(shop: Shop, head: str, limits: str) -> None:
    shop.head = head
    shop.limits = f"{{concurrency: 8, per_minute: 1000, poll: 0.02, settle: 1, {limits}}}"
    shop.add_many(5)
    async with emulated(balance_usd=10) as emulator:
        result = await run_shop(shop, emulator)
        assert code_of(result) is ExitCode.CAP_REACHED
        assert emulator.world.books.billed_usd_micros == 500_000


async def test_a_capped_run_ends_with_its_last_clip(shop: Shop) -> None:
    """Nothing was given back since: to ask once more whether there is room would only wait for a turn."""
    shop.limits = shop.limits.replace("budget: 100", "budget: 0.50")
    shop.add_many(4)
    watcher = Watcher()
    async with emulated() as emulator:
        assert code_of(await run_shop(shop, emulator, watcher=watcher)) is ExitCode.CAP_REACHED
        assert [event.detail for event in watcher.of(Kind.NOTE)] == ["cap shop: budget of batch shop reached"]
        assert watcher.of(Kind.WAITING) == []


async def test_manifests_share_what_is_above_keep_balance(shop: Shop) -> None:
    shop.limits = shop.limits.replace("budget: 100", "budget: 100, keep_balance: 5")
    shop.add_many(3)
    other = shop.folder / "other.yaml"
    other.write_text(shop.manifest.read_text().replace("It turns", "It falls"))
    async with emulated(balance_usd=5.5) as emulator:
        result = await run_shop(shop, emulator, manifests=[shop.manifest, other])
        assert (code_of(result), emulator.world.books.billed_usd_micros) == (ExitCode.CAP_REACHED, 500_000)
        (reason,) = summary.exit_reasons(result, "shop.yaml other.yaml")
        assert reason.advice == "top the account up or lower keep_balance, then batchrun shop.yaml other.yaml"


async def test_what_would_be_enough_counts_what_is_spent_above_a_lowered_budget(shop: Shop) -> None:
    shop.add_many(8)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.replace("budget: 100", "budget: 0.50")
        shop.add("more")
        shop.replace("budget: 100", "budget: 0.50")
        lines = lines_of(await run_shop(shop, emulator))
        assert (
            "cap shop: budget of $0.50 reached: $0.00 left, the next clip costs $0.25; $2.25 would be enough for it"
            in lines
        )
        shop.replace("budget: 0.50", "budget: 2.25")
        assert code_of(await run_shop(shop, emulator)) is ExitCode.DONE


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("budget: 100", "budget: 0.50"),
        ("budget: 100", "budget: 100, daily_budget: 0.50"),
        ("version: 1", "version: 1\ncampaign: {name: spring, budget: 0.50}"),
    ],
)
async def test_a_running_process_obeys_budgets_that_another_one_has_read(shop: Shop, before: str, after: str) -> None:
    shop.limits = shop.limits.replace("concurrency: 4", "concurrency: 1")
    shop.add_many(6)
    others: list[asyncio.Task[Result]] = []
    watcher = Watcher()
    async with emulated(latency=Latency(300)) as emulator:

        def lower(_: Event) -> None:
            if not others:
                shop.replace(before, after)
                others.append(asyncio.create_task(run_shop(shop, emulator)))

        watcher.on[Kind.ACCEPTED] = lower
        result = await run_shop(shop, emulator, watcher=watcher)
        # With a campaign that begins meanwhile, what was bought before belongs to none.
        most = 3 if "campaign" in after else 2
        assert len(emulator.world.submits) <= most
        assert (code_of(result), code_of(await others[0])) == (ExitCode.CAP_REACHED, ExitCode.CAP_REACHED)


@pytest.mark.parametrize(
    ("limits", "advice"),
    [
        ("daily_budget: 0.25", "batchrun shop.yaml goes on tomorrow; to go on today, raise shop: daily_budget"),
        ("daily_budget: 0.20", "raise shop: daily_budget, then batchrun shop.yaml"),  # tomorrow has no room either
        ("budget: 0.25, daily_budget: 9", "raise shop: budget, then batchrun shop.yaml"),
    ],
)
async def test_after_a_daily_budget_the_next_day_goes_on(shop: Shop, limits: str, advice: str) -> None:
    shop.limits = shop.limits.replace("budget: 100", limits)
    shop.add_many(2)
    async with emulated() as emulator:
        (reason,) = summary.exit_reasons(await run_shop(shop, emulator), "shop.yaml")
        assert reason.advice == advice


async def test_the_next_run_is_bounded_as_this_one_was(shop: Shop) -> None:
    shop.add_many(2)
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, max_spend_usd_micros=300_000)
        (reason,) = summary.exit_reasons(result, "shop.yaml", options=" --max-spend 0.30")
        assert reason.next_command == "batchrun shop.yaml --max-spend 0.30"
        assert reason.advice == "batchrun shop.yaml --max-spend 0.30, for as much once more"


async def test_a_campaign_has_one_figure_over_all_its_manifests(shop: Shop) -> None:
    shop.head = "campaign: {name: spring, budget: 1.00}"
    shop.add_many(2)
    second = shop.folder / "other.yaml"
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        other = shop.manifest.read_text().replace("It turns", "It falls")
        second.write_text(other.replace("budget: 1.00}", "budget: 2.00}"))
        result = await run_shop(shop, emulator, manifests=[second])
        assert isinstance(result.problem, UsageError)
        assert f"{shop.manifest} says budget $1.00" in str(result.problem)
        assert f"{second} says budget $2.00" in str(result.problem)
        assert len(emulator.world.submits) == 2
        shop.replace("budget: 1.00}", "budget: 0.75}")
        second.write_text(other.replace("budget: 1.00}", "budget: 0.75}"))
        result = await run_shop(shop, emulator, manifests=[second])  # two clips of the campaign are paid for already
        assert (code_of(result), len(emulator.world.submits)) == (ExitCode.CAP_REACHED, 3)


async def test_a_running_process_obeys_a_campaign_that_another_manifest_has_lowered(shop: Shop) -> None:
    """Both files say the new figure, and a run over the other one has read it."""
    shop.limits = shop.limits.replace("concurrency: 4", "concurrency: 1")
    shop.head = "campaign: {name: spring, budget: 5.00}"
    shop.add_many(6)
    second = shop.folder / "other.yaml"
    second.write_text(shop.manifest.read_text().replace("It turns", "It falls"))
    others: list[asyncio.Task[Result]] = []
    watcher = Watcher()
    async with emulated(latency=Latency(300)) as emulator:

        def lower(_: Event) -> None:
            if not others:
                for path in (shop.manifest, second):
                    path.write_text(path.read_text().replace("budget: 5.00", "budget: 0.50"))
                others.append(asyncio.create_task(run_shop(shop, emulator, manifests=[second])))

        watcher.on[Kind.ACCEPTED] = lower
        result = await run_shop(shop, emulator, watcher=watcher)
        assert len(emulator.world.submits) <= 2
        assert (code_of(result), code_of(await others[0])) == (ExitCode.CAP_REACHED, ExitCode.CAP_REACHED)
        bought = len(emulator.world.submits)
        results = [await run_shop(shop, emulator, manifests=[path]) for path in (shop.manifest, second)]
        assert [one.bought for one in results] == [0, 0]
        assert len(emulator.world.submits) == bought


async def test_max_spend_caps_one_run(shop: Shop) -> None:
    shop.add_many(5)
    async with emulated() as emulator:
        for bought in (2, 4):
            result = await run_shop(shop, emulator, max_spend_usd_micros=500_000)
            assert (code_of(result), len(emulator.world.submits)) == (ExitCode.CAP_REACHED, bought)
        result = await run_shop(shop, emulator, max_spend_usd_micros=500_000)
        assert code_of(result) is ExitCode.DONE


async def test_one_bad_job_is_one_failed_job(shop: Shop) -> None:
    shop.add("good")
    shop.rows.append("  - {id: bad, image: 'https://nowhere.invalid/a.png', prompt: x}")
    shop.write()
    async with emulated() as emulator:
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.SOME_FAILED, {"done": 1, "failed": 1, "total": 2})
        (problem,) = problems_of(result.batches)
        assert (problem.key, problem.kind) == ("bad", "picture_unreachable")
        assert len(emulator.world.submits) == 3  # unreachable pictures are tried twice
        again = await run_shop(shop, emulator)
        assert (code_of(again), len(emulator.world.submits)) == (ExitCode.SOME_FAILED, 3)


@pytest.mark.parametrize(
    ("fault", "attempts", "kind"),
    [
        (Fault.TASK_MODERATION, 1, "moderation"),
        (Fault.TASK_FAILED, 2, "task_failed"),
        (Fault.TASK_UNAVAILABLE, 3, "provider_error"),
    ],
)
async def test_failed_tasks_are_tried_again_as_often_as_their_kind_allows(
    shop: Shop, fault: Fault, attempts: int, kind: str
) -> None:
    shop.add("a")
    async with emulated({fault: 1.0}) as emulator:
        result = await run_shop(shop, emulator)
        assert code_of(result) is ExitCode.SOME_FAILED
        assert problems_of(result.batches)[0].kind == kind
        assert len(emulator.world.submits) == attempts
        # held until a refund is seen: it counts as spent
        assert result.balance.held_usd_micros == attempts * 250_000
        await run_shop(shop, emulator)
        assert len(emulator.world.submits) == attempts


async def test_refunds_make_room_under_a_cap_once_they_are_seen(shop: Shop) -> None:
    shop.limits = shop.limits.replace("budget: 100", "budget: 0.50")
    shop.add("a", prompt="first")
    late = Account(refund_after_ms=3_600_000)
    async with emulated({Fault.TASK_MODERATION: 1.0}, account=late) as emulator:
        result = await run_shop(shop, emulator)
        assert (result.balance.held_usd_micros, result.refund_due_usd_micros) == (250_000, 250_000)
        emulator.world.dice.chances = {}
        shop.add("b").add("c")
        result = await run_shop(shop, emulator)
        assert code_of(result) is ExitCode.CAP_REACHED
        assert any(line.startswith("$0.25 of what is held may come back as refunds") for line in lines_of(result))
        emulator.world.account = Account()  # an hour later
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.balance.held_usd_micros) == (ExitCode.SOME_FAILED, 0)
        assert result.balance.spent_usd_micros == emulator.world.books.billed_usd_micros == 500_000


async def test_no_credit_pauses_everything_and_burns_nothing(shop: Shop) -> None:
    shop.add_many(5)
    async with emulated(balance_usd=0.50) as emulator:
        result = await run_shop(shop, emulator)
        assert code_of(result) is ExitCode.ACCOUNT
        assert (counts(result)["done"], counts(result)["queued"]) == (2, 3)
        assert result.balance.held_usd_micros == 0
        emulator.world.books.balance_usd_micros = 10_000_000
        assert code_of(await run_shop(shop, emulator)) is ExitCode.DONE


async def test_a_refused_key(shop: Shop) -> None:
    shop.add_many(3)
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, key="wrong")
        assert (code_of(result), counts(result)) == (ExitCode.KEY, {"queued": 3, "total": 3})
        assert code_of(await run_shop(shop, emulator)) is ExitCode.DONE


async def test_a_dearer_quote_stops_before_spending(shop: Shop) -> None:
    shop.add_many(2)
    async with emulated(account=Account(price_usd_micros={5: 260_000, 10: 500_000})) as emulator:
        result = await run_shop(shop, emulator)
        assert (code_of(result), emulator.world.submits) == (ExitCode.NEEDS_PERSON, [])
        assert any("today a 5 s clip costs $0.26" in line for line in lines_of(result))
        shop.limits = shop.limits.replace("budget", "max_price: {5: 0.26}, budget")
        shop.write()
        result = await run_shop(shop, emulator)
        assert code_of(result) is ExitCode.DONE
        assert result.balance.spent_usd_micros == emulator.world.books.billed_usd_micros == 520_000


async def test_the_storm(shop: Shop) -> None:
    """Every fault that can be survived alone: all clips, each bought once, in one run."""
    shop.add_many(12)
    polls = (Fault.POLL_500, Fault.POLL_DROP, Fault.POLL_HTML, Fault.POLL_TRUNCATED, Fault.POLL_404)
    others = (
        Fault.TICKET_500, Fault.PUT_500, Fault.PUT_DROP, Fault.OUTPUT_404, Fault.OUTPUT_DROP, Fault.OUTPUT_HTML,
        Fault.OUTPUT_SHORT,
    )  # fmt: skip
    faults = dict.fromkeys(polls, 0.03) | dict.fromkeys(others, 0.08)
    async with emulated(faults, seed=3) as emulator:
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"done": 12, "total": 12})
        assert len(emulator.world.submits) == 12
        assert sum(emulator.world.dice.thrown.values()) > 5
        for number in range(12):
            check_clip(shop.output(f"job-{number:02}"), 5)


LOST_ANSWERS = [Fault.SUBMIT_DROP_AFTER, Fault.SUBMIT_502_AFTER, Fault.SUBMIT_NO_ID, Fault.SUBMIT_TRUNCATED]


@pytest.mark.parametrize("fault", LOST_ANSWERS)
async def test_a_lost_answer_is_found_by_the_marker_of_its_upload(shop: Shop, fault: Fault) -> None:
    shop.limits = shop.limits.replace("budget", "max_unknown: 9, budget")
    shop.add("a", seed=1).add("b", seed=1, prompt="The same picture").add("c")
    async with emulated({fault: 1.0}) as emulator:
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"done": 3, "total": 3})
        assert len(emulator.world.submits) == 3
        assert result.balance.spent_usd_micros == emulator.world.books.billed_usd_micros == 750_000


async def test_a_lost_answer_with_a_public_picture_is_found_by_equal_inputs(shop: Shop) -> None:
    async with emulated() as emulator:
        url = await _public_picture(emulator, shop)
        shop.rows.append(f"  - {{id: one, image: '{url}', prompt: This}}")
        shop.rows.append(f"  - {{id: two, image: '{url}', prompt: That, guidance_scale: 0.3}}")
        shop.write()
        emulator.world.dice.chances = {Fault.SUBMIT_DROP_AFTER: 1.0}
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"done": 2, "total": 2})


async def _public_picture(emulator: Emulator, shop: Shop) -> str:
    ticket_id, ticket = emulator.store.ticket("public.png", 1, "image/png")
    make_picture(emulator.store.upload_path(ticket_id, ticket.name))
    return emulator.store.upload_url(ticket_id)


async def test_hidden_inputs_prove_nothing(shop: Shop) -> None:
    """Something that may be ours stands in the list: neither adopted nor void, and the money stays held."""
    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_AFTER: 1.0}, show_inputs=False) as emulator:
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.NEEDS_PERSON, {"parked": 1, "total": 1})
        assert result.balance.held_usd_micros == 250_000
        assert len(emulator.world.submits) == 1


async def test_without_a_witness_absence_proves_nothing(shop: Shop) -> None:
    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_BEFORE: 1.0}) as emulator:
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.NEEDS_PERSON, {"parked": 1, "total": 1})
        emulator.world.dice.chances = {}
        again = await run_shop(shop, emulator)
        assert (code_of(again), emulator.world.submits) == (ExitCode.NEEDS_PERSON, [])


async def test_one_unknown_outcome_too_many_is_said_of_one(shop: Shop) -> None:
    shop.limits = shop.limits.replace("{", "{max_unknown: 1, ")
    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_BEFORE: 1.0}) as emulator:
        await run_shop(shop, emulator)
        result = await run_shop(shop.add("b"), emulator)
    assert [one.message for one in result.halts.values()] == [
        "1 submit with unknown outcome: nothing new is bought until it is settled"
    ]


async def test_with_all_the_evidence_a_submit_that_created_nothing_is_void_and_bought_anew(shop: Shop) -> None:
    shop.add("a")
    async with emulated({Fault.SUBMIT_500: 1.0}) as emulator:
        assert counts(await run_shop(shop, emulator)) == {"parked": 1, "total": 1}
        emulator.world.dice.chances = {}
        shop.add("b").add("c")  # later predictions of ours: the witnesses
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"done": 3, "total": 3})
        assert len(emulator.world.submits) == 3
        assert result.balance.spent_usd_micros == emulator.world.books.billed_usd_micros == 750_000
        assert result.balance.held_usd_micros == 0


async def test_too_many_unknown_outcomes_end_the_run(shop: Shop) -> None:
    shop.limits = shop.limits.replace("concurrency: 4", "concurrency: 2, max_unknown: 2")
    shop.add_many(6)
    async with emulated({Fault.SUBMIT_DROP_AFTER: 1.0}, show_inputs=False) as emulator:
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.NEEDS_PERSON, {"queued": 4, "parked": 2, "total": 6})
        assert len(emulator.world.submits) == 2


async def test_a_clip_that_stays_broken_is_rejected_and_not_bought_again(shop: Shop) -> None:
    shop.add("a")
    async with emulated({Fault.OUTPUT_SHORT: 1.0}) as emulator:
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.NEEDS_PERSON, {"rejected": 1, "total": 1})
        assert not shop.output("a").exists()
        assert list((shop.queue_path.parent / "rejected" / "shop").iterdir())
        emulator.world.dice.chances = {}
        await run_shop(shop, emulator)
        assert len(emulator.world.submits) == 1


# ---------------------------------------------------------------------- never bought twice, across names


async def test_the_same_clip_is_bought_once_and_copied(shop: Shop) -> None:
    for key in ("a", "b", "c"):
        shop.add(key, seed=5)
    async with emulated() as emulator:
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"done": 3, "total": 3})
        assert len(emulator.world.submits) == 1
        assert result.balance.spent_usd_micros == 250_000
        assert len({shop.output(key).read_bytes() for key in ("a", "b", "c")}) == 1


async def test_a_renamed_manifest_and_a_moved_row_are_free(shop: Shop) -> None:
    shop.add_many(3)
    second = shop.folder / "renamed.yaml"
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.manifest.rename(second)
        result = await run_shop(shop, emulator, manifests=[second])
        assert (code_of(result), len(emulator.world.submits)) == (ExitCode.DONE, 3)
        assert (shop.folder / "videos" / "renamed" / "job-00.mp4").exists()


async def test_a_twin_whose_file_was_changed_is_not_copied_but_fetched_again(shop: Shop) -> None:
    shop.add("a", seed=5)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.output("a").write_bytes(b"changed by somebody")
        shop.add("b", seed=5)
        await run_shop(shop, emulator)
        assert len(emulator.world.submits) == 1
        check_clip(shop.output("b"), 5)


async def test_a_copy_that_was_stopped_before_its_record_is_recognised_and_old_clips_are_kept(shop: Shop) -> None:
    shop.add("a", seed=5).add("b", seed=5, prompt="Another")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        old = shop.output("b").read_bytes()
        shop.replace("Another", "It turns")
        await run_shop(shop, emulator)
        assert [path.read_bytes() for path in (shop.queue_path.parent / "history" / "shop").iterdir()] == [old]
        shop.output("c").write_bytes(shop.output("a").read_bytes())  # renamed, and killed before the record
        shop.rows[1] = shop.rows[1].replace("Another", "It turns")
        shop.add("c", seed=5)
        result = await run_shop(shop, emulator)
        assert (code_of(result), len(emulator.world.submits)) == (ExitCode.DONE, 2)


async def test_what_was_refused_for_its_content_is_not_bought_under_another_name(shop: Shop) -> None:
    shop.add("a", seed=5).add("b", seed=5)
    async with emulated({Fault.TASK_MODERATION: 1.0}) as emulator:
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.SOME_FAILED, {"failed": 2, "total": 2})
        emulator.world.dice.chances = {}
        shop.rows.clear()
        shop.add("c", seed=5).add("d", seed=6)
        watcher = Watcher()
        result = await run_shop(shop, emulator, watcher=watcher)
        assert counts(result) == {"done": 1, "failed": 1, "total": 2}
        assert len(emulator.world.submits) == 2
        assert ["the same request failed as shop/" in event.detail for event in watcher.of(Kind.FAILED)] == [True]


async def test_a_clip_that_was_rejected_is_not_bought_under_another_name(shop: Shop) -> None:
    shop.add("a", seed=5)
    async with emulated({Fault.OUTPUT_SHORT: 1.0}) as emulator:
        await run_shop(shop, emulator)
        emulator.world.dice.chances = {}
        shop.rows.clear()
        shop.add("b", seed=5)
        result = await run_shop(shop, emulator)
        assert (counts(result), len(emulator.world.submits)) == ({"failed": 1, "total": 1}, 1)


async def test_failed_attempts_are_counted_under_all_names(shop: Shop) -> None:
    shop.add("a", seed=5)
    async with emulated({Fault.TASK_FAILED: 1.0}) as emulator:
        for name in ("b", "c", "d"):
            await run_shop(shop, emulator)
            shop.rows.clear()
            shop.add(name, seed=5)
        result = await run_shop(shop, emulator)
        assert (counts(result), len(emulator.world.submits)) == ({"failed": 1, "total": 1}, 2)


async def test_a_copy_that_cannot_be_made_is_no_reason_to_buy(shop: Shop) -> None:
    """The history cannot take the clip that stands in the way: trouble of a disk, and the clip is there."""
    shop.add("a", seed=1, prompt="It turns").add("b", seed=1, prompt="It falls")
    history = shop.queue_path.parent / "history"
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        history.write_text("not a folder")
        shop.replace("It turns", "It falls")
        stop, watcher = Stop(), Watcher()
        watcher.on[Kind.PUT_OFF] = lambda _: stop.ask(signal.SIGINT)
        result = await run_shop(shop, emulator, stop=stop, watcher=watcher)
        assert (result.bought, len(emulator.world.submits)) == (0, 2)
        assert "the clip of shop/b cannot be copied" in watcher.of(Kind.PUT_OFF)[0].detail
        history.unlink()
        result = await run_shop(shop, emulator)
        assert (code_of(result), len(emulator.world.submits)) == (ExitCode.DONE, 2)


async def test_rows_that_swap_their_texts_are_free_and_so_is_the_way_back(shop: Shop) -> None:
    shop.add("a", seed=5, prompt="It turns").add("b", seed=5, prompt="It falls")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        first, second = shop.output("a").read_bytes(), shop.output("b").read_bytes()
        assert first != second
        forth = list(shop.rows)
        back = [forth[0].replace("turns", "falls"), forth[1].replace("falls", "turns")]
        for rows, a, b in ((back, second, first), (forth, first, second), (back, second, first)):
            shop.rows = rows
            shop.write()
            result = await run_shop(shop, emulator)
            assert (code_of(result), result.bought) == (ExitCode.DONE, 0)
            assert (shop.output("a").read_bytes(), shop.output("b").read_bytes()) == (a, b)
        assert len(emulator.world.submits) == 2


async def test_a_job_whose_twin_is_unknown_is_left_to_a_person_too(shop: Shop) -> None:
    shop.add("a", seed=5, more=", priority: 9").add("b", seed=5)
    async with emulated({Fault.SUBMIT_DROP_AFTER: 1.0}, show_inputs=False) as emulator:
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.NEEDS_PERSON, {"queued": 1, "parked": 1, "total": 2})
        assert len(emulator.world.submits) == 1


# ---------------------------------------------------------------------- what changed


async def test_a_picture_that_changes_between_plan_and_upload_is_planned_again(shop: Shop) -> None:
    shop.add("a", seed=1).add("b", seed=2)
    watcher = Watcher()

    def change(_: Event) -> None:
        if len(watcher.of(Kind.PLANNED)) == 1:
            make_picture(shop.folder / "pics" / "a.png", seed=99)

    watcher.on[Kind.PLANNED] = change
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, watcher=watcher)
        assert (code_of(result), result.bought, len(emulator.world.submits)) == (ExitCode.DONE, 2, 2)
        assert (await run_shop(shop, emulator)).bought == 0  # what was sent is what is there


async def test_a_picture_that_never_stands_still_ends_as_a_failure(shop: Shop) -> None:
    shop.add("a", seed=1)
    watcher = Watcher()
    watcher.on[Kind.PLANNED] = lambda _: make_picture(shop.folder / "pics" / "a.png", seed=1000 + len(watcher.events))
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, watcher=watcher)
        assert (code_of(result), counts(result)) == (ExitCode.SOME_FAILED, {"failed": 1, "total": 1})
        assert "changed since the manifest was read, again and again" in watcher.of(Kind.FAILED)[-1].detail
        assert len(emulator.world.submits) == 0


async def test_exactly_what_changed_is_bought(shop: Shop) -> None:
    shop.add_many(5)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        old = shop.output("job-01").read_bytes()
        for picture in (shop.folder / "pics").iterdir():
            picture.touch()
        shop.rows.reverse()
        shop.write()
        assert (await run_shop(shop, emulator)).bought == 0
        shop.rows.reverse()
        shop.rows[1] = shop.rows[1].replace("It turns", "It falls")
        make_picture(shop.folder / "pics" / "job-02.png", seed=99)
        shop.add("new")
        result = await run_shop(shop, emulator)
        assert (result.bought, counts(result)) == (3, {"done": 3, "up_to_date": 3, "total": 6})
        kept = list((shop.queue_path.parent / "history" / "shop").glob("job-01.*.mp4"))
        assert [path.read_bytes() for path in kept] == [old]
        assert (await run_shop(shop, emulator)).bought == 0


async def test_a_missing_output_is_fetched_again_for_free(shop: Shop) -> None:
    shop.add_many(2)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.output("job-00").unlink()
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought, shop.output("job-00").exists()) == (ExitCode.DONE, 0, True)
        assert result.balance.spent_usd_micros == 500_000


async def test_an_output_folder_that_is_gone_stops_before_spending(shop: Shop) -> None:
    shop.add_many(2)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.add("new")
        (shop.folder / "videos").rename(shop.folder / "unmounted")
        result = await run_shop(shop, emulator)
        assert isinstance(result.problem, QueueError)
        assert "is gone, and 2 finished clips were in it" in str(result.problem)
        assert code_of(result) is ExitCode.USAGE
        assert len(emulator.world.submits) == 2


async def test_a_file_that_is_not_ours_is_not_overwritten_and_its_job_not_bought(shop: Shop) -> None:
    shop.add("a")
    shop.output("a").parent.mkdir(parents=True)
    shop.output("a").write_text("precious")
    async with emulated() as emulator:
        result = await run_shop(shop, emulator)
        assert (code_of(result), emulator.world.submits) == (ExitCode.NEEDS_PERSON, [])
        assert shop.output("a").read_text() == "precious"
        shop.output("a").unlink()
        assert code_of(await run_shop(shop, emulator)) is ExitCode.DONE


async def test_a_picture_that_changes_after_planning_is_not_bought(shop: Shop) -> None:
    shop.limits = shop.limits.replace("concurrency: 4", "concurrency: 1")
    shop.add_many(3)
    watcher = Watcher()
    watcher.on[Kind.INTENT] = lambda _: make_picture(shop.folder / "pics" / "job-02.png", seed=77) and None
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, watcher=watcher)
        bought_first = len(emulator.world.submits)
        again = await run_shop(shop, emulator)
        assert code_of(again) is ExitCode.DONE
        assert len(emulator.world.submits) == 3
    assert (bought_first, code_of(result)) in ((2, ExitCode.SOME_FAILED), (3, ExitCode.DONE))


async def test_a_bad_manifest_spends_nothing_but_what_is_paid_for_is_collected(shop: Shop) -> None:
    shop.add_many(2)
    stop = Stop()
    watcher = Watcher()
    watcher.on[Kind.ACCEPTED] = lambda _: stop.ask() or stop.ask()
    async with emulated(latency=Latency(1000)) as emulator:
        await run_shop(shop, emulator, watcher=watcher, stop=stop)
        paid = len(emulator.world.submits)
        assert paid >= 1
        shop.add("new").replace("version: 1", "version: 7")
        result = await run_shop(shop, emulator)
        assert isinstance(result.problem, ManifestError)
        assert code_of(result) is ExitCode.USAGE
        assert len(emulator.world.submits) == paid
        assert len(list(shop.folder.glob("videos/shop/*.mp4"))) == paid


async def test_no_new_only_collects(shop: Shop) -> None:
    shop.add_many(4)
    stop = Stop()
    watcher = Watcher()
    watcher.on[Kind.ACCEPTED] = lambda _: stop.ask() or stop.ask()
    shop.limits = shop.limits.replace("concurrency: 4", "concurrency: 1")
    shop.write()
    async with emulated(latency=Latency(500)) as emulator:
        await run_shop(shop, emulator, watcher=watcher, stop=stop)
        assert len(emulator.world.submits) == 1
        result = await run_shop(shop, emulator, no_new=True)
        assert (code_of(result), len(emulator.world.submits)) == (ExitCode.DONE, 1)
        assert len(list(shop.folder.glob("videos/shop/*.mp4"))) == 1


# ---------------------------------------------------------------------- stopping


async def test_the_first_signal_drains(shop: Shop) -> None:
    shop.limits = shop.limits.replace("concurrency: 4", "concurrency: 2")
    shop.add_many(8)
    stop, watcher = Stop(), Watcher()
    watcher.on[Kind.ACCEPTED] = lambda _: None if stop.drain.is_set() else stop.ask(2)
    async with emulated(latency=Latency(1000)) as emulator:
        result = await run_shop(shop, emulator, watcher=watcher, stop=stop)
        bought = len(emulator.world.submits)
        assert code_of(result) is ExitCode.INTERRUPTED
        assert counts(result)["done"] == bought <= 3
        assert result.balance.held_usd_micros == 0
        again = await run_shop(shop, emulator)
        assert code_of(again) is ExitCode.DONE
        assert len(emulator.world.submits) == 8


async def test_a_signal_between_a_claim_and_the_first_step_of_its_worker(shop: Shop) -> None:
    """A task that is cancelled before it begins runs no `finally` of its own: the run must end all the same."""
    stop = Stop()

    class StoppedAtTheClaim(SqliteDatabase):
        async def transact(self, scripts: Sequence[ScriptFactory[Any]]) -> list[Outcome]:
            names: dict[str, None] = {}
            outcomes = await super().transact([named(script, names) for script in scripts])
            if "take_lease" in names:
                asyncio.get_running_loop().call_soon(stop.ask, 2)  # once the workers' tasks are made
            return outcomes

    shop.add_many(3)
    async with emulated() as emulator:
        outside = replace(surroundings(), connect=StoppedAtTheClaim.open)
        result = await asyncio.wait_for(run_shop(shop, emulator, stop=stop, outside=outside), 10)
        assert (code_of(result), emulator.world.submits) == (ExitCode.INTERRUPTED, [])


async def test_the_second_signal_leaves_now_and_loses_nothing(shop: Shop) -> None:
    shop.add_many(6)
    stop, watcher = Stop(), Watcher()
    watcher.on[Kind.ACCEPTED] = lambda _: stop.ask(15) or stop.ask(15)
    async with emulated(latency=Latency(300)) as emulator:
        result = await run_shop(shop, emulator, watcher=watcher, stop=stop)
        assert code_of(result) is ExitCode.TERMINATED
        again = await run_shop(shop, emulator)
        unknown = counts(again).get("unknown", 0)
        assert counts(again)["done"] + unknown == 6
        assert len(emulator.world.submits) <= 6


async def test_the_grace_period_ends(shop: Shop) -> None:
    shop.add("a")
    stop, watcher = Stop(), Watcher()
    watcher.on[Kind.ACCEPTED] = lambda _: stop.ask(2)
    async with emulated({Fault.TASK_STUCK: 1.0}) as emulator:
        result = await run_shop(shop, emulator, watcher=watcher, stop=stop, grace_s=0.05)
        assert (code_of(result), counts(result)) == (ExitCode.INTERRUPTED, {"running": 1, "total": 1})


async def test_an_outage_ends_the_run_and_nothing_is_lost(shop: Shop) -> None:
    shop.add_many(2)
    async with emulated() as emulator:
        dead = "http://127.0.0.1:9"
        result = await run_shop(shop, emulator, base_url=dead, give_up_after_s=0.3)
        assert (code_of(result), counts(result)) == (ExitCode.UNAVAILABLE, {"queued": 2, "total": 2})
        assert result.balance.held_usd_micros == 0
        assert code_of(await run_shop(shop, emulator)) is ExitCode.DONE


# ---------------------------------------------------------------------- several runs, limits, secrets


async def test_two_runs_at_once_are_harmless(shop: Shop) -> None:
    shop.add_many(10)
    async with emulated(latency=Latency(3000)) as emulator:
        results = await asyncio.gather(run_shop(shop, emulator), run_shop(shop, emulator))
        assert len(emulator.world.submits) == 10
        assert emulator.world.peak_running <= 4
        assert sum(result.bought for result in results) == 10
        assert emulator.world.books.billed_usd_micros == results[0].balance.spent_usd_micros
        for result in results:
            assert code_of(result) is ExitCode.DONE


async def test_two_manifests_share_one_queue(shop: Shop, tmp_path: Path) -> None:
    shop.add_many(2)
    other = Shop(shop.folder, rows=list(shop.rows))
    second = shop.folder / "other.yaml"
    second.write_text(shop.manifest.read_text())
    async with emulated() as emulator:
        result = await run_shop(other, emulator, manifests=[shop.manifest, second])
        assert code_of(result) is ExitCode.DONE
        assert {view.name for view in result.batches} == {"shop", "other"}
        assert (shop.folder / "videos" / "other" / "job-00.mp4").exists()


async def test_what_is_found_while_the_run_is_stopped_is_collected_by_it(shop: Shop) -> None:
    shop.add("a")
    stop, watcher = Stop(), Watcher()
    watcher.on[Kind.ACCEPTED] = lambda _: stop.ask(signal.SIGINT)
    async with emulated({Fault.SUBMIT_DROP_AFTER: 1.0}) as emulator:
        result = await run_shop(shop, emulator, stop=stop, watcher=watcher)
        assert (code_of(result), counts(result)) == (ExitCode.INTERRUPTED, {"done": 1, "total": 1})


async def test_the_providers_own_limits_hold(shop: Shop) -> None:
    shop.limits = "{concurrency: 2, per_minute: 1000, poll: 0.02, settle: 1, budget: 9}"
    shop.add_many(6)
    account = Account(concurrency=2, overflow_429=True)
    async with emulated(account=account, latency=Latency(4000)) as emulator:
        result = await run_shop(shop, emulator)
        assert code_of(result) is ExitCode.DONE
        assert emulator.world.peak_running <= 2
        assert len(emulator.world.submits) == 6


async def test_the_key_is_nowhere(shop: Shop) -> None:
    shop.add_many(3)
    watcher = Watcher()
    async with emulated({Fault.POLL_500: 0.3, Fault.OUTPUT_DROP: 0.3}) as emulator:
        result = await run_shop(shop, emulator, watcher=watcher)
        reasons = summary.exit_reasons(result, "shop.yaml")
        said = json.dumps(summary.run_json(result, reasons, code_of(result))) + str(watcher.events)
        assert KEY not in said
        assert emulator.store.keys_seen == 0
    files = [path for path in shop.folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


async def test_an_observer_that_fails_ends_the_run_and_nothing_is_bought_twice(shop: Shop) -> None:
    """How crash tests stop a run at a named point."""
    shop.add_many(4)

    class CrashError(Exception):
        pass

    for kind in (Kind.UPLOADED, Kind.INTENT, Kind.ANSWERED, Kind.ACCEPTED, Kind.COMPLETED, Kind.CHECKED, Kind.PLACED):
        watcher = Watcher()

        def crash(event: Event) -> None:
            raise CrashError(event.kind)

        async with emulated(latency=Latency(5000)) as emulator:
            folder = shop.folder.parent / kind.value
            folder.mkdir()
            one = Shop(folder).add_many(4)
            watcher.on[kind] = crash
            with pytest.raises(CrashError):
                await run_shop(one, emulator, watcher=watcher)
            result = await run_shop(one, emulator)
            states = result.batches[0].counts
            unknown = states.get(JobState.UNKNOWN, 0)
            assert states.get(JobState.DONE, 0) + unknown == 4, kind
            assert len(emulator.world.submits) <= 4
            assert emulator.world.books.billed_usd_micros <= result.balance.committed_usd_micros


def latencies_of(shop: Shop) -> list[tuple[int, int]]:
    with closing(sqlite3.connect(shop.queue_path)) as connection:
        return connection.execute("SELECT duration_s, place FROM latencies ORDER BY duration_s, place").fetchall()


async def test_what_clips_take_is_known_to_the_next_run(shop: Shop) -> None:
    shop.add_many(3).add("long", more=", duration: 10")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        assert latencies_of(shop) == [(5, 0), (5, 1), (5, 2), (10, 0)]
        await run_shop(shop.add("later"), emulator)
        assert latencies_of(shop) == [(5, 0), (5, 1), (5, 2), (5, 3), (10, 0)]


async def test_a_task_that_fails_says_nothing_of_the_others(shop: Shop) -> None:
    shop.add("a")
    async with emulated({Fault.TASK_MODERATION: 1.0}) as emulator:
        await run_shop(shop, emulator)
    assert latencies_of(shop) == []
