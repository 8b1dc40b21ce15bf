"""How closely a batch looks at its clips, from the manifest to what a person is told."""

import asyncio
import os
import threading
from pathlib import Path

import pytest
from PIL import Image

from batchrun.emulator.faults import Fault
from batchrun.errors import ExitCode
from batchrun.queue.store import Queue
from batchrun.queue.views import JobView
from batchrun.run import summary
from batchrun.run.clip_notes import warning_lines
from batchrun.run.events import Event, Kind
from batchrun.run.problems import problems_of
from batchrun.run.stop import Stop
from batchrun.run.terms import Result
from batchrun.run.tools import Decoders
from batchrun.video.place import poster_path
from tests.clocks import StillClock
from tests.conftest import Shop, Watcher, emulated, make_picture, run_shop


def code_of(result: Result) -> ExitCode:
    return summary.exit_code(summary.exit_reasons(result, "shop.yaml"), result)


def warnings_of(result: Result) -> dict[str, tuple[str, ...]]:
    return {job.key: job.notes for view in result.batches for job in view.warned.first}


async def jobs_of(shop: Shop) -> dict[str, JobView]:
    queue = await Queue.open(shop.queue_path, StillClock(), kind="paid", origin=None, create=False)
    try:
        return {job.key: job for batch in await queue.batches() async for job in queue.jobs(batch.batch_id)}
    finally:
        await queue.close()


def poster_of(shop: Shop, key: str, kind: str = "paid", batch: str = "shop") -> Path:
    return poster_path(shop.queue_path.parent, kind, batch, key)


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (Fault.CLIP_BLACK, "black"),
        (Fault.CLIP_FLAT, "flat"),
        (Fault.CLIP_FROZEN, "frozen"),
        (Fault.CLIP_OTHER, "unlike_picture"),
    ],
)
async def test_a_clip_that_looks_wrong_is_done_and_told(shop: Shop, fault: Fault, word: str) -> None:
    shop.add("a")
    watcher = Watcher()
    async with emulated({fault: 1.0}) as emulator:
        result = await run_shop(shop, emulator, watcher=watcher)
        assert (code_of(result), warnings_of(result)) == (ExitCode.DONE, {"a": (word,)})
        assert [event.detail.split(" ")[0] for event in watcher.of(Kind.WARNED)] == [word]
        again = await run_shop(shop, emulator)
        assert (code_of(again), warnings_of(again), len(emulator.world.submits)) == (ExitCode.DONE, {"a": (word,)}, 1)
    (job,) = (await jobs_of(shop)).values()
    assert (job.state, job.warnings, job.facts["checks"], job.facts["fps"]) == ("done", (word,), "full", 24.0)
    assert (job.facts["width_px"], job.facts["height_px"], job.facts["frames"]) == (480, 360, 121)
    with Image.open(poster_of(shop, "a")) as poster:
        assert (poster.format, poster.size) == ("WEBP", (480, 360))


async def test_what_is_told_can_be_read_by_people_and_scripts(shop: Shop) -> None:
    shop.add_many(2)
    async with emulated({Fault.CLIP_BLACK: 1.0}) as emulator:
        result = await run_shop(shop, emulator)
    found = summary.run_json(result, [], ExitCode.DONE)
    assert (found["clips_warned"], found["not_fine"]) == (2, [])
    assert found["clip_warnings"][1] == {"batch": "shop", "id": "job-01", "warnings": ["black"]}
    lines = summary.run_lines(result, [], preview=False, real_price_usd_micros=0)
    assert "  shop/job-01: done, but look at it: black (at least half of it is black)" in lines


async def test_a_clip_as_it_should_be_is_not_told(shop: Shop) -> None:
    shop.add("a")
    async with emulated(area_px=640 * 360) as emulator:
        shop.head = "checks: strict"
        shop.write()
        result = await run_shop(shop, emulator)
    assert (code_of(result), warnings_of(result)) == (ExitCode.DONE, {})
    with Image.open(poster_of(shop, "a")) as poster:
        assert poster.size == (496, 464)


async def test_a_disk_that_gives_back_other_bytes_is_no_broken_clip(shop: Shop) -> None:
    """The clip is paid for and whole where it came from: it is fetched again, not put into quarantine."""
    shop.add("a")
    watcher = Watcher()

    def forget(_: Event) -> None:
        for part in shop.output("a").parent.glob(".*.part*"):
            os.truncate(part, part.stat().st_size // 2)

    watcher.on[Kind.DOWNLOADED] = forget
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, watcher=watcher)
        (problem,) = problems_of(result.batches)
        assert (problem.state, problem.kind) == ("downloading", "disk")
        assert "the disk gives back other bytes" in problem.message
        assert code_of(result) == ExitCode.NEEDS_PERSON
        assert code_of(await run_shop(shop, emulator)) == ExitCode.DONE
        assert len(emulator.world.submits) == 1
    assert not (shop.queue_path.parent / "rejected").exists()


async def test_strict_rejects_keeps_and_does_not_buy_again(shop: Shop) -> None:
    shop.head = "checks: strict"
    shop.add("a")
    watcher = Watcher()
    async with emulated({Fault.CLIP_BLACK: 1.0}) as emulator:
        result = await run_shop(shop, emulator, watcher=watcher)
        assert code_of(result) == ExitCode.NEEDS_PERSON
        assert len(watcher.of(Kind.DOWNLOADED)) == 1, "fetching it again does not change it"
        (problem,) = problems_of(result.batches)
        assert (problem.state, problem.kind) == ("rejected", "warned_clip")
        (kept,) = (shop.queue_path.parent / "rejected" / "shop").iterdir()
        assert str(kept) in problem.message
        assert not shop.output("a").exists()
        assert not poster_of(shop, "a").exists()
        emulator.world.dice.chances = {}
        shop.replace("checks: strict", "checks: full")
        assert code_of(await run_shop(shop, emulator)) == ExitCode.NEEDS_PERSON
        assert len(emulator.world.submits) == 1
    (job,) = (await jobs_of(shop)).values()
    assert (job.warnings, job.facts["checks"]) == (("black",), "strict")


async def test_quick_decodes_nothing_and_tells_nothing(shop: Shop) -> None:
    shop.head = "checks: quick"
    shop.add("a")
    async with emulated({Fault.CLIP_BLACK: 1.0}) as emulator:
        result = await run_shop(shop, emulator)
        assert (code_of(result), warnings_of(result)) == (ExitCode.DONE, {})
    (job,) = (await jobs_of(shop)).values()
    assert (job.facts["checks"], job.facts["frames"], job.facts["duration_s"]) == ("quick", 121, 5.042)
    assert poster_of(shop, "a").exists()


async def test_what_is_collected_before_the_manifest_is_read_goes_by_its_last_reading(shop: Shop) -> None:
    shop.head = "checks: strict"
    shop.add("a")

    def die(_: Event) -> None:
        raise RuntimeError("killed")

    async with emulated({Fault.CLIP_FROZEN: 1.0}) as emulator:
        with pytest.raises(RuntimeError, match="killed"):
            await run_shop(shop, emulator, watcher=Watcher(on={Kind.COMPLETED: die}))
        shop.manifest.unlink()
        await run_shop(shop, emulator, no_new=True)
    (job,) = (await jobs_of(shop)).values()
    assert (job.state, job.kind) == ("rejected", "warned_clip")


async def test_another_closeness_costs_nothing(shop: Shop) -> None:
    shop.add("a")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        for word in ("strict", "quick"):
            shop.head = f"checks: {word}"
            shop.write()
            assert code_of(await run_shop(shop, emulator)) == ExitCode.DONE
        assert len(emulator.world.submits) == 1


async def test_a_picture_that_is_a_url_or_has_changed_is_not_compared(shop: Shop) -> None:
    shop.add("a")
    changed = Watcher()

    def change(_: Event) -> None:
        make_picture(shop.folder / "pics" / "a.png", 99)

    async with emulated({Fault.CLIP_OTHER: 1.0}) as emulator:
        ticket_id, ticket = emulator.store.ticket("public.png", 1, "image/png")
        make_picture(emulator.store.upload_path(ticket_id, ticket.name))
        shop.rows.append(f"  - {{id: b, image: '{emulator.store.upload_url(ticket_id)}', prompt: x}}")
        shop.write()
        changed.on[Kind.COMPLETED] = change
        result = await run_shop(shop, emulator, watcher=changed)
        assert (code_of(result), warnings_of(result)) == (ExitCode.DONE, {})


async def test_a_copy_carries_what_was_found_and_has_a_poster(shop: Shop) -> None:
    for key in ("a", "b"):
        shop.add(key, seed=5)
    async with emulated({Fault.CLIP_FLAT: 1.0}) as emulator:
        result = await run_shop(shop, emulator)
        assert (len(emulator.world.submits), warnings_of(result)) == (1, {"a": ("flat",), "b": ("flat",)})
    jobs = await jobs_of(shop)
    assert jobs["a"].facts == jobs["b"].facts
    for key in ("a", "b"):
        with Image.open(poster_of(shop, key)) as poster:
            assert poster.size == (480, 360)


async def test_a_strict_batch_takes_no_copy_that_looks_wrong_and_buys_none_either(shop: Shop) -> None:
    shop.add("a", seed=5)
    other = shop.folder / "other.yaml"
    async with emulated({Fault.CLIP_FLAT: 1.0}) as emulator:
        await run_shop(shop, emulator)
        other.write_text(shop.manifest.read_text().replace("version: 1", "version: 1\nchecks: strict"))
        for _ in range(2):
            result = await run_shop(shop, emulator, manifests=[other])
            (problem,) = problems_of(result.batches)
            assert (code_of(result), problem.kind) == (ExitCode.NEEDS_PERSON, "rejected_twin")
            assert "was bought for shop/a; checks: strict, and the clip looks wrong: flat" in problem.message
        assert not (shop.folder / "videos" / "other").exists() or not any((shop.folder / "videos" / "other").iterdir())
        other.write_text(other.read_text().replace("checks: strict", "checks: full"))
        assert code_of(await run_shop(shop, emulator, manifests=[other])) == ExitCode.DONE
        assert len(emulator.world.submits) == 1


async def test_a_poster_that_cannot_be_written_fails_no_paid_job(shop: Shop) -> None:
    shop.add("a").add("b", seed=0)  # b is a copy of a
    shop.queue_path.parent.mkdir()
    (shop.queue_path.parent / "posters").write_text("a file where the folder should be")
    async with emulated() as emulator:
        result = await run_shop(shop, emulator)
        assert (code_of(result), len(emulator.world.submits)) == (ExitCode.DONE, 1)


def test_previews_and_paid_clips_have_posters_of_their_own(shop: Shop) -> None:
    assert poster_of(shop, "a", "preview") != poster_of(shop, "a")


async def test_as_many_clips_are_decoded_at_once_as_there_are_cores() -> None:
    cores = os.cpu_count() or 2
    together, lock = threading.Barrier(cores), threading.Lock()
    now, most = 0, 0

    def work() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait(30)  # goes on when as many as there are cores have come
        with lock:
            now -= 1

    decoders = Decoders()
    await asyncio.gather(*(decoders.run(work) for _ in range(4 * cores)))
    decoders.close()
    assert most == cores


async def test_what_a_preview_leaves_out_is_told_and_stays_known(shop: Shop) -> None:
    shop.add("a", prompt="A woman walks by, water pours").add("b", prompt="Slow push in")
    async with emulated() as emulator:
        for _ in range(2):  # the second run downloads nothing, and says the same
            result = await run_shop(shop, emulator)
            assert code_of(result) is ExitCode.DONE
            assert warnings_of(result) == {}
            (lines, found) = warning_lines(result.batches), summary.run_json(result, [], ExitCode.DONE)
            left_out = ["people and hands do not move (woman, walks)", "liquids do not flow (pours)"]
            assert lines == [
                "1 preview does not show all that was asked for, because nothing is generated; the model may:",
                "  people and hands do not move: shop/a",
                "  liquids do not flow: shop/a",
            ]
            assert (found["clips_warned"], found["clips_not_all_shown"]) == (0, 1)
            assert found["not_shown"] == [{"batch": "shop", "id": "a", "not_shown": left_out}]


async def test_what_a_preview_leaves_out_is_known_to_a_later_run_that_downloads(shop: Shop) -> None:
    shop.add("a", prompt="A woman walks by", more=", duration: 10")
    stop = Stop()

    def leave(_: Event) -> None:
        stop.ask()
        stop.ask()

    watcher = Watcher(on={Kind.COMPLETED: leave})
    async with emulated({Fault.OUTPUT_STALL: 1.0}) as emulator:
        await run_shop(shop, emulator, watcher=watcher, stop=stop)
        assert watcher.of(Kind.DONE) == []
        emulator.world.dice.chances = {}
        result = await run_shop(shop, emulator, no_new=True)
    assert [(job.key, job.notes) for view in result.batches for job in view.not_shown.first] == [
        ("a", ("people and hands do not move (woman, walks)",))
    ]


async def test_only_the_first_of_many_previews_are_named(shop: Shop) -> None:
    shop.add_many(7, prompt="A dog jumps")
    async with emulated() as emulator:
        lines = warning_lines((await run_shop(shop, emulator)).batches)
    assert lines[0].startswith("7 previews do not show all")
    assert lines[1:] == [
        "  things do not move by themselves: shop/job-00, shop/job-01, shop/job-02, shop/job-03 and 3 more"
    ]
