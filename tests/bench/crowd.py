"""The top tier on one machine: ten thousand predictions at once, 83 starts a second; then killed, and started again."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from subprocess import Popen

from tests.bench.answers import Answer, Line, Setting
from tests.bench.contest import batchrun_command, environment_of
from tests.bench.local import Local
from tests.bench.process import cpu_of, peak_of, resident_of, started
from tests.bench.server import Terms
from tests.bench.shop import Shop

_LIFE_CROWD, _LIFE_MEDIAN_S = 10_000, 150.0
"""A smaller crowd has latencies so much shorter: as many starts a second keep it up."""
_MORE = 2.0
"""Jobs beside the crowd's own, so that there is something to start all the time."""
_FULL = 0.99
_PATIENCE = 5.0
"""So many times the time that the starts alone need."""
_LOOK_S = 0.5
_RESTART_S = 15.0
_HUNDRED = 100


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a run."""

    core: float
    """CPU seconds a second."""
    starts_s: float
    checks_s: float
    running: int
    resident_bytes: int


@contextmanager
def _running(local: Local, shop: Shop) -> Iterator["Popen[bytes]"]:
    process = started(batchrun_command(shop, local.url), environment_of(local.url))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class _Watch:
    """From its making to `window`."""

    def __init__(self, local: Local, process: "Popen[bytes]") -> None:
        self._local, self._process = local, process
        self._counts = local.now()["counts"]
        self._begin_s, self._cpu_s = time.monotonic(), cpu_of(process.pid)

    def window(self) -> Window:
        now, wall_s = self._local.now(), time.monotonic() - self._begin_s
        more = {name: count - self._counts.get(name, 0) for name, count in now["counts"].items()}
        return Window(
            core=(cpu_of(self._process.pid) - self._cpu_s) / wall_s,
            starts_s=more.get("submit", 0) / wall_s,
            checks_s=more.get("poll", 0) / wall_s,
            running=now["running"],
            resident_bytes=resident_of(self._process.pid),
        )


def _wait(local: Local, process: "Popen[bytes]", crowd: int, until_s: float) -> None:
    """Until so many run, or it takes too long."""
    while local.now()["running"] < crowd and time.monotonic() < until_s:
        if process.poll() is not None:
            raise RuntimeError(f"batchrun ended with {process.returncode} before {crowd:,} ran at once")
        time.sleep(_LOOK_S)


def _again(local: Local, shop: Shop) -> list[float]:
    """Seconds from the start of a new process to the first check of each prediction that ran before."""
    local.mark()
    begin_s = time.monotonic()
    with _running(local, shop):
        time.sleep(_RESTART_S)
        return [at_s - begin_s for at_s in local.now()["looked_at_s"]]


def ask(setting: Setting) -> Answer:
    """CPU and memory of the crowd, and the restart."""
    local, sizes = setting.local, setting.sizes
    crowd, median_s = sizes.crowd, _LIFE_MEDIAN_S * sizes.crowd / _LIFE_CROWD
    ramp_s = crowd * 60 / sizes.starts_a_minute
    local.reset(Terms(median_s=median_s, at_most_s=4 * median_s))
    shop = Shop(
        folder=setting.folder / "shop", jobs=int(crowd * (_MORE + sizes.steady_s / ramp_s)), slots=crowd,
        poll_s=median_s / 30, per_minute=sizes.starts_a_minute,
    ).write()  # fmt: skip
    with _running(local, shop) as process:
        _wait(local, process, 1, time.monotonic() + 60)
        watch = _Watch(local, process)
        _wait(local, process, int(crowd * _FULL), time.monotonic() + _PATIENCE * ramp_s)
        ramp = watch.window()
        watch = _Watch(local, process)
        time.sleep(sizes.steady_s)
        steady, peak_bytes = watch.window(), peak_of(process.pid)
    checked_s = _again(local, shop)
    answer = Answer(
        figures={
            "crowd": crowd, "median_s": median_s, "peak_bytes": peak_bytes,
            **{f"{name}_{item}": getattr(one, item) for name, one in (("ramp", ramp), ("steady", steady)) for item in Window.__slots__},
            "restart_first_s": checked_s[0] if checked_s else None, "restart_last_s": checked_s[-1] if checked_s else None,
            "restart_checked": len(checked_s),
        }
    )  # fmt: skip
    answer.lines += _lines(crowd, ramp, steady, peak_bytes)
    shown = f"{checked_s[0]:.2f} s" if checked_s else "none"
    then = f"the 100th after {checked_s[99]:.2f} s, " if len(checked_s) > _HUNDRED else ""
    answer.lines.append(
        Line(
            f"killed with {steady.running:,} running: first check after the restart", shown,
            f"{then}{len(checked_s):,} within {_RESTART_S:.0f} s",
        )
    )  # fmt: skip
    answer.expect("cores of the crowd", steady.core, at_most=2.5)
    answer.expect("predictions checked after the restart", len(checked_s), at_least=1)
    return answer


def _lines(crowd: int, ramp: Window, steady: Window, peak_bytes: int) -> list[Line]:
    return [
        Line(f"up to {crowd:,} running predictions: cores", f"{ramp.core:.2f}", f"{ramp.starts_s:.0f} starts, {ramp.checks_s:.0f} checks a second"),
        Line(
            f"{steady.running:,} running: cores", f"{steady.core:.2f}",
            f"{steady.starts_s:.0f} starts, {steady.checks_s:.0f} checks a second",
        ),
        Line("the same: peak memory", f"{peak_bytes / 1e6:.0f} MB"),
    ]  # fmt: skip
