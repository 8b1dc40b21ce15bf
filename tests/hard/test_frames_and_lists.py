"""More sequences."""

import asyncio

from PIL import Image

from batchrun.emulator.faults import Fault
from batchrun.run.events import Kind
from batchrun.run.stop import Stop
from tests.conftest import Shop, Watcher, emulated, run_shop
from tests.hard.test_lost_money import rows
from tests.run.test_first_frames import AREA_PX, MODEL_CROP, add, learn
from tests.run.test_session import code_of, counts


async def test_a_charge_for_another_model_explains_itself(shop: Shop) -> None:
    """Somebody of the account makes pictures with another model: nothing is ever void any more."""
    shop.add("a")
    async with emulated({Fault.SUBMIT_500: 1.0}) as emulator:
        stop, watcher = Stop(), Watcher()
        watcher.on[Kind.UNKNOWN] = lambda _: (stop.ask(), stop.ask())
        await run_shop(shop, emulator, watcher=watcher, stop=stop)
        emulator.world.dice.chances = {}
        emulator.world.books.deduct("e" * 32, 10_000, emulator.world.clock.now_ms(), model="some/image-model")
        shop.add("b")
        result = await run_shop(shop, emulator)
        assert counts(result) == {"done": 2, "total": 2}, rows(shop, "SELECT failure_message FROM jobs")


async def test_one_candidate_whose_clip_cannot_be_had_does_not_stop_the_others(shop: Shop) -> None:
    """A stranger's clip answers with half a file for ever: every sweep is `missed`, also for what else there is."""
    async with emulated(show_inputs=False, distortion=MODEL_CROP, area_px=AREA_PX) as emulator:
        await learn(shop, emulator)
        emulator.world.dice.chances = {Fault.SUBMIT_DROP_AFTER: 1.0, Fault.OUTPUT_DROP: 1.0}
        add(shop, "lost-1", 1001)
        async with asyncio.timeout(50):
            stop = Stop()
            asyncio.get_running_loop().call_later(20, lambda: (stop.ask(), stop.ask()))
            result = await run_shop(shop, emulator, stop=stop)
        (message,) = rows(shop, "SELECT state, failure_message FROM jobs WHERE key = 'lost-1'")
        assert message[0] == "parked", (code_of(result), message)


async def test_a_list_that_is_down_says_why(shop: Shop) -> None:
    shop.add("a")
    async with emulated({Fault.SUBMIT_DROP_AFTER: 1.0, Fault.LIST_500: 1.0}) as emulator:
        stop = Stop()
        asyncio.get_running_loop().call_later(15, lambda: (stop.ask(), stop.ask()))
        watcher = Watcher()
        await run_shop(shop, emulator, stop=stop, watcher=watcher)
        told = [one.detail for one in watcher.events if one.kind in (Kind.NOTE, Kind.WAITING)]
        assert any("list" in one for one in told), told


async def test_uploads_wait_for_a_look_at_the_caps(shop: Shop) -> None:
    """Section 4a: ahead of slots by at most one slot count, after a look at the caps."""
    shop.limits = "{concurrency: 4, per_minute: 10000, poll: 0.02, settle: 1, budget: 0.25}"
    shop.add("a")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        shop.add("b").add("c").add("d")
        watcher = Watcher()
        await run_shop(shop, emulator, watcher=watcher)
        assert watcher.of(Kind.UPLOADED) == []


async def test_a_picture_that_is_gone_still_counts_against_an_adoption(shop: Shop) -> None:
    """Two look-alikes are unknown, the clip is of the one whose row and file were deleted since."""
    async with emulated(show_inputs=False, distortion=MODEL_CROP, area_px=AREA_PX) as emulator:
        await learn(shop, emulator)
        for key, fault in (("lost-1", Fault.SUBMIT_500), ("lost-2", Fault.SUBMIT_DROP_AFTER)):
            emulator.world.dice.chances = {fault: 1.0}
            add(shop, key, 1001)
            if key == "lost-2":
                path = shop.folder / "pics" / "lost-2.png"
                with Image.open(path) as image:
                    image.putpixel((0, 0), (1, 2, 3))
                    image.save(path)
            stop, watcher = Stop(), Watcher()
            watcher.on[Kind.UNKNOWN] = lambda _, stop=stop: (stop.ask(), stop.ask())
            await run_shop(shop, emulator, stop=stop, watcher=watcher)
        assert rows(shop, "SELECT key, state FROM jobs WHERE key LIKE 'lost%' ORDER BY key") == [
            ("lost-1", "unknown"),
            ("lost-2", "unknown"),
        ]
        emulator.world.dice.chances = {}
        shop.rows.pop()
        shop.write()
        (shop.folder / "pics" / "lost-2.png").unlink()
        await run_shop(shop, emulator)
        found = dict(rows(shop, "SELECT key, state FROM jobs WHERE key LIKE 'lost%'"))
        assert found["lost-1"] not in ("done", "running", "downloading"), found
