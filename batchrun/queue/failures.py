"""Why a job ended without a clip, and how often the same request may be bought again for that reason."""

from enum import StrEnum


class FailureKind(StrEnum):
    """A word for scripts; the message beside it is for people."""

    REFUSED = "refused"
    """The provider refused the submit: a parameter or the picture."""
    MODERATION = "moderation"
    """The provider's content check said no (task code 1200)."""
    PARAMETERS = "parameters"
    """The provider found a parameter wrong after the submit (1400, 1401)."""
    PICTURE_UNREACHABLE = "picture_unreachable"
    """The provider could not fetch the picture (1402); it is uploaded afresh for the next attempt."""
    TASK_FAILED = "task_failed"
    """The generation failed (1403, 1405, or no code)."""
    PROVIDER_ERROR = "provider_error"
    """Trouble at the provider (1406, 5000, 5003, 5004, timeout)."""
    TASK_CANCELLED = "task_cancelled"
    """The prediction was cancelled or deleted at the provider."""
    NO_CREDIT = "no_credit"
    """The account could not pay for the task (1407); it does not count as an attempt."""
    PICTURE_UNUSABLE = "picture_unusable"
    """The picture's file is gone, unreadable or another one than planned."""
    OUTPUT_OCCUPIED = "output_occupied"
    """A file that this queue did not write stands under the output's name."""
    UNDECIDED = "undecided"
    """Whether the submit created a prediction cannot be told; a person decides."""
    LEFT_UNDECIDED = "left_undecided"
    """A person left it so: the money counts as spent."""
    BROKEN_CLIP = "broken_clip"
    """The clip is paid but fails its checks."""
    WARNED_CLIP = "warned_clip"
    """The clip is paid and whole, looks wrong, and the manifest says `checks: strict`."""
    REJECTED_TWIN = "rejected_twin"
    """The very same clip was bought for another job and does not pass the checks of this one; nothing was bought."""
    CLIP_GONE = "clip_gone"
    """The very same clip was bought before, under any name, and is neither on disk nor at the provider any more; nothing
    was bought."""


MAX_ATTEMPTS: dict[FailureKind, int] = {
    FailureKind.PICTURE_UNREACHABLE: 2,
    FailureKind.TASK_FAILED: 2,
    FailureKind.PROVIDER_ERROR: 3,
}
"""For ever per fingerprint; a kind that is not here is never bought again unasked."""

NOTHING_BOUGHT = ("void", "not_sent", "stopped")
"""Not failures of the job: what was void while its manifest asked for something else."""

PERSON_KINDS = frozenset({FailureKind.OUTPUT_OCCUPIED, FailureKind.REJECTED_TWIN, FailureKind.CLIP_GONE})
"""Failures that a person resolves by hand; nothing was bought."""


_OF_ITS_NAME = frozenset(
    {
        FailureKind.REFUSED,
        FailureKind.PICTURE_UNUSABLE,
        FailureKind.OUTPUT_OCCUPIED,
        FailureKind.NO_CREDIT,
        FailureKind.REJECTED_TWIN,
        FailureKind.CLIP_GONE,
        *NOTHING_BOUGHT,
    }
)
"""Failures that cost nothing or lie in the job's own files: they say nothing about the same request under another name."""


def ends_the_request(kind: str, failed_attempts: int) -> bool:
    """Whether a job that failed so ends its request for all names: a new name is no reason to buy it again.

    Args:
        kind: how it failed.
        failed_attempts: how often this request has failed, under all names.
    """
    return kind not in _OF_ITS_NAME and not may_try_again(kind, failed_attempts)


def may_try_again(kind: str, failed_attempts: int, at_most: int | None = None) -> bool:
    """Whether the same request may be bought once more after `failed_attempts` that failed, `at_most` of all kinds."""
    if kind == FailureKind.NO_CREDIT:
        return True
    if kind not in MAX_ATTEMPTS:
        return False
    most = MAX_ATTEMPTS[FailureKind(kind)]
    return failed_attempts < (most if at_most is None else min(most, at_most))
