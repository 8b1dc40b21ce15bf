"""What a person asks of single jobs: another attempt, a new take, or to leave it. Nothing here spends; the next run does.

Each answer says what became of the wish, in words for a person, so that typing it twice changes nothing more.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from batchrun.queue.failures import FailureKind
from batchrun.queue.script import Row, Script, ask, ask_one
from batchrun.queue.states import FINAL, JobState

Verb = Literal["retry", "redo", "cancel"]


class Answer(Enum):
    """What became of a wish."""

    CHANGED = "changed"
    WAS_SO = "was so"
    """What is asked for waits already: it was typed twice."""
    REFUSED = "refused"
    """It is not what was asked for, and stays as it is."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The answer to one wish, and in words."""

    batch: str
    key: str
    answer: Answer
    text: str

    @property
    def changed(self) -> bool:
        """Whether there was something to do, and it is done."""
        return self.answer is Answer.CHANGED

    @property
    def as_asked(self) -> bool:
        """Whether the job is now as it is wished."""
        return self.answer is not Answer.REFUSED


Wish = Callable[[Row, int], Script[tuple[Answer, str]]]


JobName = tuple[int, str]
"""A batch's id and the key of a job of it."""


def grant(verb: Verb, jobs: Sequence[JobName], now_ms: int) -> Script[list[Granted]]:
    """Do it for these jobs, in one transaction; one that does not exist is left out of the answer."""
    answers: list[Granted] = []
    for batch_id, key in jobs:
        row = yield from ask_one("job_by_key", batch_id=batch_id, key=key)
        if row is not None:
            answer, text = yield from _WISHES[verb](row, now_ms)
            waits = answer is not Answer.REFUSED and verb != "cancel" and not row["current"]
            text += ", once the manifest names it again" if waits else ""
            answers.append(Granted(row["batch"], row["key"], answer, text))
    return answers


def _retry(row: Row, now_ms: int) -> Script[tuple[Answer, str]]:
    """A failed or cancelled job may be bought once more; what its request's failures have barred is open again.

    Not what is paid for, or perhaps paid for, under another name, unless that is what this job has failed by.
    """
    state = JobState(row["state"])
    if state is JobState.QUEUED:
        return Answer.WAS_SO, "is waiting to be bought already"
    if state not in (JobState.FAILED, JobState.CANCELLED):
        return Answer.REFUSED, _unmoved(state, "only failed and cancelled jobs are tried again")
    staying = json.dumps(sorted(NOT_UNNAMED - {row["failure_kind"]}))
    yield from ask("forget_failures", fingerprint=row["fingerprint"], staying=staying)
    rows = yield from ask("requeue_asked", job_id=row["job_id"], now_ms=now_ms)
    if not rows:
        return Answer.REFUSED, "changed meanwhile; look at it again"
    return Answer.CHANGED, "will be tried again"


def _redo(row: Row, now_ms: int) -> Script[tuple[Answer, str]]:
    """A new take: another revision with the same text, bought although its clip is there."""
    state = JobState(row["state"])
    if not row["current"]:
        return (
            Answer.REFUSED,
            "is no longer in the manifest, and its clip stays as it is; put its row back to have a new take",
        )
    if state is JobState.QUEUED:
        return Answer.WAS_SO, f"take {row['take']} is waiting to be bought already"
    free = yield from ask_one("revisable", job_id=row["job_id"], old_revision_id=row["revision_id"], now_ms=now_ms)
    if state not in FINAL or free is None:
        return Answer.REFUSED, _unmoved(state, "a new take is bought when this one has ended")
    next_id = yield from ask_one("next_revision_id")
    ids = {"revision_id": next_id["next_id"] if next_id else 1, "now_ms": now_ms}
    yield from ask("insert_take", old_revision_id=row["revision_id"], **ids)
    yield from ask("requeue_revised", job_id=row["job_id"], **ids)
    return Answer.CHANGED, f"take {row['take'] + 1} will be bought"


def _cancel(row: Row, now_ms: int) -> Script[tuple[Answer, str]]:
    """What is not bought yet is taken out; what is paid for stays, also under a new take that nobody has bought."""
    if (yield from ask("take_back", job_id=row["job_id"], revision_id=row["revision_id"], now_ms=now_ms)):
        return Answer.CHANGED, f"take {row['take']} will not be bought; the clip that it has stays"
    rows = yield from ask("cancel_queued", job_id=row["job_id"], now_ms=now_ms)
    if rows:
        return Answer.CHANGED, "will not be bought; `retry` takes it back"
    if JobState(row["state"]) is JobState.CANCELLED:
        return Answer.WAS_SO, "is taken out already; `retry` takes it back"
    return Answer.REFUSED, _unmoved(JobState(row["state"]), "only what is not bought yet can be taken out")


def _unmoved(state: JobState, why: str) -> str:
    return f"is {state.value}: {why}"


_WISHES: dict[Verb, Wish] = {"retry": _retry, "redo": _redo, "cancel": _cancel}

RETRIED = (JobState.FAILED,)
"""What `retry` takes when no job is named."""
NOT_UNNAMED = frozenset(
    {
        FailureKind.LEFT_UNDECIDED,
        FailureKind.BROKEN_CLIP,
        FailureKind.WARNED_CLIP,
        FailureKind.REJECTED_TWIN,
        "retention",
    }
)
"""Failures that `retry` touches only when the job is named, or the kind: the request is paid for, or perhaps paid for."""
