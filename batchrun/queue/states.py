"""The states of a job and of an attempt, each with a sentence, and the moves between them as data.

The state says what is left to do; the lease beside it says who is doing it.
"""

from enum import StrEnum


class JobState(StrEnum):
    """What is left to do for a job."""

    QUEUED = "queued"
    """Nothing is bought yet."""
    SUBMITTING = "submitting"
    """The intent and its reservation are written; the POST may be under way."""
    RUNNING = "running"
    """The provider works on it, its prediction is known."""
    DOWNLOADING = "downloading"
    """Paid and finished at the provider; the clip is not safe on disk yet."""
    DONE = "done"
    """The clip is checked, flushed to disk and stands under its name."""
    UNKNOWN = "unknown"
    """A submit whose outcome nobody knows; its price counts as spent."""
    PARKED = "parked"
    """A person decides."""
    FAILED = "failed"
    """It ended without a clip."""
    REJECTED = "rejected"
    """Paid, but the clip fails its checks; kept in quarantine, never bought again unasked."""
    LOST = "lost"
    """Paid, but out of the provider's retention before it could be fetched."""
    CANCELLED = "cancelled"
    """Taken out by a person before it was bought."""


class AttemptState(StrEnum):
    """What became of one submit."""

    SUBMITTING = "submitting"
    UNKNOWN = "unknown"
    RUNNING = "running"
    LATE = "late"
    """It was void, and exists after all; its job has moved on, and its clip is kept apart."""
    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"
    """The provider said no: nothing was created."""
    VOID = "void"
    """Provably nothing was sent, or by evidence nothing was created."""
    LEFT = "left"
    """A person left it undecided; its money stays held for good."""


PAID_FOR = frozenset({JobState.SUBMITTING, JobState.RUNNING, JobState.DOWNLOADING, JobState.UNKNOWN})
"""In flight: the run goes on with these before anything else."""

COLLECTABLE = PAID_FOR - {JobState.UNKNOWN}
"""What a worker can go on with by itself."""

NOT_ENDED = PAID_FOR | {JobState.PARKED}
"""Bought, or perhaps bought, and no end yet."""

FINAL = frozenset({JobState.DONE, JobState.FAILED, JobState.REJECTED, JobState.LOST, JobState.CANCELLED})

NEEDS_PERSON = frozenset({JobState.UNKNOWN, JobState.PARKED, JobState.REJECTED, JobState.LOST})

MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset(
        {
            JobState.SUBMITTING,
            JobState.DONE,
            JobState.FAILED,
            JobState.CANCELLED,
            JobState.RUNNING,
            JobState.DOWNLOADING,
        }
    ),
    JobState.SUBMITTING: frozenset({JobState.RUNNING, JobState.UNKNOWN, JobState.QUEUED, JobState.FAILED}),
    JobState.UNKNOWN: frozenset({JobState.RUNNING, JobState.QUEUED, JobState.FAILED, JobState.PARKED}),
    JobState.PARKED: frozenset({JobState.RUNNING, JobState.QUEUED, JobState.FAILED}),
    JobState.RUNNING: frozenset({JobState.DOWNLOADING, JobState.QUEUED, JobState.FAILED, JobState.LOST}),
    JobState.DOWNLOADING: frozenset({JobState.DONE, JobState.REJECTED, JobState.LOST}),
    JobState.DONE: frozenset({JobState.QUEUED, JobState.DOWNLOADING}),
    JobState.FAILED: frozenset({JobState.QUEUED, JobState.RUNNING}),
    JobState.REJECTED: frozenset({JobState.QUEUED, JobState.DOWNLOADING}),
    JobState.LOST: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}
"""Every move there is.

- `done` goes back to `downloading` when its file is gone, and to `queued` when the job changed.
- `rejected` goes back to `downloading` when a person takes the clip all the same.
- `queued` goes straight to `done` when the very same clip was bought for another job and is copied, to `downloading` when
  that clip's file is gone and the provider still has it, and to `done` when a take is taken back.
- `queued` and `failed` go straight to `running` when a submit that was given up turns out to exist.
"""
