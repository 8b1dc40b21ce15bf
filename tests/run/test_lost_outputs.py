"""Finished clips whose files are gone: what is named, what is fetched, and what stops a run."""

import asyncio
import shutil

import pytest

from batchrun.cli.main import main
from batchrun.errors import ExitCode
from batchrun.plan import Selection
from batchrun.run.summary import exit_reasons, run_json, run_lines
from tests.conftest import Shop, emulated, run_shop
from tests.run.test_doubts import change
from tests.run.test_session import code_of


@pytest.mark.parametrize("selection", [Selection(), Selection(only=("job-*",))], ids=["all", "some"])
async def test_a_clip_that_is_gone_here_and_at_the_provider_is_named_until_it_is_bought_anew(
    shop: Shop, selection: Selection
) -> None:
    shop.add_many(3)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.output("job-01").unlink()
        change(shop, f"UPDATE attempts SET finished_ms = finished_ms - {8 * 86_400_000}")
        result = await run_shop(shop, emulator, selection=selection)
        (reason,) = exit_reasons(result, "shop.yaml")
        assert (code_of(result), result.bought, reason.kind, reason.count) == (
            ExitCode.NEEDS_PERSON,
            0,
            "output_lost",
            1,
        )
        assert "batchrun redo MANIFEST ID" in reason.advice
        assert [(one["id"], one["kind"]) for one in run_json(result, [reason], reason.code)["not_fine"]] == [
            ("job-01", "output_lost")
        ]
        lines = run_lines(result, [reason], preview=False, real_price_usd_micros=0)
        assert any(line.startswith("  shop/job-01: done (output_lost): the clip is paid for") for line in lines)
        assert await asyncio.to_thread(main, ["redo", str(shop.manifest), "job-01"]) == 0
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought, shop.output("job-01").exists()) == (ExitCode.DONE, 1, True)


async def test_folders_of_products_that_have_left_do_not_stop_the_others(shop: Shop) -> None:
    shop.head = "output: videos/{id}/clip.mp4"
    shop.add_many(4)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.rows.pop()
        shop.add("new")  # the same picture and prompt under a new name
        shutil.rmtree(shop.folder / "videos" / "job-03")  # with its row
        shutil.rmtree(shop.folder / "videos" / "job-02")  # and by mistake
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought) == (ExitCode.DONE, 0)  # fetched again
        assert all((shop.folder / "videos" / key / "clip.mp4").exists() for key in ("job-02", "new"))
        assert not (shop.folder / "videos" / "job-03").exists()
        (shop.folder / "videos").rename(shop.folder / "unmounted")
        result = await run_shop(shop, emulator)
        assert "(and 3 more folders) is gone, and 4 finished clips were in it" in str(result.problem)


async def test_clips_of_rows_that_have_left_may_lie_in_a_folder_that_is_gone(shop: Shop) -> None:
    shop.head = "output: 'spring/{id}.mp4'"
    shop.add("tulip")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.head, shop.rows = "output: 'autumn/{id}.mp4'", []
        shop.add("aster")
        await run_shop(shop, emulator)
        shutil.rmtree(shop.folder / "spring")
        result = await run_shop(shop, emulator)
        assert (code_of(result), result.bought) == (ExitCode.DONE, 0)
