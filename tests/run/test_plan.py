"""`batchrun plan`: the reasons, the price, the copies, the caps, and that it changes nothing."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrun.cli.main import main
from batchrun.emulator.faults import Fault
from batchrun.errors import ExitCode
from batchrun.manifest.jobs import Limits
from batchrun.run.forecast import duration_s
from batchrun.run.polling import Latency
from tests.conftest import Shop, emulated, make_picture, run_shop
from tests.run.test_session import code_of

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def local_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine, where `poll` and `settle` may be short."""
    monkeypatch.setenv("WAVESPEED_BASE_URL", "http://127.0.0.1:9")


async def plan(shop: Shop, capsys: Capture, *words: str) -> tuple[int, str]:
    capsys.readouterr()
    code = await asyncio.to_thread(main, ["plan", str(shop.manifest), *words])
    return code, capsys.readouterr().out


async def plan_json(shop: Shop, capsys: Capture) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await plan(shop, capsys, "--json"))[1])
    return found


async def test_a_new_manifest_needs_no_queue_and_gets_none(shop: Shop, capsys: Capture) -> None:
    shop.limits = shop.limits.replace("budget: 100", "budget: 1")
    shop.add("a").add("b", more=", duration: 10").add("c").add("d")
    code, said = await plan(shop, capsys, "--exit-code")
    assert code == ExitCode.WOULD_BUY
    assert "4 jobs, 4 to buy for at most $1.25" in said
    assert "4 new                        $1.25" in said
    assert "shop: budget: $1.00 of $1.00 left, not enough: $0.25 more would be needed" in said
    assert "shop/b: new, $0.50" in said
    assert not shop.queue_path.exists()


async def test_every_reason_with_its_price(shop: Shop, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("same", "prompt", "picture", "settings", "gone", "twin"):
        shop.add(key)
    async with emulated() as emulator:
        monkeypatch.setenv("WAVESPEED_BASE_URL", emulator.base_url)
        await run_shop(shop, emulator)
        assert (await plan(shop, capsys, "--exit-code"))[0] == 0
        shop.replace("image: pics/prompt.png, prompt: 'It turns'", "image: pics/prompt.png, prompt: 'It falls'")
        make_picture(shop.folder / "pics" / "picture.png", seed=77)
        shop.replace("image: pics/settings.png,", "image: pics/settings.png, duration: 10,")
        shop.output("gone").unlink()
        shop.replace("  - {id: twin,", "  - {id: moved,")
        shop.manifest.write_text(shop.manifest.read_text() + "  - {id: new, image: pics/same.png, prompt: 'x'}\n")
        found = await plan_json(shop, capsys)
        reasons = {job["id"]: job["reason"] for job in found["jobs"]}
        assert reasons == {
            "same": "up to date",
            "prompt": "prompt changed",
            "picture": "picture changed",
            "settings": "settings changed",
            "gone": "output missing",
            "moved": "new",
            "new": "new",
        }
        assert {job["id"] for job in found["jobs"] if job["copy"]} == {"moved"}
        assert (found["to_buy"], found["price_usd"], found["saved_usd"]) == (4, "1.25", "0.25")
        said = (await plan(shop, capsys))[1]
        assert "shop/prompt: prompt changed, $0.25: 'It turns' → 'It falls'" in said
        before = len(emulator.world.submits)
        result = await run_shop(shop, emulator)
        assert (result.bought, len(emulator.world.submits) - before) == (4, 4)  # exactly what the plan said


async def test_of_equal_rows_one_is_bought(shop: Shop, capsys: Capture) -> None:
    for key in ("a", "b", "c"):
        shop.add(key, seed=5)
    found = await plan_json(shop, capsys)
    assert (found["to_buy"], found["copies"], found["price_usd"], found["saved_usd"]) == (1, 2, "0.25", "0.50")


async def test_what_failed_says_why(shop: Shop, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.add("a")
    async with emulated({Fault.TASK_MODERATION: 1.0}) as emulator:
        monkeypatch.setenv("WAVESPEED_BASE_URL", emulator.base_url)
        await run_shop(shop, emulator)
    code, said = await plan(shop, capsys, "--exit-code")
    assert code == 0
    assert "shop/a: failed before: " in said
    assert "1200" in said


async def test_a_new_take_is_bought_though_its_clip_is_there(
    shop: Shop, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add("a")
    async with emulated() as emulator:
        monkeypatch.setenv("WAVESPEED_BASE_URL", emulator.base_url)
        await run_shop(shop, emulator)
    assert await asyncio.to_thread(main, ["redo", str(shop.manifest), "a"]) == 0
    found = await plan_json(shop, capsys)
    assert (found["to_buy"], found["copies"]) == (1, 0)


async def test_one_copy_is_a_copy(shop: Shop, capsys: Capture) -> None:
    shop.add("a", seed=1).add("b", seed=1)
    assert "      1 copy of the same request   $0.25 saved\n" in (await plan(shop, capsys))[1]
    shop.add("c", seed=1)
    assert "      2 copies of the same request $0.50 saved\n" in (await plan(shop, capsys))[1]


async def test_the_plan_of_a_preview_speaks_of_no_money_and_no_nights(shop: Shop, capsys: Capture) -> None:
    shop.add("a").add("b", more=", duration: 10").add("c", seed=0)
    said = (await plan(shop, capsys, "--preview", "--canary", "1", "--finish-by", "06:00"))[1]
    assert said.splitlines() == [
        "3 jobs, 2 to preview, free, some seconds each",
        "        2 new",
        "        1 copy of the same request",
        "the first 1, and the others only when these are done and look well",
        "shop/a: new",
        "shop/b: new",
        "shop/c: new, a copy",
    ]


async def test_a_plan_refuses_what_the_run_refuses_for_its_campaign(
    shop: Shop, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.head = "campaign: {name: spring, budget: 1.00}"
    shop.add("a")
    other = shop.folder / "other.yaml"
    other.write_text(shop.manifest.read_text().replace("budget: 1.00}", "budget: 2.00}"))
    wanted = f"{shop.manifest} says budget $1.00, daily_budget none and {other} says budget $2.00"
    assert await asyncio.to_thread(main, ["plan", str(shop.manifest), str(other)]) == ExitCode.USAGE
    assert wanted in capsys.readouterr().err
    assert not shop.queue_path.exists()
    async with emulated() as emulator:
        monkeypatch.setenv("WAVESPEED_BASE_URL", emulator.base_url)
        await run_shop(shop, emulator)
        other.write_text(other.read_text().replace("turns", "falls"))
        result = await run_shop(shop, emulator, manifests=[other])  # against a manifest that the queue knows
        assert code_of(result) is ExitCode.USAGE
        assert await asyncio.to_thread(main, ["plan", str(other)]) == ExitCode.USAGE
        assert str(result.problem) in capsys.readouterr().err


async def test_a_plan_refuses_a_queue_that_belongs_to_another_address(
    shop: Shop, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add("a")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        assert (await plan(shop, capsys))[0] == ExitCode.USAGE  # where nothing listens
        assert await asyncio.to_thread(main, ["plan", str(shop.manifest), "--json"]) == ExitCode.USAGE
        said = json.loads(capsys.readouterr().out)
        assert f"belongs to {emulator.base_url}, and a run would ask http://127.0.0.1:9" in json.dumps(said)
        monkeypatch.setenv("WAVESPEED_BASE_URL", emulator.base_url)
        assert (await plan(shop, capsys))[0] == 0


@given(st.integers(0, 500), st.integers(1, 100), st.integers(1, 1000), st.floats(1, 600), st.floats(0.1, 1))
def test_more_slots_and_more_starts_never_take_longer(
    jobs: int, slots: int, starts: int, median_s: float, sigma: float
) -> None:
    kinds = [Latency(median_s, sigma)] * jobs
    narrow = duration_s(kinds, Limits(concurrency=slots, per_minute=starts))
    assert duration_s(kinds, Limits(concurrency=slots + 1, per_minute=starts + 1)) <= narrow
    assert (narrow > 0) == (jobs > 0)
    assert jobs == 0 or narrow >= median_s


async def test_a_copied_manifest_is_refused_as_a_run_refuses_it(
    shop: Shop, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.head = "name: spring"
    shop.add("a")
    async with emulated() as emulator:
        monkeypatch.setenv("WAVESPEED_BASE_URL", emulator.base_url)
        await run_shop(shop, emulator)
    other = shop.folder / "copy.yaml"
    other.write_text(shop.manifest.read_text())
    assert await asyncio.to_thread(main, ["plan", str(other)]) == ExitCode.USAGE
    assert f"{other} is named 'spring', and so is {shop.manifest} in this queue" in capsys.readouterr().err
