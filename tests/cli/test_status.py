"""`status`: how the asked manifests stand, and nobody else's."""

import asyncio
from pathlib import Path

import pytest

from batchrun.cli.main import main
from batchrun.emulator.faults import Fault
from batchrun.emulator.world import Account
from tests.conftest import Shop, emulated, run_shop

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


async def test_what_left_the_manifest_is_counted(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.add("a").add("b")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.rows.pop()
        shop.write()
        await run_shop(shop, emulator)
    assert "shop: 1 job: 1 done; 1 job no longer in the manifest" in await status(capsys, shop.manifest)
