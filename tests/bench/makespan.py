"""A whole campaign on simulated time beside the ideal: the real session, store, poller and client, no process and no socket.

The ideal is list scheduling of the very same latencies: a slot is taken anew the moment its clip ends, and uploads, checks,
downloads and the pauses between two checks take no time.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from batchrun.emulator.api import Api
from batchrun.emulator.books import Books
from batchrun.emulator.faults import Dice
from batchrun.emulator.world import Task, World
from batchrun.provider.http import RawAnswer
from batchrun.provider.urls import origin_of
from batchrun.run.events import Event, Kind
from batchrun.run.session import Session, Surroundings
from batchrun.run.stop import Stop
from batchrun.run.terms import Options
from tests.bench.answers import Answer, Line, Setting
from tests.bench.contest import list_schedule_s
from tests.bench.polling import MEDIAN_S, SIGMA, Drawn, log_normal
from tests.links import PlainLinks
from tests.sim.loop import VirtualLoop
from tests.sim.machine import Process, SimClock, SimDatabase, current, seeded_ids
from tests.sim.network import BASE_URL, Net, SimHttp
from tests.sim.night import KEY, Scenario, clips, make_batch, memory_folder

SLOTS = 100
PER_MINUTE = 600
CLIP_BYTES, PICTURE_BYTES = 25_000_000, 300_000
LINE_BYTES_S = 1e9 / 8
"""A gigabit for everything that goes up and down."""
TARGET = 0.97


class Wire:
    """The shop's line: one thing after the other at its full speed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._free_s = 0.0

    async def carry(self, size_bytes: int) -> None:
        self._free_s = max(self._free_s, self._loop.time()) + size_bytes / LINE_BYTES_S
        await asyncio.sleep(self._free_s - self._loop.time())


class WiredHttp(SimHttp):
    """Pictures and clips take their time, besides each request's own way."""

    wire: Wire

    async def _whole(
        self,
        method: str,
        url: str,
        body: Any,  # noqa: ANN401  # as in the class above
        headers: Mapping[str, str],
        timeout_s: float,
        *,
        exact_headers: bool = False,
    ) -> RawAnswer:
        if method == "PUT":
            await self.wire.carry(PICTURE_BYTES)
        return await super()._whole(method, url, body, headers, timeout_s, exact_headers=exact_headers)

    @asynccontextmanager
    async def stream(
        self, url: str, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[int, Mapping[str, str], AsyncIterator[bytes]]]:
        await self.wire.carry(CLIP_BYTES)
        async with super().stream(url, headers) as found:
            yield found


class Campaign:
    """One run over new jobs, nothing going wrong."""

    def __init__(self, folder: Path, jobs: int, seed: int) -> None:
        self.loop = VirtualLoop()
        self.folder, self.clock, self.wire = folder, SimClock(self.loop), Wire(self.loop)
        self.world = World(self.clock, Drawn(draw=log_normal()), Dice({}, seed), books=Books(10**15), seed=seed)
        self.world.on_created = self._created
        self.done_s: list[float] = []
        self.checks = 0
        self._durations: dict[str, int] = {}
        self._batch = make_batch(folder, jobs, Scenario(seed=seed, jobs=jobs, concurrency=SLOTS, per_minute=PER_MINUTE))
        self._api = Api(self.world, PlainLinks(), key=KEY, base_url=BASE_URL)
        self._chance = random.Random(seed)

    def _created(self, task: Task) -> None:
        self._durations[task.task_id] = task.duration_s
        self.world.rendered(task)

    def play(self) -> float:
        """The ideal over what it took."""
        try:
            self.loop.run_until_complete(self._run())
        finally:
            self.loop.close()
        ideal_s = list_schedule_s([task.latency_ms / 1000 for task in self.world.tasks.values()], SLOTS)
        return ideal_s / max(self.done_s)

    async def _run(self) -> None:
        process = Process("bench", self._note)
        current.set(process)
        net = Net(self._chance, clips(), self._durations, self.world.dice)
        queue = self.folder / ".batchrun" / "queue.db"
        options = Options(
            kind="paid",
            base_url=BASE_URL,
            origin=origin_of(BASE_URL),
            key=KEY,
            queue_path=queue,
            manifests=(self.folder / "shop.yaml",),
        )
        surroundings = Surroundings(
            clock=self.clock,
            chance=self._chance,
            new_id=seeded_ids(self._chance),
            connect=SimDatabase.opener(process, lambda: None),
            connect_http=self._http(process, net),  # type: ignore[arg-type]  # an Http without sockets
        )
        await Session(options, lambda: [self._batch], surroundings, stop=Stop(), observer=self._hear).run()

    def _http(self, process: Process, net: Net) -> Callable[[str, str | None, SimClock], SimHttp]:
        def connect(_: str, key: str | None, clock: SimClock) -> SimHttp:
            http = WiredHttp(key, clock, self._api, process, net)
            http.wire = self.wire
            return http

        return connect

    def _note(self, gate: str) -> bool:
        self.checks += gate == "request.before poll"
        return False

    def _hear(self, event: Event) -> None:
        if event.kind is Kind.DONE:
            self.done_s.append(self.loop.time())


def ask(setting: Setting) -> Answer:
    """How near the ideal."""
    jobs = setting.sizes.night_jobs
    with memory_folder() as folder:
        campaign = Campaign(folder, jobs, seed=1)
        part = campaign.play()
    if len(campaign.done_s) != jobs:
        raise RuntimeError(f"{len(campaign.done_s)} of {jobs} simulated clips are done")
    checks = campaign.checks / jobs
    what = f"makespan of {jobs:,} clips on {SLOTS} slots, {MEDIAN_S:.0f} s (sigma {SIGMA}), 25 MB each"
    answer = Answer(figures={"part_of_the_ideal": part, "checks_a_clip": checks, "jobs": jobs})
    answer.lines.append(
        Line(
            what,
            f"{max(campaign.done_s) / 3600:.2f} h",
            f"ideal {part * max(campaign.done_s) / 3600:.2f} h",
            f"{part:.3f}",
        )
    )
    answer.expect("makespan, ideal over real", part, at_least=0.5, at_most=1.0)
    return answer
