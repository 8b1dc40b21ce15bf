"""How many checks a clip costs, and how late its end is seen: the real poller, client and API, on simulated time."""

import asyncio
import math
import random
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from batchrun.emulator.api import Api
from batchrun.emulator.books import Books
from batchrun.emulator.faults import Dice, Fault
from batchrun.emulator.latency import Latency
from batchrun.emulator.world import MODEL, World
from batchrun.provider.client import Client
from batchrun.provider.outcome import Accepted
from batchrun.queue.records import Took
from batchrun.run.health import Health
from batchrun.run.latencies import ClipKind, Latencies
from batchrun.run.poller import Poller
from tests.bench.answers import Answer, Setting, Table
from tests.links import PlainLinks
from tests.sim.loop import VirtualLoop
from tests.sim.machine import Process, SimClock
from tests.sim.network import Net, SimHttp

MEDIAN_S, SIGMA = 150.0, 0.42
"""The published figures for a 5 s clip: 95 % are ready within twice the median."""
KIND = ClipKind(MODEL, 5)
Draw = Callable[[random.Random], float]
"""How long the next generation takes, seconds."""


@dataclass
class Figures:
    """Of one way of polling, clip by clip."""

    took_s: list[float] = field(default_factory=list)
    delay_s: list[float] = field(default_factory=list)
    """From the end at the provider to its being known here."""
    asked_at_s: list[float] = field(default_factory=list)
    """The moment of every check."""

    @property
    def checks(self) -> float:
        return len(self.asked_at_s) / len(self.took_s)

    @property
    def mean_s(self) -> float:
        return fmean(self.delay_s)

    @property
    def p95_s(self) -> float:
        return sorted(self.delay_s)[int(0.95 * len(self.delay_s))]

    @property
    def part(self) -> float:
        """The delay as a part of the time that the clips took."""
        return sum(self.delay_s) / sum(self.took_s)


@dataclass(frozen=True, slots=True)
class Drawn(Latency):
    """What the test says that it takes."""

    draw: Draw = field(kw_only=True)

    def draw_s(self, duration_s: int, chance: random.Random) -> float:
        return self.draw(chance)


def log_normal(median_s: float = MEDIAN_S, sigma: float = SIGMA) -> Draw:
    return lambda chance: chance.lognormvariate(math.log(median_s), sigma)


def learnt(draw: Draw, seed: int = 99) -> list[Took]:
    """What a queue knows after a night with such a provider."""
    chance = random.Random(seed)
    return [Took(model=MODEL, duration_s=5, place=at, took_ms=int(draw(chance) * 1000)) for at in range(64)]


class Play:
    """Clips one after another on some slots, all watched by one poller."""

    def __init__(self, draw: Draw, *, earlier: Iterable[Took] = (), seed: int = 1, floor_s: float = 5.0) -> None:
        self.loop = VirtualLoop()
        self.clock = SimClock(self.loop)
        self.figures = Figures()
        self.faults: dict[Fault, float] = {}
        self.world = World(self.clock, Drawn(draw=draw), Dice(self.faults, seed), books=Books(10**15), seed=seed)
        self.world.on_created = self.world.rendered
        process = Process("bench", self._note)
        net = Net(random.Random(seed + 1), {}, {}, self.world.dice)
        http = SimHttp("wsk_bench", self.clock, Api(self.world, PlainLinks()), process, net)
        self.client = Client(http, self.clock)
        chance = random.Random(seed + 2)
        self.health = Health(self.clock, chance, print, self.client.balance)
        self.poller = Poller(self.client, self.clock, self.health, Latencies(earlier), floor_s, 3600.0, chance)

    def _note(self, gate: str) -> bool:
        if gate == "request.before poll":
            self.figures.asked_at_s.append(self.loop.time())
        return False

    def clips(self, count: int, slots: int) -> Figures:
        """Buy and watch so many."""
        left = iter(range(count))
        return self._until_done([self._slot(left) for _ in range(slots)])

    def resumed(self, count: int, age_s: float) -> Figures:
        """Watch so many that an earlier run has bought at one moment."""
        return self._until_done([self._resume(count, age_s)])

    def _until_done(self, parts: Sequence[Coroutine[object, None, None]]) -> Figures:
        async def play() -> None:
            async with asyncio.TaskGroup() as group:
                watching = [group.create_task(self.poller.run()), group.create_task(self.health.run())]
                await asyncio.gather(*parts)
                for one in watching:
                    one.cancel()

        try:
            self.loop.run_until_complete(play())
        finally:
            self.loop.close()
        return self.figures

    async def _slot(self, left: Iterable[int]) -> None:
        for _ in left:
            submitted_ms = self.clock.now_ms()
            await self._watch(await self._buy(), submitted_ms)

    async def _resume(self, count: int, age_s: float) -> None:
        bought = await asyncio.gather(*(self._buy() for _ in range(count)))
        submitted_ms = self.clock.now_ms() - 1
        await asyncio.sleep(age_s)
        self.poller._since_ms = self.clock.now_ms()  # as a new process has it
        await asyncio.gather(*(self._watch(one, submitted_ms) for one in bought))

    async def _buy(self) -> str:
        inputs = {"prompt": "It turns", "image": "https://x.example/1.png", "duration": 5}
        outcome = await self.client.submit(MODEL, inputs, self.clock.boot_s() + 30)
        assert isinstance(outcome, Accepted)
        return outcome.prediction.prediction_id

    async def _watch(self, prediction_id: str, submitted_ms: int) -> None:
        ended = await self.poller.wait(prediction_id, submitted_ms, KIND)
        if ended.took_s is not None:
            self.poller.latencies.learn(KIND, ended.took_s)
        task = self.world.tasks[prediction_id]
        self.figures.took_s.append(task.latency_ms / 1000)
        self.figures.delay_s.append((self.clock.now_ms() - (task.ended_ms or 0)) / 1000)


def fixed(draw: Draw, interval_s: float, count: int, seed: int = 1) -> Figures:
    """The same clips, looked at each so many seconds."""
    chance, figures = random.Random(seed), Figures()
    for _ in range(count):
        took_s = draw(chance)
        checks = math.ceil(took_s / interval_s)
        figures.took_s.append(took_s)
        figures.delay_s.append(checks * interval_s - took_s)
        figures.asked_at_s += [at * interval_s for at in range(1, checks + 1)]
    return figures


def least_product_s(sigma: float = SIGMA, median_s: float = MEDIAN_S) -> float:
    """What checks times mean delay come down to at best: half the square of the integral of sqrt(density * survivors)."""
    step, total = 0.001, 0.0
    for at in range(-8000, 8000):
        z = at * step
        density = math.exp(-z * z / 2) / (sigma * median_s * math.exp(sigma * z) * math.sqrt(2 * math.pi))
        total += math.sqrt(density * math.erfc(z / math.sqrt(2)) / 2) * sigma * median_s * math.exp(sigma * z) * step
    return total * total / 2


def compare(count: int = 1000, slots: int = 20) -> dict[str, Figures]:
    """Each way of polling; what comes out depends on the seed only, not on the machine."""
    draw = log_normal()
    return {
        "fixed, 1 s": fixed(draw, 1.0, count),
        "fixed, 5 s": fixed(draw, 5.0, count),
        "adaptive, nothing learnt before": Play(draw).clips(count, slots),
        "adaptive, learnt": Play(draw, earlier=learnt(draw)).clips(count, slots),
        "adaptive, learnt, the provider is 3 times slower": Play(log_normal(3 * MEDIAN_S), earlier=learnt(draw)).clips(
            count, slots
        ),
        "adaptive, learnt, the provider is 3 times faster": Play(log_normal(MEDIAN_S / 3), earlier=learnt(draw)).clips(
            count, slots
        ),
        "adaptive, learnt, a steadier provider (sigma 0.25)": Play(
            log_normal(sigma=0.25), earlier=learnt(log_normal(sigma=0.25))
        ).clips(count, slots),
    }


def ask(setting: Setting) -> Answer:
    """One row a way of polling."""
    found, least = compare(setting.sizes.watched), least_product_s()
    head = ("way of polling", "checks a clip", "mean delay", "95 % under", "of the time")
    rows = [
        (label, f"{one.checks:.1f}", f"{one.mean_s:.2f} s", f"{one.p95_s:.1f} s", f"{one.part:.2%}")
        for label, one in found.items()
    ]
    rows.append((f"at best, by theory: {least:.1f} s / checks", "12.0", f"{least / 12:.2f} s", "", ""))
    figures = {
        label: {"checks": one.checks, "mean_s": one.mean_s, "p95_s": one.p95_s, "part": one.part}
        for label, one in found.items()
    }
    title = f"polling, log-normal {MEDIAN_S:.0f} s (sigma {SIGMA}), on simulated time"
    answer = Answer(tables=[Table(title, head, rows)], figures=figures)
    answer.expect("checks a clip, learnt", found["adaptive, learnt"].checks, at_least=1, at_most=50)
    return answer
