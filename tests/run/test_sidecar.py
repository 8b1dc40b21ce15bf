"""The small file beside each video: right, whole, never in anybody's way, and never in the way of a paid clip."""

import json
from pathlib import Path
from typing import Any

import pytest

from batchrun.errors import ManifestError
from batchrun.manifest.read import load_manifest
from batchrun.run.events import Event, Kind
from batchrun.run.sidecar import sidecar_path
from batchrun.video.download import sha256_of
from tests.conftest import KEY, Shop, Watcher, emulated, run_shop


def sidecar(shop: Shop, key: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shop.output(key).with_suffix(".json").read_text("utf-8"))
    return found


def die(event: Event) -> None:
    raise KeyError(event.kind)


async def test_it_says_what_the_video_is(shop: Shop) -> None:
    shop.add("mug", prompt="Steam rises 蒸気", more=", negative_prompt: blur, guidance_scale: 0.7, tags: [kitchen]")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        (prediction,) = emulator.world.submits
    found = sidecar(shop, "mug")
    assert (found["made_by"], found["sidecar_version"], found["kind"]) == ("batchrun", 1, "paid")
    assert (found["batch"], found["id"], found["file"]) == ("shop", "mug", "mug.mp4")
    assert (found["sha256"], found["size_bytes"]) == (sha256_of(shop.output("mug")), shop.output("mug").stat().st_size)
    inputs = found["inputs"]
    assert (inputs["prompt"], inputs["negative_prompt"], inputs["guidance_scale"]) == ("Steam rises 蒸気", "blur", 0.7)
    assert (shop.output("mug").parent / inputs["image"]).resolve() == shop.folder / "pics" / "mug.png"
    assert inputs["image_sha256"] == sha256_of(shop.folder / "pics" / "mug.png")
    assert (found["cost_usd"], found["tags"], found["attempts"]) == ("0.25", ["kitchen"], 1)
    assert found["prediction_id"]
    assert prediction is not None
    assert found["checks"]["frames"] == 121
    assert found["submitted"] <= found["completed"]
    assert KEY not in shop.output("mug").with_suffix(".json").read_text()
    assert not list(shop.output("mug").parent.glob(".*"))


async def test_a_copied_clip_says_whose_it_is(shop: Shop) -> None:
    shop.add("one", seed=1).add("two", seed=1)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
    found = {key: sidecar(shop, key) for key in ("one", "two")}
    (copy,) = [one for one in found.values() if one["copied_from"]]
    (bought,) = [one for one in found.values() if not one["copied_from"]]
    assert (copy["copied_from"], copy["sha256"], copy["checks"]) == (
        f"shop/{bought['id']}",
        bought["sha256"],
        bought["checks"],
    )
    assert (copy["cost_usd"], copy["prediction_id"], bought["cost_usd"]) == ("0.00", None, "0.25")


async def test_a_new_take_of_a_job_renews_it(shop: Shop) -> None:
    shop.add("a")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.replace("It turns", "It falls")
        await run_shop(shop, emulator)
    found = sidecar(shop, "a")
    assert (found["inputs"]["prompt"], found["sha256"]) == ("It falls", sha256_of(shop.output("a")))
    assert (found["cost_usd"], found["attempts"]) == ("0.50", 2)


@pytest.mark.parametrize("text", ['{"price": 3}', "not json", "", "[]"])
async def test_a_foreign_file_stays_and_the_clip_comes_all_the_same(shop: Shop, text: str) -> None:
    theirs = shop.add("a").output("a").with_suffix(".json")
    theirs.parent.mkdir(parents=True)
    theirs.write_text(text)
    watcher = Watcher()
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, watcher=watcher)
    assert (theirs.read_text(), shop.output("a").exists(), result.batches[0].counts) == (text, True, {"done": 1})
    (event,) = watcher.of(Kind.NO_SIDECAR)
    assert f"{theirs} exists and was not written by batchrun" in event.detail


async def test_a_disk_that_refuses_it_costs_no_clip(shop: Shop) -> None:
    blocked = shop.add("a").output("a").with_suffix(".json")
    blocked.mkdir(parents=True)
    watcher = Watcher()
    async with emulated() as emulator:
        result = await run_shop(shop, emulator, watcher=watcher)
    assert result.batches[0].counts == {"done": 1}
    assert watcher.keys(Kind.NO_SIDECAR) == ["a"]


async def test_the_manifest_turns_it_off(shop: Shop) -> None:
    shop.head = "sidecar: false"
    shop.add("a")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
    assert [path.name for path in shop.output("a").parent.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(("head", "names"), [("sidecar: no", {"a.mp4"}), ("", {"a.mp4", "a.json"})])
async def test_a_clip_that_is_collected_before_its_manifest_is_read(shop: Shop, head: str, names: set[str]) -> None:
    shop.head = head
    shop.add("a")
    async with emulated() as emulator:
        with pytest.raises(KeyError):
            await run_shop(shop, emulator, watcher=Watcher(on={Kind.COMPLETED: die}))
        await run_shop(shop, emulator, no_new=True)
    assert {path.name for path in shop.output("a").parent.iterdir()} == names


async def test_a_run_that_dies_before_its_name_is_on_the_disk_comes_back_to_it(shop: Shop) -> None:
    """Clip and sidecar have their names, the queue does not know yet; what was not flushed is gone after a power cut."""
    shop.add("a")
    async with emulated() as emulator:
        with pytest.raises(KeyError):
            await run_shop(shop, emulator, watcher=Watcher(on={Kind.PLACED: die}))
        shop.output("a").with_suffix(".json").unlink()
        await run_shop(shop, emulator)
        assert len(emulator.world.submits) == 1
    assert sidecar(shop, "a")["cost_usd"] == "0.25"


def test_no_sidecar_is_an_output_or_another_jobs(shop: Shop) -> None:
    shop.add("a").add("a.json").add("a.mp4").add("a.json.mp4")
    outputs = [spec.output for spec in load_manifest(shop.manifest, fast=True).jobs]
    sidecars = {sidecar_path(output) for output in outputs}
    assert len(sidecars) == 4
    assert not sidecars & set(outputs)
    assert sidecar_path(Path("v/x.preview.mp4")) == Path("v/x.preview.json")


def test_only_true_or_false(shop: Shop) -> None:
    shop.head = "sidecar: maybe"
    shop.add("a")
    with pytest.raises(ManifestError, match="sidecar: 'maybe' is not true or false"):
        load_manifest(shop.manifest, fast=True)
