"""How long a person waits for the command line itself."""

import subprocess
import sys
import time
from statistics import median

from tests.bench.answers import Answer, Line, Setting

_TIMES = 15


def _wall_ms(command: list[str]) -> float:
    took: list[float] = []
    for _ in range(_TIMES):
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took.append(time.perf_counter() - begin)
    return median(took) * 1000


def ask(_: Setting) -> Answer:
    """Beside the interpreter alone."""
    helped, bare = _wall_ms([sys.executable, "-m", "batchrun", "--help"]), _wall_ms([sys.executable, "-c", ""])
    answer = Answer(figures={"help_ms": helped, "python_ms": bare})
    answer.lines.append(
        Line("batchrun --help", f"{helped:.0f} ms", f"python alone {bare:.0f} ms", f"{helped / bare:.1f}")
    )
    answer.expect("milliseconds of --help", helped, at_most=5000)
    return answer
