"""The work that every contestant gets: a table of pictures and prompts, and the manifest over it."""

import csv
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conftest import make_picture

PICTURES = 16
"""Files that the jobs share; each prompt is its own, so that every job is a clip of its own."""
REST_S = 6.0
"""ext4 without a journal leaves a freed inode alone for five seconds and searches the longer for others: after the files of
one measurement were removed, each new file of the next one cost 0.2 ms of CPU."""
_MANIFEST = """\
version: 1
checks: {checks}
limits: {{concurrency: {slots}, per_minute: {per_minute}, poll: {poll_s}, settle: 1, budget: 10000000}}
jobs:
  - from: products.csv
    id: "{{sku}}"
    image: "{{image}}"
    prompt: "{{prompt}}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A folder with the table, its pictures and the manifest."""

    folder: Path
    jobs: int
    slots: int
    poll_s: float
    """The shortest pause between two checks of one prediction."""
    median_s: float = 0.0
    """What the contestants that plan their checks may know of the latencies."""
    per_minute: int = 100_000
    checks: str = "quick"

    @property
    def table(self) -> Path:
        return self.folder / "products.csv"

    @property
    def manifest(self) -> Path:
        return self.folder / "shop.yaml"

    def write(self) -> "Shop":
        self.folder.mkdir(parents=True)
        for number in range(PICTURES):
            make_picture(self.folder / f"{number}.png", number)
        with self.table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["sku", "image", "prompt"])
            writer.writerows(
                [f"sku-{at:07}", f"{at % PICTURES}.png", f"Product {at} turns slowly"] for at in range(self.jobs)
            )
        self.manifest.write_text(
            _MANIFEST.format(checks=self.checks, slots=self.slots, per_minute=self.per_minute, poll_s=self.poll_s)
        )
        return self

    def missing(self, clips: Path) -> int:
        """How many clips are not there."""
        return self.jobs - sum(1 for _ in clips.rglob("*.mp4"))


@contextmanager
def own_folder(folder: Path, rest_s: float = REST_S) -> Iterator[Path]:
    """A new folder in this one, for one measurement, and a rest after it for the next one's sake."""
    with TemporaryDirectory(dir=folder) as name:
        yield Path(name)
    time.sleep(rest_s)


def rows(table: Path) -> Iterator[tuple[str, Path, str]]:
    """Name, picture and prompt of each job."""
    with table.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        next(reader)
        for name, image, prompt in reader:
            yield name, table.parent / image, prompt
