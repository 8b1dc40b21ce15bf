"""`status`: how the asked manifests stand, and nobody else's."""

import asyncio
import os
from pathlib import Path

import pytest

from batchrun.cli.main import main
from batchrun.clock import SystemClock
from batchrun.emulator.faults import Fault
from batchrun.emulator.world import Account
from batchrun.errors import ExitCode
from tests.conftest import Shop, emulated, run_shop
from tests.run.test_doubts import change

LATE_REFUNDS = Account(refund_after_ms=3_600_000)


async def status(capsys: pytest.CaptureFixture[str], *manifests: Path) -> str:
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["status", *map(str, manifests)]) == 0
    return capsys.readouterr().out


async def test_refunds_belong_to_their_manifest(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.add("a")
    other = shop.folder / "other.yaml"
    other.write_text(shop.manifest.read_text().replace("It turns", "It glows"))
    async with emulated(account=LATE_REFUNDS) as emulator:
        await run_shop(shop, emulator)
        emulator.world.dice.chances = {Fault.TASK_MODERATION: 1.0}
        result = await run_shop(shop, emulator, manifests=[other])
        assert result.refund_due_usd_micros == 250_000
        assert (await run_shop(shop, emulator)).refund_due_usd_micros == 0
    due = "waiting for $0.25 of refunds for failed tasks"
    assert due not in await status(capsys, shop.manifest)
    assert due in await status(capsys, other)
    assert due in await status(capsys, shop.manifest, other)


async def test_a_process_that_was_killed_is_not_at_work(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.add("a")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
    gone = await asyncio.create_subprocess_exec("true")
    await gone.wait()
    until_ms = SystemClock().now_ms() + 60_000
    change(shop, f"UPDATE runs SET pid = {os.getpid()}, lease_until_ms = {until_ms}")
    assert f"process {os.getpid()} on" in await status(capsys, shop.manifest)
    change(shop, f"UPDATE runs SET pid = {gone.pid}")
    assert "process" not in await status(capsys, shop.manifest)


async def test_a_damaged_queue_is_named_with_what_to_do(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.add("a")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
    with shop.queue_path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 40_000)
    assert await asyncio.to_thread(main, ["status", str(shop.manifest)]) == ExitCode.UNEXPECTED
    said = capsys.readouterr().err
    assert said.startswith(f"the queue {shop.queue_path}: ")
    assert "put a copy of it back that was made before" in said


@pytest.mark.parametrize("verb", ["status", "list", "report"])
async def test_manifests_that_the_queue_does_not_know(
    shop: Shop, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """A new one beside others is said, and must not end their nightly report; a name that nothing has is mistyped."""
    shop.add("a")
    new, typo = shop.folder / "new.yaml", shop.folder / "shpo.yaml"
    async with emulated() as emulator:
        await run_shop(shop, emulator)
    new.write_text(shop.manifest.read_text())
    for names, code, words in (
        ([shop.manifest, new], 0, f"the queue knows nothing of {new} yet; batchrun {new} reads it\n"),
        ([shop.manifest, typo, new], 2, f"there is no {typo}, and the queue knows nothing of it\n"),
        ([new], 2, f"the queue knows nothing of {new} yet; batchrun {new} reads it\n"),
        ([shop.manifest], 0, ""),
    ):
        capsys.readouterr()
        assert await asyncio.to_thread(main, [verb, *map(str, names)]) == code
        said = capsys.readouterr()
        assert (said.err, bool(said.out)) == (words, code == 0)
    shop.manifest.unlink()
    assert await asyncio.to_thread(main, [verb, str(shop.manifest)]) == 0


async def test_what_left_the_manifest_is_counted(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.add("a").add("b")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.rows.pop()
        shop.write()
        await run_shop(shop, emulator)
    assert "shop: 1 job: 1 done; 1 job no longer in the manifest" in await status(capsys, shop.manifest)
