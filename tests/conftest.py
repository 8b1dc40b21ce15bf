"""What the tests share: pictures, manifests, an emulator over real HTTP, and runs against it."""

import os
import random
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
from PIL import Image

from batchrun.clock import SystemClock
from batchrun.emulator.books import Books
from batchrun.emulator.distort import Distortion
from batchrun.emulator.faults import Dice, Fault
from batchrun.emulator.latency import Latency
from batchrun.emulator.server import Emulator, render_at, serve
from batchrun.emulator.world import Account, World
from batchrun.manifest.read import load_manifest
from batchrun.provider.urls import origin_of
from batchrun.queue.sqlite import BUSY_TIMEOUT_S, SqliteDatabase
from batchrun.run.events import Event, Kind
from batchrun.run.session import Session, Surroundings
from batchrun.run.stop import Stop
from batchrun.run.terms import Options, Result

KEY = "wsk_a-key-that-must-not-leak"
TINY_PX = 64 * 64
FAST_LIMITS = "{concurrency: 4, per_minute: 10000, poll: 0.02, settle: 1, budget: 100}"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the machine's own settings."""
    for name in list(os.environ):
        if name.startswith(("BATCHRUN_", "WAVESPEED_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def make_picture(path: Path, seed: int = 0, size: tuple[int, int] = (320, 300)) -> Path:
    """A small picture that differs by its seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    image = Image.new("RGB", size, tuple(chance.randrange(256) for _ in range(3)))
    image.paste(tuple(chance.randrange(256) for _ in range(3)), (80, 80, 200, 200))
    image.save(path)
    return path


@dataclass
class Shop:
    """A folder with pictures and a manifest."""

    folder: Path
    limits: str = FAST_LIMITS
    rows: list[str] = field(default_factory=list)
    head: str = ""

    @property
    def manifest(self) -> Path:
        return self.folder / "shop.yaml"

    @property
    def queue_path(self) -> Path:
        return self.folder / ".batchrun" / "queue.db"

    def output(self, key: str) -> Path:
        return self.folder / "videos" / "shop" / f"{key}.mp4"

    def add(self, key: str, *, prompt: str = "It turns", more: str = "", seed: int | None = None) -> "Shop":
        number = len(self.rows)
        make_picture(self.folder / "pics" / f"{key}.png", number if seed is None else seed)
        self.rows.append(f"  - {{id: {key}, image: pics/{key}.png, prompt: '{prompt}'{more}}}")
        return self.write()

    def add_many(self, count: int, **more: str) -> "Shop":
        for number in range(count):
            self.add(f"job-{number:02}", **more)
        return self

    def write(self) -> "Shop":
        text = f"version: 1\n{self.head}\nlimits: {self.limits}\njobs:\n" + "\n".join(self.rows) + "\n"
        self.manifest.write_text(text)
        return self

    def replace(self, old: str, new: str) -> "Shop":
        text = self.manifest.read_text()
        assert old in text
        self.manifest.write_text(text.replace(old, new))
        return self


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    folder = tmp_path / "shop"
    folder.mkdir()
    return Shop(folder)


@asynccontextmanager
async def emulated(
    faults: dict[Fault, float] | None = None,
    *,
    account: Account | None = None,
    balance_usd: float = 1000.0,
    seed: int = 1,
    latency: Latency | None = None,
    folder: Path | None = None,
    distortion: Distortion | None = None,
    area_px: int = TINY_PX,
    **server: object,
) -> AsyncIterator[Emulator]:
    """An emulator over real HTTP that asks for the key and renders tiny clips."""
    world = World(
        SystemClock(),
        latency or Latency(None),
        Dice(faults or {}, seed),
        account=account or Account(),
        books=Books(int(balance_usd * 1_000_000)),
        folder=folder,
        seed=seed,
    )
    async with serve(world, key=KEY, render_clip=render_at(area_px, distortion), **server) as emulator:  # type: ignore[arg-type]  # options by their names
        yield emulator


class Served(Protocol):
    """Where an API is."""

    @property
    def base_url(self) -> str: ...


@dataclass
class Watcher:
    """Keeps every event; tests wait for one instead of sleeping."""

    events: list[Event] = field(default_factory=list)
    on: dict[Kind, Callable[[Event], None]] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if event.kind in self.on:
            self.on[event.kind](event)

    def of(self, kind: Kind) -> list[Event]:
        return [event for event in self.events if event.kind is kind]

    def keys(self, kind: Kind) -> list[str]:
        return [event.key for event in self.of(kind)]


def surroundings(busy_timeout_s: float = BUSY_TIMEOUT_S) -> Surroundings:
    """The machine's own clock, and a database that waits so long for others."""
    return Surroundings(
        clock=SystemClock(),
        chance=random.Random(7),
        new_id=lambda: secrets.token_hex(8),
        connect=partial(SqliteDatabase.open, busy_timeout_s=busy_timeout_s),
    )


async def run_shop(
    shop: Shop,
    emulator: Served,
    *,
    watcher: Watcher | None = None,
    stop: Stop | None = None,
    manifests: Sequence[Path] | None = None,
    outside: Surroundings | None = None,
    **options: object,
) -> Result:
    """One paid run of the shop's manifest against the emulator."""
    paths = tuple(manifests or [shop.manifest])
    chosen = Options(
        kind="paid",
        base_url=emulator.base_url,
        origin=origin_of(emulator.base_url),
        key=KEY,
        queue_path=shop.queue_path,
        manifests=paths,
        grace_s=20,
    )
    session = Session(
        replace(chosen, **options),  # type: ignore[arg-type]  # options by their names
        lambda: [load_manifest(path, fast=True) for path in paths],
        outside or surroundings(),
        stop=stop or Stop(),
        observer=watcher or Watcher(),
    )
    return await session.run()
