"""`plan` and `--dry-run` with a key and with a run's words: what today costs, what the account holds, which jobs, until when."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from batchrun.cli.main import main
from batchrun.emulator.world import Account
from batchrun.errors import ExitCode
from tests.conftest import KEY, Shop, emulated, run_shop

Capture = pytest.CaptureFixture[str]
Env = pytest.MonkeyPatch


async def say(capsys: Capture, *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert await asyncio.to_thread(main, list(words)) == code
    return capsys.readouterr().out


async def today(capsys: Capture, *words: str) -> Mapping[str, object]:
    found: Mapping[str, object] = json.loads(await say(capsys, "plan", *words, "--json"))["today"]
    return found


def at(monkeypatch: Env, base_url: str, key: str | None = KEY) -> None:
    monkeypatch.setenv("WAVESPEED_BASE_URL", base_url)
    if key:
        monkeypatch.setenv("WAVESPEED_API_KEY", key)


async def test_price_and_balance_of_today_beside_what_was_agreed_to(
    shop: Shop, capsys: Capture, monkeypatch: Env
) -> None:
    shop.limits = shop.limits.replace("budget: 100", "budget: 100, max_price: {5: 0.30}, keep_balance: 0.50")
    manifest = str(shop.add("a").add("b").add("long", more=", duration: 10").manifest)
    account = Account(price_usd_micros={5: 250_000, 10: 600_000})
    async with emulated(account=account, balance_usd=2) as emulator:
        at(monkeypatch, emulator.base_url)
        said = await say(capsys, "plan", manifest)
        assert "a 5 s clip costs $0.25 today, less than the $0.30 agreed to" in said
        assert (
            "a 10 s clip costs $0.60 today, more than the $0.50 agreed to: a run buys nothing until you set "
            "limits.max_price: {10: 0.60}" in said
        )
        assert "balance of the account: $2.00, of which $0.50 are kept, $0.40 left after this" in said
        shop.limits = shop.limits.replace("keep_balance: 0.50", "keep_balance: 1.50")
        shop.write()
        assert "not enough: $0.60 more would be needed" in await say(capsys, "plan", manifest)
        found = await today(capsys, manifest)
        assert (found["price_usd"], found["balance_usd"], found["balance_left_usd"]) == ("1.10", "2.00", "-0.60")
        assert [(one["duration_s"], one["price_usd"], one["stops"]) for one in found["quotes"]] == [  # type: ignore[attr-defined]  # read from JSON
            (5, "0.25", False),
            (10, "0.60", True),
        ]
        assert emulator.world.submits == []
    assert not shop.queue_path.exists()


async def test_a_plan_does_not_fail_because_the_provider_is_away_or_does_not_like_the_key(
    shop: Shop, capsys: Capture, monkeypatch: Env, tmp_path: Path
) -> None:
    manifest = str(shop.add("a").manifest)
    at(monkeypatch, "http://127.0.0.1:9")
    said = await say(capsys, "plan", manifest)
    assert "1 job, 1 to buy for at most $0.25" in said
    assert "today's price and balance are not known: " in said
    async with emulated() as emulator:
        at(monkeypatch, emulator.base_url, "wsk_another")
        assert "401" in str((await today(capsys, manifest))["trouble"])
        (tmp_path / "key").write_text(KEY)
        assert (await today(capsys, manifest, "--api-key-file", str(tmp_path / "key")))["trouble"] is None
        assert await say(capsys, "plan", manifest, "--api-key-file", str(tmp_path / "no"), code=ExitCode.KEY) == ""


async def test_without_a_key_nobody_is_asked(shop: Shop, capsys: Capture, monkeypatch: Env) -> None:
    at(monkeypatch, "http://127.0.0.1:9", None)
    assert await today(capsys, str(shop.add("a").manifest)) is None


async def test_a_dry_run_is_the_plan_of_the_same_selection_and_needs_no_key(
    shop: Shop, capsys: Capture, monkeypatch: Env
) -> None:
    at(monkeypatch, "http://127.0.0.1:9", None)
    for key in ("mug-1", "mug-2", "lamp"):
        shop.add(key, more=f", priority: {len(shop.rows)}, tags: [{key[0]}]")
    manifest = str(shop.manifest)
    for words, keys in (
        (["--only", "mug-*"], {"mug-1", "mug-2"}),
        (["--tag", "l"], {"lamp"}),
        (["--limit", "2"], {"lamp", "mug-2"}),
        (["--limit", "1", "--only", "mug-*", "--canary", "5"], {"mug-2"}),
    ):
        planned = await say(capsys, "plan", manifest, *words, "--json")
        assert await say(capsys, manifest, "-n", *words, "--json") == planned
        assert {job["id"] for job in json.loads(planned)["jobs"]} == keys
    said = await say(capsys, manifest, "--dry-run", "--canary", "1", "--max-duration", "1h")
    assert "the first 1 for $0.25, and the others only when these are done and look well" in said
    assert "about 3 of 3 clips will be ready by " in said
    assert "--only nothing: no job" in await asyncio.to_thread(
        lambda: error_of(capsys, manifest, "-n", "--only", "nothing")
    )
    assert "not allowed with argument" in await asyncio.to_thread(lambda: error_of(capsys, manifest, "-n", "--no-new"))
    assert not shop.queue_path.exists()


def error_of(capsys: Capture, *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == ExitCode.USAGE
    return capsys.readouterr().err


async def test_the_limit_of_a_plan_counts_over_queues_and_a_yes_is_a_yes(
    shop: Shop, capsys: Capture, monkeypatch: Env
) -> None:
    shop.add_many(8)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
    at(monkeypatch, emulator.base_url, None)
    shop.rows = [row.replace("It turns", "It falls") for row in shop.rows]
    shop.write()
    other = Shop(shop.folder / "other")
    other.folder.mkdir()
    manifests = [str(shop.manifest), str(other.add("b").write().manifest)]
    other.manifest.write_text("name: other\n" + other.manifest.read_text())
    assert json.loads(await say(capsys, "plan", *manifests, "--limit", "3", "--json"))["to_buy"] == 3
    assert json.loads(await say(capsys, "plan", *manifests, "--limit", "9", "--json"))["to_buy"] == 9
    assert "needs --yes" in await say(capsys, "plan", *manifests)
    assert "needs --yes" not in await say(capsys, "plan", *manifests, "--yes")


async def test_a_plan_says_that_a_run_without_any_bound_is_refused(
    shop: Shop, capsys: Capture, monkeypatch: Env
) -> None:
    at(monkeypatch, "http://127.0.0.1:9", None)
    shop.limits = "{poll: 1, settle: 1}"
    manifest = str(shop.add("a").manifest)
    assert "shop: nothing bounds what it may spend, and a run is refused" in await say(capsys, "plan", manifest)
    assert json.loads(await say(capsys, "plan", manifest, "--json"))["unbounded"] == ["shop"]
    assert "nothing bounds" not in await say(capsys, "plan", manifest, "--max-spend", "1")
