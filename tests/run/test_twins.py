"""A finished request under another name: copied, fetched again, or left to a person; never bought by itself."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from batchrun.cli.main import main
from batchrun.emulator.server import Emulator
from batchrun.errors import ExitCode
from batchrun.run import summary
from batchrun.run.events import Kind
from batchrun.run.problems import problem_lines
from batchrun.run.stop import Stop
from batchrun.run.terms import Result
from tests.conftest import Shop, Watcher, emulated, run_shop
from tests.hard.test_lost_money import rows
from tests.run.test_doubts import change
from tests.run.test_session import code_of, counts

DAY_MS = 86_400_000
WEEK = f"UPDATE attempts SET finished_ms = finished_ms - {8 * DAY_MS}, submitted_ms = submitted_ms - {8 * DAY_MS}"
"""The provider keeps nothing of what was bought so far."""


def edit(path: Path) -> None:
    """As a watermark or another container would change it in place."""
    path.write_bytes(path.read_bytes() + b"\0\0\0\x08free")


def rename(shop: Shop) -> Path:
    return shop.manifest.rename(shop.folder / "summer.yaml")


def kinds(result: Result) -> list[str]:
    return [reason.kind for reason in summary.exit_reasons(result, "shop.yaml")]


async def plan(manifest: Path, capsys: pytest.CaptureFixture[str], emulator: Emulator) -> dict[str, object]:
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAVESPEED_BASE_URL", emulator.base_url)
        assert await asyncio.to_thread(main, ["plan", str(manifest), "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture(autouse=True)
def local_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine, where `poll` and `settle` may be short."""
    monkeypatch.setenv("WAVESPEED_BASE_URL", "http://127.0.0.1:9")


async def test_a_renamed_row_whose_file_was_moved_away_is_fetched_again(shop: Shop) -> None:
    shop.add("old-id").add("other")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        first = shop.output("old-id").rename(shop.folder / "in-the-shop.mp4")
        shop.replace("id: old-id,", "id: new-id,")
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought, len(emulator.world.submits)) == (ExitCode.DONE, 0, 2)
        assert shop.output("new-id").read_bytes() == first.read_bytes()
        assert result.balance.spent_usd_micros == emulator.world.books.billed_usd_micros == 500_000
        result = await run_shop(shop, emulator)
        assert counts(result) == {"up_to_date": 2, "total": 2}


async def test_a_renamed_manifest_of_an_emptied_folder_is_fetched_again(shop: Shop) -> None:
    shop.add_many(4)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        for path in shop.output("x").parent.iterdir():
            path.unlink()
        result = await run_shop(shop, emulator, manifests=[rename(shop)])
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"done": 4, "total": 4})
        assert len(emulator.world.submits) == 4


async def test_clips_that_were_edited_in_place_are_not_bought_again(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.add_many(3)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        for path in shop.output("x").parent.glob("*.mp4"):
            edit(path)
        manifest = rename(shop)
        found = await plan(manifest, capsys, emulator)
        assert (found["to_buy"], found["copies"], found["price_usd"]) == (0, 3, "0.00")
        result = await run_shop(shop, emulator, manifests=[manifest])
        assert (code_of(result), counts(result), len(emulator.world.submits)) == (
            ExitCode.DONE,
            {"done": 3, "total": 3},
            3,
        )


async def test_what_the_provider_no_longer_has_is_left_to_a_person_and_only_redo_buys_it(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.add("a").add("b").add("c")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        change(shop, WEEK)
        shop.output("a").unlink()
        edit(shop.output("b"))
        whole = shop.output("b").read_bytes()[:-8]
        manifest = rename(shop)
        for _ in range(2):
            found = await plan(manifest, capsys, emulator)
            assert (found["to_buy"], found["copies"], found["price_usd"]) == (0, 1 if _ == 0 else 0, "0.00")
            reasons = {job["id"]: job["reason"] for job in found["jobs"]}  # type: ignore[attr-defined]
            assert (reasons["a"], reasons["b"]) == ("bought, its clip is gone", "bought, its clip is gone")
            result = await run_shop(shop, emulator, manifests=[manifest])
            assert (code_of(result), result.bought, len(emulator.world.submits)) == (ExitCode.NEEDS_PERSON, 0, 3)
            assert kinds(result) == ["clip_gone"]
            assert (counts(result)["failed"], counts(result)["total"]) == (2, 3)
        assert problem_lines(result.batches)[0] == (
            "  summer/a: failed (clip_gone): bought as shop/a, but its file is gone or was changed: put it back, "
            "or buy a new one with `batchrun redo MANIFEST a`"
        )
        assert await asyncio.to_thread(main, ["retry", str(manifest)]) == 0  # frees nobody to buy it
        assert (await run_shop(shop, emulator, manifests=[manifest])).bought == 0
        assert await asyncio.to_thread(main, ["redo", str(manifest), "a"]) == 0
        shop.output("b").write_bytes(whole)
        result = await run_shop(shop, emulator, manifests=[manifest])
        assert (code_of(result), result.bought, len(emulator.world.submits)) == (ExitCode.DONE, 1, 4)


async def test_changed_rows_that_ask_for_edited_clips_buy_nothing(shop: Shop) -> None:
    for number in range(6):
        shop.add(f"a{number}", prompt=f"P{number}", seed=1).add(f"b{number}", prompt=f"Q{number}", seed=1)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        for number in range(6):
            edit(shop.output(f"b{number}"))
            shop.replace(f"prompt: 'P{number}'", f"prompt: 'Q{number}'")
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought, len(emulator.world.submits)) == (ExitCode.DONE, 0, 12)


async def test_a_clip_that_is_fetched_again_is_collected_by_the_next_run_when_this_one_is_stopped(shop: Shop) -> None:
    shop.add("a")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.output("a").unlink()
        manifest = rename(shop)
        stop, watcher = Stop(), Watcher()
        watcher.on[Kind.DOWNLOADED] = lambda _: (stop.ask(), stop.ask())  # type: ignore[func-returns-value]
        result = await run_shop(shop, emulator, manifests=[manifest], stop=stop, watcher=watcher)
        assert counts(result) == {"downloading": 1, "total": 1}
        manifest.write_text("version: 2\n")  # what is paid for needs no manifest
        await run_shop(shop, emulator, manifests=[manifest])
        assert (shop.folder / "videos" / "summer" / "a.mp4").exists()
        assert len(emulator.world.submits) == 1


async def test_a_preview_whose_file_is_gone_is_made_again_under_another_name(shop: Shop) -> None:
    shop.add("a")
    async with emulated() as emulator:
        await run_shop(shop, emulator, kind="preview")
        shop.output("a").unlink()
        shop.replace("id: a,", "id: b,")
        result = await run_shop(shop, emulator, kind="preview")
        assert (code_of(result), len(emulator.world.submits), shop.output("b").exists()) == (ExitCode.DONE, 2, True)


def copied(shop: Shop) -> str:
    """The job of the two that has the other's clip."""
    ((key,),) = rows(shop, "SELECT key FROM jobs WHERE attempt_id IS NULL")
    return str(key)


async def test_a_link_to_a_device_is_no_clip_to_copy(shop: Shop) -> None:
    shop.add("a")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.output("a").unlink()
        shop.output("a").symlink_to("/dev/zero")
        shop.replace("id: a,", "id: b,")
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result), len(emulator.world.submits)) == (
            ExitCode.DONE,
            {"done": 1, "total": 1},
            1,
        )


async def test_a_deleted_copy_is_copied_again(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.add("a", seed=1).add("b", seed=1)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        change(shop, WEEK)
        shop.output(copied(shop)).unlink()
        found = await plan(shop.manifest, capsys, emulator)
        assert (found["to_buy"], found["reasons"]) == (
            0,
            {
                "output missing": {"jobs": 1, "price_usd": "0.00"},
                "up to date": {"jobs": 1, "price_usd": "0.00"},
            },
        )
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought, len(emulator.world.submits)) == (ExitCode.DONE, 0, 1)
        assert shop.output("a").read_bytes() == shop.output("b").read_bytes()


async def test_a_deleted_copy_that_replaced_another_clip_is_copied_again(shop: Shop) -> None:
    """The run that was allowed to replace it has ended; copying needs nobody's leave."""
    shop.add("a", seed=1).add("b", seed=1, prompt="It falls")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.replace("It falls", "It turns")
        await run_shop(shop, emulator)
        shop.output("b").unlink()
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"done": 1, "up_to_date": 1, "total": 2})
        assert len(emulator.world.submits) == 2


async def test_one_name_whose_folder_is_gone_hides_no_other_that_has_the_clip(shop: Shop) -> None:
    """The season is over and its folder removed; next season's still stands, and the one after asks for the same clip."""
    shop.add("a")
    text = shop.manifest.read_text()
    summer, autumn = shop.folder / "summer.yaml", shop.folder / "autumn.yaml"
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        summer.write_text(text)
        await run_shop(shop, emulator, manifests=[summer])
        shutil.rmtree(shop.output("a").parent)
        autumn.write_text(text)
        result = await asyncio.wait_for(run_shop(shop, emulator, manifests=[autumn]), 30)
        assert (code_of(result), len(emulator.world.submits)) == (ExitCode.DONE, 1)
        assert (shop.folder / "videos" / "autumn" / "a.mp4").exists()


async def test_a_deleted_copy_whose_twin_is_gone_too_is_fetched_again_or_needs_a_person(shop: Shop) -> None:
    shop.add("a", seed=1).add("b", seed=1)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        copy = copied(shop)
        data = shop.output(copy).read_bytes()
        (other,) = {"a", "b"} - {copy}
        shop.rows = [row for row in shop.rows if f"id: {copy}," in row]  # nobody looks after the other file any more
        shop.write()
        for path in (shop.output(copy), shop.output(other)):
            path.unlink()
        result = await run_shop(shop, emulator)
        assert (code_of(result), shop.output(copy).read_bytes()) == (ExitCode.DONE, data)
        change(shop, WEEK)
        shop.output(copy).unlink()
        result = await run_shop(shop, emulator)
        assert (code_of(result), kinds(result)) == (ExitCode.NEEDS_PERSON, ["clip_gone"])
        shop.output(copy).write_bytes(data)  # from a backup
        result = await run_shop(shop, emulator)
        assert (code_of(result), len(emulator.world.submits)) == (ExitCode.DONE, 1)


def flat(shop: Shop, count: int) -> Shop:
    """Without the batch's name in the path: whoever has the row has the file."""
    shop.head = "output: 'videos/{id}.mp4'"
    return shop.add_many(count)


def other_manifest(shop: Shop, lines: list[str]) -> Path:
    path = shop.folder / "other.yaml"
    path.write_text(f"version: 1\n{shop.head}\nlimits: {shop.limits}\njobs:\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("order", [1, -1])
async def test_a_row_that_moves_to_another_manifest_takes_its_path_along(shop: Shop, order: int) -> None:
    flat(shop, 3)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        moved = shop.rows.pop()
        shop.write()
        manifests = [shop.manifest, other_manifest(shop, [moved])]
        for _ in range(2):
            result = await run_shop(shop, emulator, manifests=manifests[::order])
            assert (result.problem, code_of(result), len(emulator.world.submits)) == (None, ExitCode.DONE, 3)
        assert [dict(view.counts) for view in result.batches] == [{"done": 1}, {"done": 2}]
        # and back again
        shop.rows.append(moved)
        shop.write()
        other_manifest(shop, [moved.replace("job-02", "more").replace("It turns", "It rolls")])
        (shop.folder / "pics" / "job-02.png").rename(shop.folder / "pics" / "more.png")
        (shop.folder / "pics" / "job-02.png").write_bytes((shop.folder / "pics" / "more.png").read_bytes())
        result = await run_shop(shop, emulator, manifests=manifests[::order])
        assert (result.problem, code_of(result), len(emulator.world.submits)) == (None, ExitCode.DONE, 4)
        result = await run_shop(shop, emulator, manifests=manifests[::order])
        assert (result.problem, result.bought) == (None, 0)


@pytest.mark.parametrize("how", ["file", "name"])
async def test_a_renamed_manifest_keeps_its_paths(shop: Shop, how: str) -> None:
    flat(shop, 3)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        before = {path: path.read_bytes() for path in (shop.folder / "videos").glob("*.mp4")}
        manifest = shop.manifest
        if how == "file":
            manifest = rename(shop)
        else:
            shop.head += "\nname: summer"
            shop.write()
        result = await run_shop(shop, emulator, manifests=[manifest])
        assert (result.problem, code_of(result), len(emulator.world.submits)) == (None, ExitCode.DONE, 3)
        assert {path: path.read_bytes() for path in (shop.folder / "videos").glob("*.mp4")} == before
        assert not (shop.queue_path.parent / "history").exists()


async def test_an_id_that_changes_its_case_only_is_free(shop: Shop) -> None:
    shop.add_many(3)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.replace("id: job-00,", "id: JOB-00,")
        result = await run_shop(shop, emulator)
        assert (result.problem, code_of(result), len(emulator.world.submits)) == (None, ExitCode.DONE, 3)
        assert shop.output("JOB-00").exists()
        shop.replace("id: JOB-00,", "id: job-00,")
        result = await run_shop(shop, emulator)
        assert (result.problem, code_of(result), len(emulator.world.submits)) == (None, ExitCode.DONE, 3)


async def test_a_new_row_under_the_path_of_one_that_left_does_not_replace_its_clip(shop: Shop) -> None:
    flat(shop, 2)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        clip = (shop.folder / "videos" / "job-00.mp4").read_bytes()
        moved = shop.rows.pop(0).replace("It turns", "It rolls")
        shop.write()
        result = await run_shop(shop, emulator, manifests=[shop.manifest, other_manifest(shop, [moved])])
        assert (code_of(result), kinds(result), result.bought) == (ExitCode.NEEDS_PERSON, ["output_occupied"], 0)
        assert (shop.folder / "videos" / "job-00.mp4").read_bytes() == clip


async def test_a_path_of_a_row_that_is_still_there_is_not_handed_over(shop: Shop) -> None:
    flat(shop, 2)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        second = other_manifest(shop, shop.rows[:1])
        result = await run_shop(shop, emulator, manifests=[second])
        assert code_of(result) is ExitCode.USAGE
        assert str(result.problem) == (
            f"job 'job-00' of {second} would write {shop.folder / 'videos' / 'job-00.mp4'}, which belongs to job 'job-00' of "
            f"batch 'shop'; if the row has moved here, run {shop.manifest} first, or both together; else put {{batch}} into "
            "`output`, or give this manifest another folder"
        )


async def test_a_path_of_another_row_of_the_same_manifest_is_said_so(shop: Shop) -> None:
    shop.head = "output: 'videos/{id}.mp4'"
    shop.add("x-b")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.head = "output: 'videos/x-{id}.mp4'"  # what is bought keeps its path
        result = await run_shop(shop.add("b"), emulator)
        assert str(result.problem) == (
            f"job 'b' of {shop.manifest} would write {shop.folder / 'videos' / 'x-b.mp4'}, which belongs to job 'x-b' of the "
            "same manifest: what is bought keeps its path; give one of them another id, or change `output`"
        )


async def test_a_row_that_comes_back_after_its_path_was_anothers_gets_its_own_clip_or_a_person(shop: Shop) -> None:
    flat(shop, 2)
    path = shop.folder / "videos" / "job-01.mp4"
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        moved = shop.rows.pop()
        shop.write()
        second = other_manifest(shop, [moved])
        await run_shop(shop, emulator, manifests=[shop.manifest, second])
        other_manifest(shop, [moved.replace("It turns", "It rolls")])
        await run_shop(shop, emulator, manifests=[second])
        clip = path.read_bytes()
        assert len(emulator.world.submits) == 3
        shop.rows.append(moved)
        shop.write()
        second.unlink()
        result = await run_shop(shop, emulator)
        assert (code_of(result), kinds(result), path.read_bytes()) == (
            ExitCode.NEEDS_PERSON,
            ["output_occupied"],
            clip,
        )
        path.unlink()
        result = await run_shop(shop, emulator)
        assert (code_of(result), len(emulator.world.submits)) == (ExitCode.DONE, 3)
        assert path.read_bytes() != clip


async def test_a_clip_is_not_fetched_again_while_its_name_is_taken(shop: Shop) -> None:
    """Rows swap their texts, and both files were edited in place: neither is replaced."""
    shop.add("a", seed=1, prompt="It turns").add("b", seed=1, prompt="It falls")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        edit(shop.output("a"))
        edit(shop.output("b"))
        shop.replace("It turns", "It rises").replace("It falls", "It turns").replace("It rises", "It falls")
        watcher = Watcher()
        result = await run_shop(shop, emulator, watcher=watcher)
        assert (code_of(result), kinds(result), counts(result)["failed"]) == (
            ExitCode.NEEDS_PERSON,
            ["output_occupied"],
            2,
        )
        assert watcher.of(Kind.DOWNLOADED) == []
        shop.output("a").unlink()
        shop.output("b").unlink()
        result = await run_shop(shop, emulator)
        assert (code_of(result), len(emulator.world.submits)) == (ExitCode.DONE, 2)
