"""The clock on the wall is set, forward or back, by days: nothing is lost for it, nobody waits for it, no day opens twice."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest

from batchrun.clock import SystemClock, next_local_ms
from batchrun.emulator.faults import Fault
from batchrun.emulator.latency import Latency
from batchrun.errors import ExitCode, UsageError
from batchrun.provider.client import Client
from batchrun.provider.http import Http
from batchrun.run.events import Event, Kind
from batchrun.run.session import Surroundings
from batchrun.run.stop import Stop
from tests.conftest import KEY, Shop, Watcher, emulated, run_shop, surroundings
from tests.run.test_doubts import change
from tests.run.test_session import code_of, counts

DAY_MS = 86_400_000


class SetClock(SystemClock):
    """The machine's clocks, of which the one on the wall is set."""

    off_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.off_ms

    def set_to(self, moment: str) -> None:
        self.off_ms = int(datetime.fromisoformat(moment).timestamp() * 1000) - super().now_ms()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def outside(clock: SetClock) -> Surroundings:
    return replace(surroundings(), clock=clock)


async def test_what_runs_is_collected_after_a_step_of_eight_days(shop: Shop, clock: SetClock) -> None:
    """By the clock on the wall it is older than the provider keeps anything, and it was only just bought."""
    shop.add_many(3)
    watcher = Watcher()
    accepted: list[Event] = []

    def step(event: Event) -> None:
        accepted.append(event)
        if len(accepted) == 3:
            clock.off_ms = 8 * DAY_MS

    watcher.on[Kind.ACCEPTED] = step
    async with emulated({Fault.OUTPUT_404: 0.5}, latency=Latency(150)) as emulator:
        result = await run_shop(shop, emulator, watcher=watcher, outside=outside(clock))
        assert (code_of(result), counts(result)) == (ExitCode.DONE, {"done": 3, "total": 3})


async def test_the_age_of_a_prediction_is_the_providers(clock: SetClock) -> None:
    async with emulated() as emulator, Http(emulator.base_url, KEY, clock) as http:
        client, submitted_ms = Client(http, clock), clock.now_ms()
        assert client.age_ms(submitted_ms - 5000, 0) == pytest.approx(5000, abs=1000)  # nothing has told its clock yet
        await client.balance()
        ahead_ms = client.server_ahead_ms
        clock.off_ms = -365 * DAY_MS
        await client.balance()
        assert client.age_ms(submitted_ms - 5000, ahead_ms) == pytest.approx(
            5000, abs=2500
        )  # its `Date` has whole seconds


def attempts_a_year_ahead(shop: Shop) -> None:
    ahead = f"submitted_ms = submitted_ms + {365 * DAY_MS}, answered_ms = answered_ms + {365 * DAY_MS}"
    change(shop, f"UPDATE attempts SET {ahead}")


def lease_of_a_gone_container(shop: Shop) -> None:
    change(shop, f"UPDATE runs SET host = 'c0ffee boot pid:[1]', lease_until_ms = lease_until_ms + {5 * 3_600_000}")
    change(shop, f"UPDATE runs SET lease_until_ms = {SystemClock().now_ms() + 5 * 3_600_000}")
    change(shop, "UPDATE jobs SET lease_run_id = (SELECT run_id FROM runs LIMIT 1) WHERE state = 'running'")


@pytest.mark.parametrize("left", [attempts_a_year_ahead, lease_of_a_gone_container])
async def test_nobody_waits_for_what_a_clock_far_ahead_has_written(shop: Shop, left: Callable[[Shop], None]) -> None:
    shop.limits = shop.limits.replace("per_minute: 10000", "per_minute: 2")
    shop.add_many(2)
    stop, watcher = Stop(), Watcher()
    seen: list[Event] = []

    def leave(event: Event) -> None:
        seen.append(event)
        if len(seen) == 2:
            stop.ask()
            stop.ask()

    watcher.on[Kind.ACCEPTED] = leave
    async with emulated() as emulator:
        await run_shop(shop, emulator, stop=stop, watcher=watcher)
        left(shop)
        if left is attempts_a_year_ahead:
            shop.add("c")
        result = await asyncio.wait_for(run_shop(shop, emulator, no_new=left is lease_of_a_gone_container), 30)
        assert code_of(result) is ExitCode.DONE


async def test_a_batch_has_its_own_calendar(shop: Shop, clock: SetClock) -> None:
    """Another manifest of its campaign lives in a later zone: that opens no new day for this one."""
    shop.head = "campaign: {name: spring, budget: 100}"
    shop.limits = "{concurrency: 4, per_minute: 10000, poll: 0.02, settle: 1, daily_budget: 0.50, timezone: UTC}"
    shop.add_many(4)
    tokyo = shop.folder / "tokyo.yaml"
    tokyo.write_text(
        shop.manifest.read_text().replace("timezone: UTC", "timezone: Asia/Tokyo").replace("turns", "rolls")
    )
    async with emulated() as emulator:
        spent: list[int] = []
        for moment, manifest in (("14:00", shop.manifest), ("15:30", tokyo), ("16:00", shop.manifest)):
            clock.set_to(f"2026-11-23T{moment}:00+00:00")
            most = 250_000 if not spent else 500_000
            result = await run_shop(
                shop, emulator, outside=outside(clock), manifests=[manifest], max_spend_usd_micros=most
            )
            spent.append(result.run_balance.spent_usd_micros)
        assert spent == [250_000, 500_000, 250_000]
        both = shop.manifest.read_text().replace("budget: 100}", "budget: 100, daily_budget: 1}")
        shop.manifest.write_text(both)
        tokyo.write_text(both.replace("timezone: UTC", "timezone: Asia/Tokyo").replace("turns", "rolls"))
        result = await run_shop(shop, emulator, outside=outside(clock))
        assert isinstance(result.problem, UsageError)
        assert "has a daily_budget, so all its manifests need one calendar" in str(result.problem)


async def test_a_stop_ends_the_look_at_the_account(shop: Shop) -> None:
    """While the newest predictions cannot be seen yet the run asks for five minutes whose they are."""
    shop.add("a")
    stop, watcher = Stop(), Watcher()

    def leave(_: Event) -> None:
        stop.ask()
        stop.ask()

    watcher.on[Kind.ACCEPTED] = leave
    async with emulated({Fault.POLL_404: 1.0, Fault.LIST_EMPTY: 1.0}) as emulator:
        await run_shop(shop, emulator, stop=stop, watcher=watcher)
        stop, thrown = Stop(), emulator.world.dice.thrown
        before = thrown.get(Fault.POLL_404, 0)
        run = asyncio.create_task(run_shop(shop, emulator, stop=stop))
        async with asyncio.timeout(20):
            while thrown.get(Fault.POLL_404, 0) == before:  # until it has asked for the first time
                await asyncio.sleep(0.01)
        stop.ask(2)
        result = await asyncio.wait_for(run, 10)
        assert code_of(result) is ExitCode.INTERRUPTED


@pytest.mark.parametrize(("now", "minutes"), [("2027-03-28T01:30:00+01:00", 210), ("2027-10-31T01:30:00+02:00", 330)])
def test_a_time_of_the_day_is_the_wall_clocks_also_when_that_changes(
    now: str, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From half past one until six: an hour less in spring, an hour more in autumn."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        now_ms = int(datetime.fromisoformat(now).timestamp() * 1000)
        assert next_local_ms(now_ms, 6, 0) - now_ms == minutes * 60_000
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
