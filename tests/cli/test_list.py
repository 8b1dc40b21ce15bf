"""`batchrun list`: who is asked for, in which order, in which columns."""

import asyncio
import io
import json

import pytest

from batchrun.cli.main import main
from batchrun.cli.progress import Progress
from batchrun.emulator.faults import Fault
from batchrun.errors import ExitCode
from batchrun.run.events import Event, Kind
from tests.clocks import StillClock
from tests.conftest import KEY, Shop, emulated, make_picture, run_shop
from tests.store.stores import batch, opened, spec, take_in

Capture = pytest.CaptureFixture[str]


async def listed(shop: Shop, capsys: Capture, *words: str, code: int = 0) -> list[str]:
    """The lines that `list` prints."""
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["list", str(shop.manifest), *words]) == code
    return capsys.readouterr().out.splitlines()


async def ids(shop: Shop, capsys: Capture, *words: str) -> list[str]:
    found = json.loads("\n".join(await listed(shop, capsys, *words, "--json")))["jobs"]
    return [job["id"] for job in found]


async def a_shop_after_a_night(shop: Shop) -> None:
    """`mug-1` and `mug-2` are done, `lamp` is done, dearer and looks wrong, `vase` failed."""
    shop.add("mug-2", more=", tags: [kitchen, tea]").add("mug-1", more=", tags: [kitchen]")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        emulator.world.dice.chances = {Fault.CLIP_BLACK: 1.0}
        await run_shop(shop.add("lamp", more=", duration: 10, priority: 5"), emulator)
        emulator.world.dice.chances = {Fault.TASK_MODERATION: 1.0}
        await run_shop(shop.add("vase", more=", priority: -1"), emulator)


async def test_filters_sorts_and_a_limit(shop: Shop, capsys: Capture) -> None:
    await a_shop_after_a_night(shop)
    for words, keys in (
        ([], ["mug-2", "mug-1", "lamp", "vase"]),
        (["--only", "mug-*"], ["mug-2", "mug-1"]),
        (["--only", "lamp", "--only", "vas?"], ["lamp", "vase"]),
        (["--tag", "tea", "--tag", "nothing"], ["mug-2"]),
        (["--state", "failed"], ["vase"]),
        (["--kind", "moderation"], ["vase"]),
        (["--kind", "refused"], []),
        (["--warning", "any"], ["lamp"]),
        (["--warning", "black"], ["lamp"]),
        (["--warning", "frozen"], []),
        (["--sort", "id"], ["lamp", "mug-1", "mug-2", "vase"]),
        (["--sort", "priority"], ["lamp", "mug-2", "mug-1", "vase"]),
        (["--sort", "state"], ["mug-2", "mug-1", "lamp", "vase"]),
        (["--sort", "updated", "--limit", "2"], ["vase", "lamp"]),
    ):
        assert await ids(shop, capsys, *words) == keys, words
    assert (await ids(shop, capsys, "--sort", "cost"))[:1] == ["lamp"]
    assert (await listed(shop, capsys, "--sort", "size", code=ExitCode.USAGE)) == []


async def test_columns_for_a_person(shop: Shop, capsys: Capture) -> None:
    await a_shop_after_a_night(shop)
    head, *lines = await listed(shop, capsys, "--sort", "id", "--limit", "3")
    assert head.split("  ")[0] == "job"
    assert [line.split()[0] for line in lines] == ["lamp", "mug-1", "mug-2", "…"]
    assert lines[0].endswith("lamp.mp4  [black]")
    assert lines[3] == "… and 1 more"
    (line,) = (await listed(shop, capsys, "--state", "failed"))[1:]
    assert line.startswith("vase")
    assert "moderation: " in line
    assert await listed(shop, capsys, "--kind", "refused") == ["no jobs"]


async def test_who_left_the_manifest_is_marked(shop: Shop, capsys: Capture) -> None:
    async with emulated() as emulator:
        await run_shop(shop.add("mug").add("lamp"), emulator)
        shop.rows.pop()
        await run_shop(shop.write(), emulator)
    mug, lamp = (await listed(shop, capsys))[1:]
    assert mug.startswith("mug")
    assert mug.endswith("mug.mp4")
    assert lamp.endswith("lamp.mp4  [no longer in the manifest]")
    found = json.loads("\n".join(await listed(shop, capsys, "--json")))["jobs"]
    assert {job["id"]: job["in_manifest"] for job in found} == {"mug": True, "lamp": False}


async def test_the_first_of_more_than_are_kept(shop: Shop, capsys: Capture) -> None:
    jobs = 2500
    shop.write()
    specs = [spec(f"j{at:04}", shop.folder, priority=at * 7 % jobs) for at in range(jobs)]
    (shop.folder / ".batchrun").mkdir()
    async with opened(shop.folder / ".batchrun", StillClock()) as queue:
        await take_in(queue, batch(shop.folder, specs))
    by_priority = sorted(specs, key=lambda one: -one.priority)
    assert await ids(shop, capsys, "--sort", "priority", "--limit", "3") == [one.key for one in by_priority[:3]]
    assert await ids(shop, capsys, "--limit", "2") == ["j0000", "j0001"]
    assert (await listed(shop, capsys, "--limit", "2"))[-1] == f"… and {jobs - 2:,} more"


STEERING = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"


async def test_what_people_write_cannot_steer_the_terminal(shop: Shop, capsys: Capture) -> None:
    """A prompt comes from a table that somebody else fills."""
    (shop.folder / "p.csv").write_text(f'sku,prompt\na,"{STEERING} turns\nnext: rm -rf ~"\n')
    make_picture(shop.folder / "a.png")
    shop.rows = ['  - {from: p.csv, id: "{sku}", image: a.png, prompt: "{prompt}"}']
    shop.write()
    async with emulated() as emulator:
        await run_shop(shop, emulator, max_spend_usd_micros=0)
    lines = await listed(shop, capsys)
    assert len(lines) == 2
    assert r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202e turns\nnext: rm" in lines[1]
    (found,) = json.loads("\n".join(await listed(shop, capsys, "--json")))["jobs"]
    assert found["prompt"].startswith(STEERING)


async def test_nor_can_what_they_write_into_names_and_errors(
    shop: Shop, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVESPEED_API_KEY", KEY)
    shop.manifest.write_text(
        f'version: 1\njobs: [{{image: "{STEERING.encode("unicode_escape").decode()}.png", prompt: x}}]\n'
    )
    for words in (["plan", str(shop.manifest)], ["plan", f"{STEERING}.yaml"], ["list", STEERING], [STEERING]):
        assert await asyncio.to_thread(main, words) == ExitCode.USAGE
    said = "".join(capsys.readouterr())
    assert not {*STEERING[:1], "\x07", "\x9b", "\u202e"} & {*said}


def test_progress_is_said_without_them() -> None:
    out = io.StringIO()
    with Progress(StillClock(), quiet=False, verbose=True, stream=out) as progress:
        progress(Event(Kind.FAILED, "shop", "a", f"{STEERING}\nnext"))
    assert out.getvalue().endswith("\\u202e\\nnext\n")
