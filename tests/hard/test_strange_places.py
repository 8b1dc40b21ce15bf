"""Names and files under the outputs' names that nobody expects: one row's trouble, said before it is bought."""

import os

import pytest

from batchrun.run.events import Kind
from batchrun.run.stop import Stop
from batchrun.video.place import earlier_part_path, part_path
from tests.conftest import Shop, Watcher, emulated, make_picture, run_shop
from tests.hard.test_lost_money import rows
from tests.run.test_session import code_of, counts

PATH_MAX = 4096


@pytest.mark.parametrize("words", ["k" * 190, "ä" * 95], ids=["ascii", "umlauts"])
async def test_the_longest_names_that_a_manifest_may_have_are_saved(shop: Shop, words: str) -> None:
    """Clip, sidecar, poster, history of the clip before: no name that we derive is too long."""
    stem = f"{'x' * (246 - 190 - len('.mp4'))}{words}"
    shop.head = f"output: 'videos/{{batch}}/{stem[: -len(words)]}{{id}}.mp4'"
    shop.rows.append(f"  - {{id: {words}, image: pics/a.png, prompt: 'It turns'}}")
    make_picture(shop.folder / "pics" / "a.png", 1)
    shop.write()
    final = shop.output(stem)
    async with emulated() as emulator:
        result = await run_shop(shop, emulator)
        assert (counts(result), code_of(result)) == ({"done": 1, "total": 1}, 0)
        shop.replace("It turns", "It jumps")
        result = await run_shop(shop, emulator)
        assert (counts(result), code_of(result)) == ({"done": 1, "total": 1}, 0)
    assert sorted(path.name for path in final.parent.iterdir()) == sorted([f"{stem}.mp4", f"{stem}.json"])
    assert len([*(shop.queue_path.parent / "history").rglob("*.mp4")]) == 1
    assert len([*(shop.queue_path.parent / "posters").rglob("*.webp")]) == 1


async def test_a_part_of_an_older_version_is_found_under_its_name(shop: Shop) -> None:
    """It was checked, and the run was stopped before it got its name: it may be the last copy there is."""
    stop, watcher = Stop(), Watcher()
    shop.add("a")
    async with emulated() as emulator:
        watcher.on[Kind.CHECKED] = lambda _: (_ for _ in ()).throw(KeyError("killed"))
        with pytest.raises(KeyError):
            await run_shop(shop, emulator, watcher=watcher, stop=stop)
        ((attempt,),) = rows(shop, "SELECT attempt_id FROM attempts")
        new, old = (name(shop.output("a"), attempt) for name in (part_path, earlier_part_path))
        new.rename(old)
        old.with_name(f"{old.name}.another-run").write_bytes(b"half a clip")
        watcher = Watcher()
        result = await run_shop(shop, emulator, watcher=watcher)
    assert (counts(result), watcher.of(Kind.DOWNLOADED)) == ({"done": 1, "total": 1}, [])
    assert not [*shop.output("a").parent.glob(".*")]


async def test_a_folder_under_the_outputs_name_is_one_failed_row(shop: Shop) -> None:
    shop.add_many(3)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.output("job-00").unlink()
        shop.output("job-00").mkdir()
        shop.replace("pics/job-00.png, prompt: 'It turns'", "pics/job-00.png, prompt: 'It jumps'")
        shop.add("more")
        shop.replace("pics/job-00.png, prompt: 'It turns'", "pics/job-00.png, prompt: 'It jumps'")
        result = await run_shop(shop, emulator)
        assert (counts(result), code_of(result)) == ({"done": 1, "up_to_date": 2, "failed": 1, "total": 4}, 4)
        assert len(emulator.world.submits) == 4
        assert rows(shop, "SELECT key, failure_kind FROM jobs WHERE state = 'failed'") == [
            ("job-00", "output_occupied")
        ]


@pytest.mark.parametrize("kind", [Kind.ACCEPTED, Kind.CHECKED])
async def test_a_folder_that_comes_under_the_name_of_a_bought_clip(shop: Shop, kind: Kind) -> None:
    """It is paid for: it waits until the folder is moved away."""
    stop, watcher = Stop(), Watcher()
    watcher.on[kind] = lambda _: shop.output("a").mkdir(parents=True, exist_ok=True)
    watcher.on[Kind.PUT_OFF] = lambda _: stop.ask() or stop.ask()
    shop.add("a")
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, watcher=watcher, stop=stop)
        assert rows(shop, "SELECT state, failure_kind FROM jobs") == [("downloading", "output_occupied")]
        shop.output("a").rmdir()
        result = await run_shop(shop, emulator)
        assert (counts(result), len(emulator.world.submits)) == ({"done": 1, "total": 1}, 1)


async def test_an_output_that_cannot_be_read_is_one_rows_trouble(shop: Shop) -> None:
    """EACCES, EIO, a loop of links: whose file it is cannot be told, so nothing is bought for it."""
    shop.add_many(2)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.output("job-00").unlink()
        shop.output("job-00").symlink_to(shop.output("job-00"))
        shop.manifest.write_text(shop.manifest.read_text().replace("It turns", "It jumps"))
        result = await run_shop(shop, emulator)
        assert (counts(result), code_of(result)) == ({"done": 1, "queued": 1, "total": 2}, 4)
        assert len(emulator.world.submits) == 3
        ((text,),) = rows(shop, "SELECT failure_message FROM jobs WHERE failure_kind = 'disk'")
        assert "job-00.mp4" in str(text)
        shop.output("job-00").unlink()
        result = await run_shop(shop, emulator)
        assert (counts(result), code_of(result)) == ({"done": 1, "up_to_date": 1, "total": 2}, 0)


async def test_a_path_in_which_no_part_fits_is_seen_before_money_is_spent(shop: Shop) -> None:
    """The clip's own name would fit, to the byte; what it is gathered in would not."""
    folder = shop.folder / "videos"
    while len(os.fsencode(folder)) < PATH_MAX - 300:
        folder /= "f" * 200
    folder /= "g" * (PATH_MAX - 1 - len(os.fsencode(folder)) - len("//a.mp4"))
    shop.head = f"output: '{folder}/{{id}}.mp4'"
    shop.add("a")
    async with emulated() as emulator:
        result = await run_shop(shop, emulator)
        assert (counts(result), code_of(result)) == ({"queued": 1, "total": 1}, 4)
        assert emulator.world.submits == []
        ((kind, text),) = rows(shop, "SELECT failure_kind, failure_message FROM jobs")
    assert (kind, "File name too long" in text) == ("disk", True)


async def test_a_sidecar_nested_beyond_all_bounds_is_not_ours(shop: Shop) -> None:
    shop.add_many(2)
    strange = shop.output("job-00").with_suffix(".json")
    strange.parent.mkdir(parents=True)
    strange.write_text("[" * 200_000)
    watcher = Watcher()
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, watcher=watcher)
    assert (counts(result), code_of(result)) == ({"done": 2, "total": 2}, 0)
    assert watcher.keys(Kind.NO_SIDECAR) == ["job-00"]
    assert strange.read_text() == "[" * 200_000
