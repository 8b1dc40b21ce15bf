"""Where the provider hides what was asked for, the first frame tells whose a clip is, once the queue has learnt how."""

import random
from pathlib import Path

from PIL import Image

from batchrun.emulator.distort import Distortion
from batchrun.emulator.faults import Fault
from batchrun.emulator.server import Emulator
from batchrun.errors import ExitCode
from batchrun.run.events import Kind
from tests.conftest import Shop, Watcher, emulated, run_shop
from tests.run.test_doubts import attempts
from tests.run.test_session import code_of, counts

LEARNT = 24
AREA_PX = 240 * 240
"""On a much smaller one the label of a preview would cover a good part of it."""
MODEL_CROP = Distortion(crop=0.05, shift=(6, -4, 3), brightness=1.03)
LIMITS = "{concurrency: 6, per_minute: 10000, poll: 0.02, settle: 1.5, budget: 100, max_unknown: 5}"


def paint(path: Path, seed: int) -> None:
    """A picture like no other: blocks of colour, as different as articles are."""
    chance = random.Random(seed)
    small = Image.new("RGB", (7, 7))
    small.putdata([tuple(chance.randrange(256) for _ in range(3)) for _ in range(49)])
    path.parent.mkdir(parents=True, exist_ok=True)
    small.resize((420, 420), Image.Resampling.BICUBIC).save(path)


def add(shop: Shop, key: str, seed: int, prompt: str = "It turns") -> None:
    shop.add(key, prompt=prompt)
    paint(shop.folder / "pics" / f"{key}.png", seed)


async def learn(shop: Shop, emulator: Emulator) -> None:
    """A first night without trouble."""
    shop.limits = LIMITS
    for number in range(LEARNT):
        add(shop, f"known-{number:02}", number)
    assert code_of(await run_shop(shop, emulator)) == ExitCode.DONE


async def test_what_is_lost_is_found_by_its_first_frame(shop: Shop) -> None:
    async with emulated(show_inputs=False, distortion=MODEL_CROP, area_px=AREA_PX) as emulator:
        await learn(shop, emulator)
        emulator.world.dice.chances = {Fault.SUBMIT_DROP_AFTER: 1.0}
        add(shop, "lost-1", 1001)
        add(shop, "lost-2", 1002)
        watcher = Watcher()
        result = await run_shop(shop, emulator, watcher=watcher)
        assert (code_of(result), counts(result)) == (
            ExitCode.DONE,
            {"done": 2, "up_to_date": LEARNT, "total": LEARNT + 2},
        )
        for event in watcher.of(Kind.ACCEPTED):  # each has got its own clip
            clip = emulator.store.output_path(event.detail)
            assert clip.read_bytes() == shop.output(event.key).read_bytes()
            assert emulator.world.tasks[event.detail].inputs["prompt"] == "It turns"
        assert len(emulator.world.submits) == LEARNT + 2
        assert not list((shop.queue_path.parent / "looks").glob("*"))


async def test_before_it_has_learnt_enough_nothing_is_decided(shop: Shop) -> None:
    shop.limits = LIMITS
    async with emulated({Fault.SUBMIT_DROP_AFTER: 1.0}, show_inputs=False) as emulator:
        add(shop, "lost", 1001)
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)) == (ExitCode.NEEDS_PERSON, {"parked": 1, "total": 1})


async def test_the_same_picture_under_two_prompts_is_left_to_a_person(shop: Shop) -> None:
    async with emulated(show_inputs=False, distortion=MODEL_CROP, area_px=AREA_PX) as emulator:
        await learn(shop, emulator)
        emulator.world.dice.chances = {Fault.SUBMIT_DROP_AFTER: 1.0}
        add(shop, "one", 1001, "It turns left")
        add(shop, "two", 1001, "It turns right")
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)["parked"]) == (ExitCode.NEEDS_PERSON, 2)


async def test_a_stranger_in_the_list_is_not_adopted(shop: Shop) -> None:
    """Ours was never created; somebody else's clip stands in the window: not ours, and not void either."""
    async with emulated(show_inputs=False, distortion=MODEL_CROP, area_px=AREA_PX) as emulator:
        await learn(shop, emulator)
        emulator.world.dice.chances = {Fault.SUBMIT_DROP_BEFORE: 1.0, Fault.STRANGER: 1.0}
        add(shop, "lost", 1001)
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)["parked"]) == (ExitCode.NEEDS_PERSON, 1)
        assert sorted(attempts(shop).values()) == ["completed"] * LEARNT + ["unknown"]
        assert result.balance.held_usd_micros == 250_000


async def test_strangers_do_not_hide_what_is_ours(shop: Shop) -> None:
    async with emulated(show_inputs=False, distortion=MODEL_CROP, area_px=AREA_PX) as emulator:
        await learn(shop, emulator)
        emulator.world.dice.chances = {Fault.SUBMIT_DROP_AFTER: 1.0, Fault.STRANGER: 1.0}
        add(shop, "lost", 1001)
        result = await run_shop(shop, emulator)
        assert (code_of(result), counts(result)["done"]) == (ExitCode.DONE, 1)
