"""Where the proofs play: folders with manifests, and an emulator whose clips tell for which attempt they were made."""

import json
import shutil
import struct
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchrun.clock import SystemClock
from batchrun.emulator.animate.plan import Wish
from batchrun.emulator.books import Books
from batchrun.emulator.faults import Dice, Fault
from batchrun.emulator.latency import Latency
from batchrun.emulator.server import Emulator, Render, render_at, serve
from batchrun.emulator.world import Account, Task, World
from tests.conftest import KEY, TINY_PX, make_picture

PRICE = 250_000
_MEDIAN_S = 150.0
LOST_ANSWERS = {
    Fault.SUBMIT_DROP_BEFORE: 0.05,
    Fault.SUBMIT_DROP_AFTER: 0.05,
    Fault.SUBMIT_502_AFTER: 0.05,
    Fault.SUBMIT_TRUNCATED: 0.05,
    Fault.SUBMIT_NO_ID: 0.03,
    Fault.SUBMIT_500: 0.03,
}
FAILURES = {Fault.TASK_FAILED: 0.05, Fault.TASK_UNAVAILABLE: 0.05}
WEATHER = {
    Fault.SUBMIT_429: 0.02,
    Fault.POLL_500: 0.03,
    Fault.POLL_DROP: 0.03,
    Fault.POLL_HTML: 0.02,
    Fault.POLL_TRUNCATED: 0.02,
    Fault.POLL_404: 0.02,
    Fault.TICKET_500: 0.03,
    Fault.PUT_500: 0.02,
    Fault.PUT_DROP: 0.02,
    Fault.OUTPUT_404: 0.03,
    Fault.OUTPUT_DROP: 0.03,
    Fault.OUTPUT_HTML: 0.02,
    Fault.OUTPUT_SHORT: 0.02,
}


@dataclass
class Manifest:
    """One manifest of a folder; rows are (picture's number, prompt)."""

    folder: Path
    name: str = "shop"
    limits: dict[str, object] = field(default_factory=dict)
    rows: list[tuple[int, str]] = field(default_factory=list)
    campaign: dict[str, object] | None = None

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.yaml"

    def add(self, pictures: Sequence[int], prompt: str = "It turns") -> "Manifest":
        for number in pictures:
            make_picture(self.folder / "pics" / f"{number}.png", number)
            self.rows.append((number, prompt))
        return self.write()

    def write(self, **limits: object) -> "Manifest":
        """Write it anew, with other limits when given. JSON is YAML, too."""
        self.limits |= limits
        jobs = [{"id": f"job-{number}", "image": f"pics/{number}.png", "prompt": text} for number, text in self.rows]
        document: dict[str, object] = {"version": 1, "name": self.name, "limits": self.limits, "jobs": jobs}
        self.path.write_text(json.dumps(document | ({"campaign": self.campaign} if self.campaign else {}), indent=1))
        return self


class WatchedWorld(World):
    """Tells of every submit that was taken, before it is answered."""

    on_submit: Callable[[], None] = staticmethod(lambda: None)

    def submit(self, inputs: Mapping[str, Any]) -> Task:
        task = super().submit(inputs)
        self.on_submit()
        return task


def queue_of(folder: Path) -> Path:
    return folder / ".batchrun" / "queue.db"


def stamped(template: Path) -> Render:
    """Rendering in no time: one clip, and behind it a box that names the picture it was asked for.

    The name of an uploaded picture carries the attempt's id, so every clip is another file, and tells whose it is.
    """

    def render(picture: Path, wish: Wish, target: Path) -> tuple[str, ...]:
        stamp = picture.name.encode()
        target.write_bytes(template.read_bytes() + struct.pack(">I4s", 8 + len(stamp), b"free") + stamp)
        return ()

    return render


@asynccontextmanager
async def emulator(
    folder: Path,
    faults: Mapping[Fault, float],
    *,
    seed: int,
    median_s: float = 0.0,
    refund_after_ms: int = 0,
    **server: object,
) -> AsyncIterator[Emulator]:
    """An emulator over real HTTP; generations take `median_s` in the middle, spread as they are in life."""
    world = WatchedWorld(
        SystemClock(),
        Latency(_MEDIAN_S / median_s if median_s else None),
        Dice(dict(faults), seed),
        account=Account(refund_after_ms=refund_after_ms),
        books=Books(10**12),
        seed=seed,
    )
    template = folder / "template.mp4"
    if not template.exists():
        picture = make_picture(folder / "template.png")
        render_at(TINY_PX)(picture, Wish(prompt="It turns"), template)
    async with serve(world, key=KEY, render_clip=stamped(template), **server) as running:  # type: ignore[arg-type]  # options by their names
        yield running


def keep_the_bill(world: World, folder: Path) -> None:
    """What the emulator knows, beside the queue, for whoever looks into a violation."""
    rows = [
        {"id": task.task_id, "image": task.inputs["image"], "created_ms": task.created_ms, "status": task.status}
        for task in world.tasks.values()
    ]
    entries = [(entry.kind, entry.prediction_id, entry.amount_usd_micros, entry.at_ms) for entry in world.books.entries]
    (folder / "bill.json").write_text(json.dumps({"tasks": rows, "entries": entries}, indent=1))


def forget(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
