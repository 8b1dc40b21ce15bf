"""Reading sources: rows a second beside the bare csv module, memory a row, and a night of unchanged pictures."""

import csv
import subprocess
import sys
import time
from pathlib import Path

from batchrun.clock import SystemClock
from batchrun.manifest.digests import DigestCache
from batchrun.manifest.read import load_manifest
from tests.conftest import make_picture

ROWS = 100_000
PICTURES = 10_000
_HOUR_MS = 3_600_000
_ENTRY = """\
version: 1
jobs:
  - from: products.csv
    id: "{sku}"
    image: "{image}"
    prompt: "{title} turns slowly on a turntable"
    duration: "{seconds}"
    priority: "{priority}"
    tags: "{category}"
"""
_IN_A_NEW_PROCESS = """\
import sys, time
from pathlib import Path
from batchrun.manifest.read import load_manifest
def kib(name):  # ru_maxrss would count the process that started this one
    return int(Path("/proc/self/status").read_text().partition(name)[2].split()[0])
before = kib("VmRSS:")
begin = time.perf_counter()
jobs = load_manifest(Path(sys.argv[1])).jobs
took = time.perf_counter() - begin
print(len(jobs) / took, (kib("VmHWM:") - before) * 1024 / len(jobs))
"""


def write_table(folder: Path, rows: int) -> Path:
    """A table of products and its manifest."""
    table = folder / "products.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sku", "title", "image", "category", "seconds", "priority"])
        for at in range(rows):
            url = f"https://shop.example/pictures/{at}.jpg"
            writer.writerow([f"sku-{at:07}", f"Product {at}, blue", url, f"c{at % 50}", 5 if at % 3 else "", at % 10])
    (folder / "shop.yaml").write_text(_ENTRY)
    return table


def rows_a_second(folder: Path, rows: int = ROWS) -> dict[str, float]:
    """The same file by `csv.reader` alone, and as checked jobs in a new process."""
    table = write_table(folder, rows)
    begin = time.perf_counter()
    with table.open(newline="", encoding="utf-8") as file:
        assert sum(1 for _ in csv.reader(file)) == rows + 1
    bare = rows / (time.perf_counter() - begin)
    command = [sys.executable, "-c", _IN_A_NEW_PROCESS, str(folder / "shop.yaml")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    a_second, bytes_a_row = map(float, done.stdout.split())
    return {
        "bare csv.reader, rows a second": bare,
        "csv rows to checked jobs, rows a second": a_second,
        "csv rows to checked jobs, bytes a row": bytes_a_row,
    }


def unchanged_pictures(folder: Path, pictures: int = PICTURES) -> float:
    """Seconds to read a manifest whose pictures are all remembered."""
    data = make_picture(folder / "one.png").read_bytes()
    (folder / "pictures").mkdir()
    for at in range(pictures):
        (folder / "pictures" / f"{at:06}.png").write_bytes(data + at.to_bytes(4, "big"))
    (folder / "look.yaml").write_text("version: 1\njobs: [{from: 'pictures/*.png', prompt: 'The {stem}'}]\n")

    def read() -> float:
        begin = time.perf_counter()
        cache = DigestCache(folder / "digests.cache", lambda: SystemClock().now_ms() + _HOUR_MS)
        assert len(load_manifest(folder / "look.yaml", cache=cache).jobs) == pictures
        cache.save()
        return time.perf_counter() - begin

    read()
    return read()
