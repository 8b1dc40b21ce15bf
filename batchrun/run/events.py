"""What happens during a run, as plain records for whoever watches: progress bar, log, tests.

An event follows the fact: what it tells is already on disk or at the provider. Observers must not block and must not
raise; one that does ends the run, which is how crash tests stop it at a named point.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What happened."""

    CLAIMED = "claimed"
    UPLOADED = "uploaded"
    INTENT = "intent"
    """The attempt and its reservation are on disk; the POST is next."""
    ANSWERED = "answered"
    """The provider has answered the POST, or the wait for it is over; nothing is written down yet."""
    ACCEPTED = "accepted"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    PARKED = "parked"
    """Nobody can tell what became of a submit: a person decides."""
    LATE = "late"
    """A submit that was given up exists after all, and is charged."""
    LATE_CLIP = "late_clip"
    """Its clip is safe; `detail` says where."""
    LATE_LOST = "late_lost"
    """Its clip is not to be had any more."""
    COMPLETED = "completed"
    TASK_FAILED = "task_failed"
    """The provider could not make the clip; it will be bought again."""
    DOWNLOADED = "downloaded"
    CHECKED = "checked"
    """The part file's digest is on disk; its final name is next."""
    WARNED = "warned"
    """The clip is whole but looks wrong; `detail` says how."""
    PLACED = "placed"
    """The clip has its final name; the queue does not know yet."""
    NO_SIDECAR = "no_sidecar"
    """The clip is fine, but the small file beside it could not be written; `detail` says why."""
    DONE = "done"
    FAILED = "failed"
    """For good: nothing is bought again for it in this run."""
    REJECTED = "rejected"
    LOST = "lost"
    FETCHED_AGAIN = "fetched_again"
    """Bought before under another name, whose file is gone: downloaded once more, for nothing."""
    PUT_OFF = "put_off"
    LEASE_LOST = "lease_lost"
    PLANNED = "planned"
    """The manifest is read: `count` jobs are to be worked on, for `usd_micros` at most."""
    WAITING = "waiting"
    """The run as a whole waits; `detail` says for what."""
    NOTE = "note"
    """Something about the run as a whole that a person should see."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `batch` and `key` are empty for events of the run as a whole."""

    kind: Kind
    batch: str = ""
    key: str = ""
    detail: str = ""
    count: int = 0
    usd_micros: int = 0


Observer = Callable[[Event], None]
