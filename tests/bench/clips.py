"""What clips cost on this machine: rendering one for a preview, looking at one, and a whole run with the rendering server."""

import subprocess
import sys
import time
from pathlib import Path

from batchrun.emulator.animate.plan import Wish
from batchrun.emulator.render import render
from batchrun.manifest.jobs import Checks
from batchrun.video.check import check_clip
from tests.bench.answers import Answer, Line, Setting
from tests.bench.contest import batchrun_command, environment_of
from tests.bench.process import Used, measured
from tests.bench.shop import Shop

_IMAGES = Path(__file__).parents[2] / "jobs" / "images"
_CLIPS = 64
_ONE_CLIP = """
import sys
from pathlib import Path
from batchrun.emulator.animate.plan import Wish
from batchrun.emulator.render import render
render(Path(sys.argv[1]), Wish(prompt=sys.argv[2]), Path(sys.argv[3]))
"""


def _whole_run(folder: Path) -> Used:
    """The real command against the local server, which renders small clips on the same cores."""
    shop = Shop(folder=folder / "rendered", jobs=_CLIPS, slots=16, poll_s=0.05, checks="full").write()
    command = [sys.executable, "-m", "batchrun", "emulator", "--port", "0", "--speed", "0", "--small"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip().partition("=")[2]
            return measured(batchrun_command(shop, address), environment_of(address))
        finally:
            server.terminate()


def _checks_ms(folder: Path) -> dict[str, float]:
    """CPU of one look at a rendered clip of 5 s and 1280 by 720, on one thread; the least of five."""
    picture, clip = _IMAGES / "skincare.jpg", folder / "clip.mp4"
    render(picture, Wish(prompt="slow push in"), clip)
    found: dict[str, float] = {}
    for depth in (Checks.QUICK, Checks.FULL):
        took = []
        for _ in range(5):
            begin = time.thread_time()
            check_clip(clip, 5, depth, picture=lambda: picture, poster=folder / "poster.webp")
            took.append(time.thread_time() - begin)
        found[depth.value] = min(took) * 1000
    return found


def _one_preview(folder: Path) -> Used:
    """A new process that renders one 5 s clip at full size, its start included."""
    prompt = "Steam rises from the mug as the camera slowly pushes in"
    return measured([sys.executable, "-c", _ONE_CLIP, str(_IMAGES / "mug.jpg"), prompt, str(folder / "preview.mp4")])


def ask(setting: Setting) -> Answer:
    """CPU and memory."""
    folder = setting.folder
    checked, preview, run = _checks_ms(folder), _one_preview(folder), _whole_run(folder)
    answer = Answer(
        figures={
            "check_ms": checked, "preview_cpu_s": preview.cpu_s, "preview_peak_mb": preview.peak_bytes / 1e6,
            "rendered_wall_ms": run.wall_s / _CLIPS * 1000, "rendered_cpu_ms": run.cpu_s / _CLIPS * 1000,
        }
    )  # fmt: skip
    answer.lines += [
        Line("check of a clip of 5 s, 1280×720: CPU", f"quick {checked['quick']:.0f} ms", f"full {checked['full']:.0f} ms"),
        Line("preview of 5 s, 1280×720: CPU", f"{preview.cpu_s:.1f} s", f"peak {preview.peak_bytes / 1e6:.0f} MB"),
        Line("whole run with the rendering server, a clip", f"{run.wall_s / _CLIPS * 1000:.0f} ms", f"CPU of batchrun {run.cpu_s / _CLIPS * 1000:.0f} ms"),
    ]  # fmt: skip
    answer.expect("CPU seconds of a preview", preview.cpu_s, at_most=120)
    return answer
