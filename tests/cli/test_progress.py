"""The counts that a run shows: a job has ended when it is done, failed for good, rejected, lost or parked."""

import io
import re
import threading

import pytest

from batchrun.cli.progress import Progress
from batchrun.clock import SystemClock
from batchrun.emulator.faults import Fault
from batchrun.run.events import Event, Kind
from batchrun.run.stop import Stop
from tests.conftest import Shop, Watcher, emulated, run_shop


def shown(*events: Event) -> list[str]:
    """The lines, without their times."""
    stream = io.StringIO()
    with Progress(SystemClock(), quiet=False, verbose=False, stream=stream) as progress:
        for event in events:
            progress(event)
    return [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()]


def counts(events: list[Event]) -> list[str]:
    return re.findall(r"\(\d+(?:/\d+)?\)", "\n".join(shown(*events)))


@pytest.mark.parametrize("kind", [Kind.DONE, Kind.FAILED, Kind.REJECTED, Kind.LOST, Kind.PARKED])
def test_these_are_ends(kind: Kind) -> None:
    assert shown(Event(Kind.PLANNED, count=2), Event(kind, "shop", "a")) == [f"shop/a {kind} (1/2)"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Kind.UNKNOWN, "unknown"),
        (Kind.TASK_FAILED, "failed at the provider"),
        (Kind.REFUSED, "refused"),
        (Kind.LATE_LOST, "late lost"),
    ],
)
def test_these_are_none(kind: Kind, words: str) -> None:
    lines = shown(Event(Kind.PLANNED, count=2), Event(kind, "shop", "a", "why"), Event(Kind.DONE, "shop", "a"))
    assert lines == [f"shop/a {words}: why", "shop/a done (1/2)"]


def test_without_a_plan_only_the_ended_are_counted() -> None:
    assert counts([Event(Kind.DONE, "shop", key) for key in "abc"]) == ["(1)", "(2)", "(3)"]


def test_what_had_ended_before_a_plan_counts_in_its_total() -> None:
    a, b, c = (Event(Kind.DONE, "shop", key) for key in "abc")
    assert counts([a, Event(Kind.PLANNED, count=1), b, Event(Kind.PLANNED, count=1), c]) == ["(1)", "(2/2)", "(3/3)"]


def test_more_than_planned_is_no_fraction() -> None:
    a, b = (Event(Kind.DONE, "shop", key) for key in "ab")
    assert counts([Event(Kind.PLANNED, count=1), a, b]) == ["(1/1)", "(2)"]


def test_a_job_that_a_person_brings_back_ends_once() -> None:
    parked, done, failed = (
        Event(Kind.PARKED, "shop", "a"),
        Event(Kind.DONE, "shop", "a"),
        Event(Kind.FAILED, "shop", "b"),
    )
    assert counts([Event(Kind.PLANNED, count=2), parked, failed, done]) == ["(1/2)", "(2/2)", "(2/2)"]


async def test_a_night_with_failed_tasks_adds_up(shop: Shop) -> None:
    shop.add_many(12)
    watcher = Watcher()
    async with emulated({Fault.TASK_FAILED: 0.4}) as emulator:
        await run_shop(shop, emulator, watcher=watcher)
    assert watcher.of(Kind.TASK_FAILED)  # bought again
    assert watcher.of(Kind.FAILED)  # and not
    assert counts(watcher.events) == [f"({number}/12)" for number in range(1, 13)]


async def test_what_ends_while_the_plan_is_made_counts_once(shop: Shop) -> None:
    """A clip of an earlier run may end while a person is asked whether finished clips shall be bought anew."""
    shop.limits = shop.limits.replace("budget", "confirm_rerun_above: 0, budget")
    stop, collected = Stop(), threading.Event()
    leave = Watcher(on={Kind.ACCEPTED: lambda _: (stop.ask(), stop.ask())})  # type: ignore[dict-item]
    watcher = Watcher(on={Kind.DONE: lambda _: collected.set()})
    async with emulated() as emulator:
        await run_shop(shop.add("finished"), emulator)
        await run_shop(shop.add("in-flight"), emulator, watcher=leave, stop=stop)
        shop.add("new").replace(
            "id: finished, image: pics/finished.png, prompt: 'It", "id: finished, image: pics/finished.png, prompt: 'He"
        )
        await run_shop(shop, emulator, watcher=watcher, agree=lambda _: not collected.wait(20))
    assert (leave.keys(Kind.DONE), watcher.keys(Kind.DONE)) == ([], ["in-flight", "new"])
    assert counts(watcher.events) == ["(1)", "(2/2)"]


async def test_a_refused_request_has_ended(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchrun.emulator.inputs._MAX_CHARS", 10)  # the provider takes less than it documents
    shop.add("a").add("b", prompt="It turns and turns")
    watcher = Watcher()
    async with emulated() as emulator:
        await run_shop(shop, emulator, watcher=watcher)
    assert watcher.keys(Kind.FAILED) == ["b"]
    assert counts(watcher.events) == ["(1/2)", "(2/2)"]
