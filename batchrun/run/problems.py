"""Jobs that are not fine, one by one, for people and for scripts."""

from collections.abc import Sequence
from dataclasses import dataclass

from batchrun.queue import failures
from batchrun.queue.states import NEEDS_PERSON, JobState
from batchrun.queue.views import BatchView, NotFine
from batchrun.run.terms import NOTHING_LOST, Lost
from batchrun.run.unexpected import UNEXPECTED

PERSON_KINDS = frozenset({*failures.PERSON_KINDS, "disk", "too_large", UNEXPECTED})
"""Kinds of jobs that only a person can bring on, whatever their state."""
OUTPUT_LOST = "output_lost"
"""The kind of a job that is done, and whose clip is gone."""
SHOWN = 20
"""So many of anything are named one by one; the others are counted."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A job that is not fine."""

    batch: str
    key: str
    state: str
    kind: str
    message: str


def problems_of(views: Sequence[BatchView], lost: Lost = NOTHING_LOST) -> list[Problem]:
    """Every job that is not fine, and of those that are done the ones whose clips are lost."""
    found = [_problem(view.name, job) for view in views for job in (*view.not_fine, *view.put_off)]
    message = "the clip is paid for, and its file gone, here and at the provider"
    return found + [Problem(batch, key, JobState.DONE.value, OUTPUT_LOST, message) for batch, key in lost.first]


def needing_person(views: Sequence[BatchView]) -> list[Problem]:
    """Those that only a person can bring on."""
    return [one for one in problems_of(views) if JobState(one.state) in NEEDS_PERSON or one.kind in PERSON_KINDS]


def _problem(batch: str, job: NotFine) -> Problem:
    return Problem(batch, job.key, job.state.value, job.kind or job.state.value, job.message or "")


def problems_json(views: Sequence[BatchView], lost: Lost = NOTHING_LOST) -> list[dict[str, str]]:
    """Jobs that are not fine, for scripts."""
    return [
        {"batch": one.batch, "id": one.key, "state": one.state, "kind": one.kind, "message": one.message}
        for one in problems_of(views, lost)
    ]


def problem_lines(views: Sequence[BatchView], lost: Lost = NOTHING_LOST) -> list[str]:
    """The first jobs that are not fine, and how many more there are."""
    problems = problems_of(views, lost)
    lines = [f"  {one.batch}/{one.key}: {one.state} ({one.kind}): {one.message}" for one in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"  … and {len(problems) - SHOWN} more; see --json or batchrun list")
    return lines
