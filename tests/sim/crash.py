"""Every named crash point, in every state of the job: killed there once, started again, and the books compared.

A point is a gate of the simulation (before and after each commit, request, answer and work on files, and every event)
together with the states in which the queue's jobs are at that moment. The points are found by playing a story once; then
the story is played again for each of them.
"""

import sqlite3
from dataclasses import replace

from batchrun.emulator.faults import Fault
from tests.sim.night import Figures, Scenario, Watch, play

ALONE = Scenario(
    seed=1, jobs=1, concurrency=1, nights=7, new_each_night=1, settle_s=40, account={"late_ms": (2_000, 25_000)}
)
STORIES: dict[str, Scenario] = {
    "plain": ALONE,
    "the answer is lost": replace(ALONE, submits=[Fault.SUBMIT_DROP_AFTER]),
    "a gateway's page after it was taken": replace(ALONE, submits=[Fault.SUBMIT_502_AFTER]),
    "an answer without an id": replace(ALONE, submits=[Fault.SUBMIT_NO_ID]),
    "nothing was created": replace(ALONE, jobs=2, submits=[Fault.SUBMIT_500]),
    "created late": replace(ALONE, submits=[Fault.SUBMIT_DROP_LATE]),
    "no credit": replace(ALONE, submits=[Fault.SUBMIT_NO_CREDIT]),
    "throttled": replace(ALONE, submits=[Fault.SUBMIT_429]),
    "the task fails": replace(ALONE, fates=[Fault.TASK_FAILED], account={"refund_after_ms": 3_600_000}),
    "two jobs, one clip": replace(ALONE, jobs=2, twins=True, new_each_night=2),
    "trouble on the way": replace(ALONE, lossy={"download": 0.3, "poll": 0.3, "ticket": 0.3, "put": 0.3}),
    "two at once": replace(ALONE, jobs=2, concurrency=2),
}


def point(gate: str, books: Watch) -> str:
    try:
        states = " ".join(sorted(books.states()))
    except sqlite3.OperationalError:  # before there is a queue
        states = ""
    return f"{gate} [{states}]"


def points_of(story: Scenario) -> dict[str, None]:
    """Every point that the story passes, in its order."""
    found: dict[str, None] = {}

    def note(gate: str, books: Watch) -> bool:
        found[point(gate, books)] = None
        return False

    healthy(play(story, note), story)
    return found


def healthy(figures: Figures, story: Scenario) -> None:
    assert figures.violations == []
    assert (figures.done, figures.queued, figures.held_usd_micros) == (figures.jobs, 0, 0)
    assert figures.spent_usd_micros == figures.billed_usd_micros


def kill_at(wanted: str, story: Scenario) -> Figures:
    """The story once more, with one kill; raises AssertionError when it does not end well."""
    pending = [wanted]

    def die(gate: str, books: Watch) -> bool:
        if pending and point(gate, books) == pending[0]:
            pending.clear()
            return True
        return False

    figures = play(story, die)
    assert not pending, f"never reached again: {wanted}"
    assert figures.kills == 1, wanted
    try:
        healthy(figures, story)
    except AssertionError as error:
        raise AssertionError(f"killed at {wanted}: {error}\n{figures}") from error
    return figures
