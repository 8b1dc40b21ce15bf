"""The breaker: an outage is noticed, said, probed with one request at a time, and left with the first answer."""

import asyncio
import random
from dataclasses import dataclass, field

from batchrun.provider.outcome import NotAllowedError, TryLaterError
from batchrun.run.health import Health
from tests.sim.loop import VirtualLoop
from tests.sim.machine import SimClock


@dataclass
class Provider:
    """Down until a moment; keeps when it was asked."""

    clock: SimClock
    up_at_s: float
    refuses: bool = False
    asked_s: list[float] = field(default_factory=list)

    async def ask(self) -> None:
        self.asked_s.append(self.clock.monotonic_s())
        if self.clock.monotonic_s() < self.up_at_s:
            raise TryLaterError("poll: HTTP 503")
        if self.refuses:
            raise NotAllowedError("no", 403)


@dataclass
class Story:
    provider: Provider
    health: Health
    said: list[str]
    outages: list[str]


async def client(story: Story, done: list[float]) -> None:
    """Asks until it gets an answer, a second after each failure, as all the others do."""
    while True:
        await story.health.ready()
        try:
            await story.provider.ask()
        except TryLaterError as error:
            story.health.failed(str(error))
            await story.provider.clock.sleep(1)
        else:
            story.health.worked()
            done.append(story.provider.clock.monotonic_s())
            return


def played(
    up_at_s: float, clients: int, *, refuses: bool = False, give_up_s: float = 180.0
) -> tuple[Story, list[float]]:
    loop = VirtualLoop()
    clock = SimClock(loop)
    provider = Provider(clock, up_at_s, refuses=refuses)
    said: list[str] = []
    outages: list[str] = []
    done: list[float] = []

    async def play() -> Story:
        health = Health(clock, random.Random(1), outages.append, provider.ask, said.append, give_up_s)
        story = Story(provider, health, said, outages)
        service = asyncio.create_task(health.run())
        if clients:
            await asyncio.wait([asyncio.create_task(client(story, done)) for _ in range(clients)], timeout=1000)
        else:  # nobody has anything to ask: only submits wait
            for _ in range(20):
                health.failed("submit: cut")
                await clock.sleep(1)
            async with asyncio.timeout(1000):
                await health.closed()
        service.cancel()
        return story

    try:
        return loop.run_until_complete(play()), done
    finally:
        loop.close()


def test_an_outage_is_probed_by_one_request_at_a_time_and_left_at_the_first_answer() -> None:
    story, done = played(up_at_s=100, clients=50)
    late = [at_s for at_s in story.provider.asked_s if 15 < at_s < 100]
    assert 3 <= len(late) <= 12  # fifty clients would ask 4,250 times
    assert len(done) == 50
    assert max(done) - 100 <= 31  # the longest pause
    assert "asking again in" in story.said[0]
    assert story.said[-1] == "the provider answers again"
    assert story.outages == []


def test_short_trouble_stops_nobody() -> None:
    story, done = played(up_at_s=5, clients=50)
    assert (len(done), story.said) == (50, [])
    assert max(done) < 7


def test_after_the_bound_it_is_an_outage_and_said_once() -> None:
    story, done = played(up_at_s=10_000, clients=5)
    assert (done, len(story.outages)) == ([], 1)


def test_with_nobody_to_ask_the_breaker_asks_by_itself() -> None:
    for refuses in (False, True):  # a refusal is an answer
        story, _ = played(up_at_s=60, clients=0, refuses=refuses)
        assert story.said[-1] == "the provider answers again"
        assert story.outages == []
