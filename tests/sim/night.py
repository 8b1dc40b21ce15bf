"""One simulated campaign: nights of runs that are killed, frozen and lied to, then the books compared."""

import asyncio
import hashlib
import io
import random
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import av
from PIL import Image

from batchrun.emulator.api import Api
from batchrun.emulator.books import Books
from batchrun.emulator.faults import Dice, Fault
from batchrun.emulator.latency import Latency
from batchrun.emulator.outputs import OUTPUT_FAULTS
from batchrun.emulator.world import Account, Task, World
from batchrun.manifest.fingerprint import Content, fingerprint
from batchrun.manifest.jobs import ID_MARK, Batch, Caps, Checks, JobSpec, Limits
from batchrun.manifest.pictures import Picture
from batchrun.provider.urls import origin_of
from batchrun.run.events import Event
from batchrun.run.session import Session, Surroundings
from batchrun.run.stop import Stop
from batchrun.run.terms import Options, Result
from tests.links import PlainLinks
from tests.sim.loop import VirtualLoop
from tests.sim.machine import KilledError, Process, SimClock, SimDatabase, current, seeded_ids
from tests.sim.network import BASE_URL, Net, SimHttp

MODEL = "kwaivgi/kling-v1.6-i2v-standard"
KEY = "wsk_simulated"
DAY_S = 86_400
PICTURES = 8
LIFE_S = 40 * 3600
"""No run may take longer, whatever happens to it."""


Plan = Callable[[str, "Watch"], bool]
"""Asked at every gate, with a look at the books, whether the process dies there."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What happens in a campaign. Shares are from 0 to 1, times in seconds or, of the account, milliseconds."""

    seed: int
    jobs: int = 100
    processes: int = 1
    concurrency: int = 50
    speed: float = 10.0
    """The provider's work takes so many times less than in life: fewer polls a job, the same orders of events."""
    per_minute: int = 240
    max_unknown: int = 5
    settle_s: float = 300.0
    budget_usd_micros: int = 10**12
    faults: Mapping[Fault, float] = field(default_factory=dict)
    submits: Sequence[Fault | None] = ()
    """What happens to the first submits, one after another."""
    fates: Sequence[Fault | None] = ()
    """How the first tasks end."""
    twins: bool = False
    """Every second job asks for the same clip as the one before it."""
    lossy: Mapping[str, float] = field(default_factory=dict)
    kill_every: int = 0
    """A process is killed after so many gates on average; 0 never."""
    kills: int = 0
    """At most so many."""
    freeze_every_s: float = 0.0
    wrong_ms: int = 0
    """How far the machine's clock is off."""
    show_inputs: bool = True
    account: Mapping[str, object] = field(default_factory=dict)
    checks: Checks = Checks.QUICK
    """How closely clips are looked at: they are all whole, unless downloads go wrong."""
    nights: int = 6
    """At most; each night some jobs are added, so that there are witnesses."""
    new_each_night: int = 2
    is_done: Callable[[Result], bool] | None = None


@dataclass
class Figures:
    """What came out; `violations` must be empty."""

    jobs: int = 0
    kills: int = 0
    runs: int = 0
    submits: int = 0
    commits: int = 0
    done: int = 0
    failed: int = 0
    parked: int = 0
    queued: int = 0
    voided: int = 0
    late: int = 0
    peak_unknown: int = 0
    spent_usd_micros: int = 0
    held_usd_micros: int = 0
    billed_usd_micros: int = 0
    faulty_downloads: int = 0
    violations: list[str] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class ScriptedDice(Dice):
    """The first throws are given, the others fall by chance."""

    submits: Sequence[Fault | None] = ()
    fates: Sequence[Fault | None] = ()
    _thrown: Counter[str] = field(default_factory=Counter)

    def throw(self, *faults: Fault) -> Fault | None:
        for name, given in (("submit_500", self.submits), ("task_failed", self.fates)):
            if Fault(name) in faults:
                self._thrown[name] += 1
                if self._thrown[name] <= len(given):
                    return given[self._thrown[name] - 1]
        return Dice.throw(self, *faults)


class Night:
    """The provider, the disk and the processes of one scenario."""

    def __init__(self, scenario: Scenario, folder: Path, plan: "Plan | None" = None) -> None:
        self.scenario = scenario
        self.folder = folder
        self.chance = random.Random(scenario.seed)
        self.figures = Figures()
        self.loop = VirtualLoop()
        self.results: list[Result] = []
        self.hear: Callable[[Event], None] = lambda _: None
        self._plan = plan
        server = SimClock(self.loop)
        self._durations: dict[str, int] = {}
        self.world = World(
            server,
            Latency(scenario.speed),
            ScriptedDice(dict(scenario.faults), scenario.seed, submits=scenario.submits, fates=scenario.fates),
            account=Account(**scenario.account),  # type: ignore[arg-type]  # options by their names
            books=Books(10**15),
            seed=scenario.seed,
        )
        self.world.on_created = self._created
        self.api = Api(self.world, PlainLinks(), key=KEY, show_inputs=scenario.show_inputs, base_url=BASE_URL)
        self.net = Net(random.Random(scenario.seed + 1), clips(), self._durations, self.world.dice)
        self.net.lossy = dict(scenario.lossy)
        self.new_id = seeded_ids(random.Random(scenario.seed + 2))
        self.books = Watch(folder / ".batchrun" / "queue.db", self.world, scenario, self.figures)

    def _created(self, task: Task) -> None:
        self._durations[task.task_id] = task.duration_s
        task.rendered = True

    # ------------------------------------------------------------------ running

    def play(self) -> Figures:
        """The whole campaign; deterministic."""
        try:
            self.loop.set_exception_handler(self._complain)
            self.loop.run_until_complete(self._nights())
            self._count()
        finally:
            self.books.close()
            self.loop.close()
        return self.figures

    async def _nights(self) -> None:
        jobs = self.scenario.jobs
        for night in range(self.scenario.nights):
            batch = make_batch(self.folder, jobs, self.scenario)
            lives = [asyncio.create_task(self._life(batch, number)) for number in range(self.scenario.processes)]
            await asyncio.wait(lives)
            for life in lives:
                life.result()
            if night and not self._unsettled():
                break
            await asyncio.sleep(DAY_S)
            jobs += self.scenario.new_each_night
        self.figures.jobs = jobs

    async def _life(self, batch: Batch, number: int) -> None:
        """Runs of one machine, started again after each kill, until one ends by itself."""
        while True:
            process = Process(f"p{number}", self._planned() or self._random_plan())
            task = asyncio.create_task(self._run(process, batch))
            freezer = asyncio.create_task(self._freeze(process)) if self.scenario.freeze_every_s else None
            done, _ = await asyncio.wait([task], timeout=LIFE_S)
            if freezer is not None:
                freezer.cancel()
            if not done:
                self.figures.violations.append(f"a run hangs, last at {process.last_gate}")
                process.kill()
                task.cancel()
                await asyncio.wait([task], timeout=1000)
                return
            self.figures.runs += 1
            if process.alive:
                self.results.append(task.result())
                return
            if not task.cancelled():
                task.exception()  # it is looked at: nothing more to say
            self.figures.kills += 1
            await asyncio.sleep(self.chance.uniform(1, 120))

    def _planned(self) -> Callable[[str], bool] | None:
        plan = self._plan
        return None if plan is None else lambda gate: plan(gate, self.books)

    def _random_plan(self) -> Callable[[str], bool] | None:
        if not self.scenario.kill_every or self.figures.kills >= self.scenario.kills:
            return None
        gates_left = int(self.chance.expovariate(1 / self.scenario.kill_every)) + 1
        count = iter(range(gates_left, -1, -1))
        return lambda _: next(count, 1) == 0

    async def _run(self, process: Process, batch: Batch) -> Result:
        current.set(process)
        clock = process.clock = SimClock(self.loop, self.scenario.wrong_ms)
        surroundings = Surroundings(
            clock=clock,
            chance=random.Random(self.chance.random()),
            new_id=self.new_id,
            connect=SimDatabase.opener(process, self.books.look),
            connect_http=lambda _, key, own: SimHttp(key, own, self.api, process, self.net),  # type: ignore[arg-type]  # it offers what is used of Http
        )
        session = Session(self._options(), lambda: [batch], surroundings, stop=Stop(), observer=self._observe)
        task = asyncio.create_task(session.run())
        process.on_death(lambda: self.loop.call_soon(task.cancel))
        return await task

    def _options(self) -> Options:
        return Options(
            kind="paid",
            base_url=BASE_URL,
            origin=origin_of(BASE_URL),
            key=KEY,
            queue_path=self.folder / ".batchrun" / "queue.db",
            manifests=(self.folder / "shop.yaml",),
        )

    async def _freeze(self, process: Process) -> None:
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / self.scenario.freeze_every_s))
            process.freeze()
            pause_s = self.chance.choice([5, 45, 100, 400])
            await asyncio.sleep(pause_s)
            if process.clock is not None and self.chance.random() < 0.5:
                process.clock.suspended_s += pause_s  # the whole machine slept: its monotonic clock stood still
            process.thaw()

    def _observe(self, event: Event) -> None:
        self.figures.events[event.kind] += 1
        self.hear(event)
        current.get().check(f"event {event.kind}")

    def _complain(self, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if not isinstance(error, KilledError) and not str(error).startswith("killed at"):
            self.figures.violations.append(f"loop: {context.get('message')}: {error!r}")

    # ------------------------------------------------------------------ the end

    def _unsettled(self) -> bool:
        return (
            self.books.held() > 0
            or self.books.states()["queued"] > 0
            or self.books.count("state IN ('submitting', 'unknown', 'running', 'late')") > 0
        )

    def _count(self) -> None:
        figures, books = self.figures, self.books
        books.look()
        figures.submits = len(self.world.submits)
        figures.spent_usd_micros, figures.held_usd_micros = books.spent(), books.held()
        figures.billed_usd_micros = self.world.books.ours_usd_micros
        states = books.states()
        figures.done, figures.failed, figures.parked = states["done"], states["failed"], states["parked"]
        figures.queued = states["queued"]
        figures.voided = books.count("state = 'void'")
        figures.late = books.late()
        thrown = self.world.dice.thrown
        figures.faulty_downloads = sum(thrown.get(fault, 0) for fault in OUTPUT_FAULTS)
        books.check_end(self.world)


class Watch:
    """Looks at the books after every commit, with a connection of its own."""

    def __init__(self, path: Path, world: World, scenario: Scenario, figures: Figures) -> None:
        self._path = path
        self._world = world
        self._scenario = scenario
        self._figures = figures
        self._connection: sqlite3.Connection | None = None
        self._row_id = 0
        self._held = self._spent = 0

    def look(self) -> None:
        """The caps hold and the provider's bill is covered, at this very commit."""
        rows = self._rows(
            "SELECT max(row_id), sum(held_usd_micros), sum(spent_usd_micros) FROM ledger WHERE row_id > ?", self._row_id
        )
        self._figures.commits += 1
        row_id, held, spent = rows[0]
        if row_id is None:
            return
        self._row_id, self._held, self._spent = row_id, self._held + held, self._spent + spent
        committed = self._held + self._spent
        if committed > self._scenario.budget_usd_micros:
            self._violation(f"cap passed: {committed}")
        if self._world.books.ours_usd_micros > committed:
            self._violation(f"billed {self._world.books.ours_usd_micros}, committed {committed}")
        self._figures.peak_unknown = max(self._figures.peak_unknown, self.count("state = 'unknown'"))

    def check_end(self, world: World) -> None:
        """Nothing paid twice, nothing lost, slots held, files there."""
        (integrity,) = self._rows("PRAGMA integrity_check")[0]
        if integrity != "ok" or self._rows("PRAGMA foreign_key_check"):
            self._violation(f"the database is damaged: {integrity}")
        if world.peak_running > self._scenario.concurrency:
            self._violation(f"{world.peak_running} ran at once, {self._scenario.concurrency} were allowed")
        attempts = {row[0]: row for row in self._rows("SELECT attempt_id, job_id, state, prediction_id FROM attempts")}
        known = {row[3] for row in attempts.values()}
        good: Counter[int] = Counter()
        for task in world.tasks.values():
            if task.stranger:
                continue
            attempt_id = task.inputs["image"].rsplit("-", 1)[-1].split(".")[0]
            if task.status != "failed":
                good[attempts[attempt_id][1]] += 1
            if task.task_id not in known and attempts[attempt_id][2] not in ("unknown", "left"):
                self._violation(f"lost: {task.task_id} of attempt {attempts[attempt_id]}")
        for job_id, count in good.items():
            if count > 1:
                self._violation(f"job {job_id} was paid {count} times")
        if self._held == 0 and self._spent != world.books.ours_usd_micros:
            self._violation(f"ledger {self._spent}, bill {world.books.ours_usd_micros}")
        self._check_files()
        self._check_rate(world)

    def _check_files(self) -> None:
        whole = set(clips().values())
        rows = self._rows("SELECT output_path, file_sha256 FROM jobs WHERE state = 'done'")
        for stored, sha256 in rows:
            path = self._path.parent / stored
            if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                self._violation(f"done, but not on disk: {path}")
            elif path.read_bytes() not in whole:
                self._violation(f"done, but not what the provider made: {path}")

    def _check_rate(self, world: World) -> None:
        sent = sorted(task.created_ms for task in world.tasks.values() if not task.stranger)
        per_minute = self._scenario.per_minute
        for first, last in zip(sent, sent[per_minute:], strict=False):
            if last - first < 60_000:
                self._violation(f"more than {per_minute} submits in a minute, from {first}")
                break

    def count(self, where: str) -> int:
        return int(self._rows(f"SELECT count(*) FROM attempts WHERE {where}")[0][0])

    def late(self) -> int:
        return int(self._rows("SELECT count(*) FROM ledger WHERE kind = 'late_charge'")[0][0])

    def states(self) -> Counter[str]:
        return Counter(dict(self._rows("SELECT state, count(*) FROM jobs GROUP BY state")))

    def held(self) -> int:
        return self._held

    def spent(self) -> int:
        return self._spent

    def _violation(self, text: str) -> None:
        if len(self._figures.violations) < 20:
            self._figures.violations.append(text)

    def _rows(self, sql: str, *params: object) -> list[tuple[object, ...]]:
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, isolation_level=None)
        return self._connection.execute(sql, params).fetchall()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def make_batch(folder: Path, count: int, scenario: Scenario) -> Batch:
    """A manifest's reading: some pictures, many prompts, some clips of 10 s."""
    pictures = [_picture(folder, number) for number in range(PICTURES)]
    jobs = tuple(_job(folder, at, *pictures[_look_of(at, scenario)], scenario) for at in range(count))
    limits = Limits(
        concurrency=scenario.concurrency,
        per_minute=scenario.per_minute,
        max_unknown=scenario.max_unknown,
        poll_s=5.0,
        settle_s=scenario.settle_s,
    )
    caps = Caps(budget_usd_micros=scenario.budget_usd_micros)
    return Batch(
        path=folder / "shop.yaml", name="shop", model=MODEL, limits=limits, caps=caps, jobs=jobs, checks=scenario.checks
    )


def _job(folder: Path, at: int, path: Path, picture: Picture, scenario: Scenario) -> JobSpec:
    prompt = f"It turns {at // 2 if scenario.twins else at}"
    duration_s = 10 if at % 7 == 3 else 5
    return JobSpec(
        key=f"job-{at:06}",
        position=at,
        prompt=prompt,
        negative_prompt="",
        guidance_hundredths=50,
        duration_s=duration_s,
        image_path=path,
        image_url=None,
        picture=picture,
        priority=at % 3,
        tags=(),
        output_pattern=str(folder / "videos" / f"{ID_MARK}.mp4"),
        price_usd_micros=duration_s * 50_000,
        model=MODEL,
        fingerprint=fingerprint(Content(MODEL, prompt, "", 50, duration_s, picture.sha256, None)),
    )


def _look_of(at: int, scenario: Scenario) -> int:
    return (at // 2 if scenario.twins else at) % PICTURES


def _picture(folder: Path, number: int) -> tuple[Path, Picture]:
    path, data = folder / f"picture-{number}.png", _pixels(number)
    path.write_bytes(data)
    return path, Picture(hashlib.sha256(data).hexdigest(), len(data), 300, 300, "image/png")


@cache
def _pixels(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (300, 300), (number * 30, 200 - number * 20, 90)).save(file, "PNG")
    return file.getvalue()


@cache
def clips() -> Mapping[int, bytes]:
    """One real clip of each length: tiny, one frame a second, and whole."""
    found: dict[int, bytes] = {}
    for duration_s in (5, 10):
        with tempfile.TemporaryFile() as file:
            with av.open(file, "w", format="mp4") as container:
                stream = container.add_stream("mpeg4", rate=1)
                stream.width = stream.height = 32
                for _ in range(duration_s):
                    container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
                container.mux(stream.encode(None))
            file.seek(0)
            found[duration_s] = file.read()
    return found


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder in memory where there is one: a million flushes cost nothing there."""
    shared = Path("/dev/shm")  # noqa: S108  # a new folder under a random name
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None, prefix="batchrun-sim-") as name:
        yield Path(name)


def play(scenario: Scenario, plan: Plan | None = None) -> Figures:
    """One campaign in a folder of its own."""
    with memory_folder() as folder:
        return Night(scenario, folder, plan).play()
