"""A person takes a clip that `checks: strict` has rejected: it is put in place, and nothing is bought."""

import asyncio
import json

import pytest

from batchrun.cli.main import main
from batchrun.emulator.faults import Fault
from batchrun.errors import ExitCode
from batchrun.run.summary import exit_reasons
from tests.conftest import Shop, emulated, run_shop
from tests.run.test_session import code_of, counts

Capture = pytest.CaptureFixture[str]


async def resolve(shop: Shop, capsys: Capture, *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = await asyncio.to_thread(main, ["resolve", str(shop.manifest), *words])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("replaced", [False, True])
async def test_an_accepted_clip_is_put_in_place_by_the_next_run_and_costs_nothing(
    shop: Shop, capsys: Capture, *, replaced: bool
) -> None:
    shop.head = "checks: strict"
    shop.add("a")
    async with emulated() as emulator:
        if replaced:  # a clip of an earlier text stands under the name
            await run_shop(shop, emulator)
            shop.replace("It turns", "It falls")
        bought = len(emulator.world.submits) + 1
        emulator.world.dice.chances = {Fault.CLIP_FROZEN: 1.0}
        result = await run_shop(shop, emulator)
        assert code_of(result) is ExitCode.NEEDS_PERSON
        (reason,) = exit_reasons(result, "shop.yaml")
        assert (reason.kind, reason.next_command) == ("rejected", "batchrun resolve shop.yaml")
        (kept,) = (shop.queue_path.parent / "rejected" / "shop").iterdir()
        code, out, _ = await resolve(shop, capsys)
        assert (code, out.splitlines()[0]) == (0, f"shop/a: rejected, paid for; look at {kept}")
        assert "--accept" in out
        code, out, _ = await resolve(shop, capsys, "a", "--accept")
        assert (code, out.splitlines()[0]) == (0, "shop/a: accepted")
        assert (await resolve(shop, capsys, "a", "--accept"))[0] == ExitCode.USAGE  # it is decided
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)["done"], len(emulator.world.submits)) == (ExitCode.DONE, 1, bought)
        assert shop.output("a").read_bytes() == kept.read_bytes()
        capsys.readouterr()
        assert await asyncio.to_thread(main, ["list", str(shop.manifest), "--json"]) == 0
        (job,) = json.loads(capsys.readouterr().out)["jobs"]
        assert (job["state"], job["warnings"], job["spent_usd"]) == ("done", ["frozen"], f"0.{25 * bought}")
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"up_to_date": 1, "total": 1})
        assert len(emulator.world.submits) == bought


async def test_a_broken_clip_cannot_be_accepted(shop: Shop, capsys: Capture) -> None:
    shop.add("a")
    async with emulated({Fault.OUTPUT_SHORT: 1.0}) as emulator:
        await run_shop(shop, emulator)
    code, _, said = await resolve(shop, capsys, "a", "--accept")
    assert code == ExitCode.USAGE
    assert "is no whole clip of 5 s" in said
    assert "batchrun redo" in said


async def test_a_clip_whose_file_is_gone_cannot_be_accepted(shop: Shop, capsys: Capture) -> None:
    shop.head = "checks: strict"
    shop.add("a")
    async with emulated({Fault.CLIP_BLACK: 1.0}) as emulator:
        await run_shop(shop, emulator)
    (kept,) = (shop.queue_path.parent / "rejected" / "shop").iterdir()
    kept.unlink()
    code, _, said = await resolve(shop, capsys, "a", "--accept")
    assert (code, f"{kept} is gone" in said) == (ExitCode.USAGE, True)
