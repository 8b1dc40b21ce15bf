"""Time for rehearsals: what is due comes in its order and at its moment, and time waits for what is held."""

import asyncio
import threading

import pytest

from batchrun.clock import FastClock, HoldingLoop, SystemClock


async def test_who_sleeps_wakes_in_order_at_the_very_moment() -> None:
    clock = FastClock(10_000)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, delay_s: float) -> None:
        await clock.sleep(delay_s)
        woken.append((name, clock.monotonic_s()))

    async with asyncio.TaskGroup() as group:
        for name, delay_s in (("c", 40.0), ("a", 3.25), ("b", 40.0), ("first", 0.5)):
            group.create_task(sleeper(name, delay_s))
    assert woken == [("first", 0.5), ("a", 3.25), ("c", 40.0), ("b", 40.0)]


async def test_all_readings_are_of_one_time_that_begins_now() -> None:
    before_ms = SystemClock().now_ms()
    clock = FastClock(10_000)
    start_ms = clock.now_ms()
    assert before_ms <= start_ms <= SystemClock().now_ms()
    await clock.sleep(7_200)
    assert clock.now_ms() == start_ms + 7_200_000
    assert (clock.monotonic_s(), clock.boot_s()) == (7200.0, 7200.0)


async def test_a_timeout_ends_a_block_that_waits_and_leaves_others_alone() -> None:
    clock = FastClock(10_000)
    with pytest.raises(TimeoutError):
        async with clock.timeout(60):
            await asyncio.Event().wait()
    assert clock.monotonic_s() == 60
    async with clock.timeout(60):
        await clock.sleep(59.5)
    async with clock.timeout(None):
        await clock.sleep(1000)
    assert clock.monotonic_s() == 60 + 59.5 + 1000
    with pytest.raises(TimeoutError):
        async with clock.timeout(0):
            await asyncio.Event().wait()


async def test_a_cancelled_sleeper_stays_cancelled() -> None:
    clock = FastClock(10_000)
    task = asyncio.create_task(clock.sleep(10))
    await asyncio.sleep(0)
    task.cancel()
    await clock.sleep(20)
    assert task.cancelled()


async def test_time_stands_still_while_it_is_held() -> None:
    clock = FastClock(10_000)
    first, second = clock.hold(), clock.hold()
    over = asyncio.create_task(clock.sleep(0.001))
    for release in (first, second):
        for _ in range(3):
            await asyncio.to_thread(lambda: None)  # the loop goes round, real time passes
        assert (clock.monotonic_s(), over.done()) == (0.0, False)
        release()
        release()  # once more changes nothing
    await over
    assert clock.monotonic_s() == 0.001


async def test_a_hold_with_an_end_does_not_hold_for_ever() -> None:
    clock = FastClock(10_000)
    clock.hold(at_most_s=0.01)
    await clock.sleep(5)
    assert clock.monotonic_s() == 5


def test_no_time_passes_while_a_thread_is_at_work() -> None:
    clock = FastClock(10_000)
    let_go = threading.Event()

    async def night() -> list[float]:
        work = asyncio.get_running_loop().run_in_executor(None, let_go.wait, 60)
        sleeper = asyncio.create_task(clock.sleep(30))
        asyncio.get_running_loop().call_later(0.05, let_go.set)
        assert await work
        at_s = clock.monotonic_s()
        await sleeper
        return [at_s, clock.monotonic_s()]

    with asyncio.Runner(loop_factory=lambda: HoldingLoop(clock)) as runner:
        assert runner.run(night()) == [0.0, 30.0]


async def test_a_busy_machine_makes_it_slower_and_nothing_late() -> None:
    """While the loop does work of its own, no more passes than one look's worth."""
    clock = FastClock(1000)
    real = SystemClock()
    sleeper = asyncio.create_task(clock.sleep(10_000))
    for _ in range(5):
        await asyncio.sleep(0)
        since_s, before_s = real.monotonic_s(), clock.monotonic_s()
        while real.monotonic_s() - since_s < 0.05:  # a loop that is busy for ten looks
            pass
        await asyncio.sleep(0)
        assert clock.monotonic_s() - before_s <= 3 * 5.0
    sleeper.cancel()
