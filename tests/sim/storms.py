"""The weather of the simulations: what goes wrong how often."""

import gc
from dataclasses import fields

from batchrun.emulator.faults import Fault
from batchrun.manifest.jobs import Checks
from tests.sim.night import Figures, Scenario, play

NIGHT_JOBS = 500

HOUR_MS = 3_600_000
LOST = {
    Fault.SUBMIT_DROP_AFTER: 0.01,
    Fault.SUBMIT_502_AFTER: 0.01,
    Fault.SUBMIT_TRUNCATED: 0.01,
    Fault.SUBMIT_DROP_BEFORE: 0.01,
    Fault.SUBMIT_500: 0.01,
}
"""5 % of the answers: most of these submits were taken, some were not."""
LATE = {Fault.SUBMIT_DROP_LATE: 0.02}
"""2 % of the submits are taken seconds to minutes after the connection was cut."""
WEATHER = {
    Fault.TASK_FAILED: 0.03,
    Fault.TASK_UNAVAILABLE: 0.02,
    Fault.POLL_500: 0.02,
    Fault.POLL_DROP: 0.02,
    Fault.TICKET_500: 0.01,
}


def storm(seed: int, jobs: int) -> Scenario:
    """A night of the long proof: everything at once, one process or several."""
    return Scenario(
        seed=seed,
        jobs=jobs,
        speed=20.0,
        processes=(1, 1, 1, 2)[seed % 4],
        concurrency=(50, 20, 100, 10)[seed % 4],
        faults=LOST | LATE | WEATHER,
        lossy={"download": 0.02, "put": 0.01, "list": 0.02},
        kill_every=4000,
        kills=max(4, jobs // 50),
        freeze_every_s=0 if seed % 3 else 600,
        wrong_ms=(0, 90_000, -HOUR_MS)[seed % 3],
        account={"refund_after_ms": HOUR_MS},
        nights=8,
    )


def play_storm(seed: int) -> tuple[int, Figures]:
    """One night of the long proof."""
    return seed, play(storm(seed, NIGHT_JOBS))


BAD_STORAGE = {
    Fault.OUTPUT_404: 0.1,
    Fault.OUTPUT_503: 0.1,
    Fault.OUTPUT_DROP: 0.2,
    Fault.OUTPUT_HTML: 0.1,
    Fault.OUTPUT_SHORT: 0.1,
    Fault.OUTPUT_STALL: 0.01,
}
"""Three downloads of five go wrong."""


def bad_storage(seed: int, jobs: int) -> Scenario:
    """A night in which only downloads are in trouble, and the process dies now and then."""
    return Scenario(
        seed=seed,
        jobs=jobs,
        speed=20.0,
        faults=BAD_STORAGE,
        checks=Checks.FULL,
        kill_every=3000,
        kills=max(2, jobs // 100),
        nights=8,
    )


def play_bad_storage(seed: int) -> tuple[int, Figures]:
    """One night of them."""
    return seed, play(bad_storage(seed, NIGHT_JOBS))


def collect_lazily() -> None:
    """A night makes little garbage in circles: looking for it all the time takes a tenth of the night."""
    gc.set_threshold(100_000, 20, 100)


def numbers(figures: Figures) -> dict[str, int]:
    """What can be added up over nights."""
    return {
        item.name: value
        for item in fields(figures)
        if isinstance(value := getattr(figures, item.name), int) and not item.name.startswith("peak")
    }
