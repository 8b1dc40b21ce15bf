"""Answers of the provider, written down: every script moves a job and its money together.

An answer is recorded by its attempt's id, whoever holds the lease and whatever state the job is in: a late answer is
never thrown away. The job's own state follows only where it is still about that attempt.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from batchrun.queue.failures import FailureKind
from batchrun.queue.leases import guarded
from batchrun.queue.ledger import Move, adjust, is_settled, move
from batchrun.queue.script import Params, Script, ask, ask_one


class Recorded(Enum):
    """What an acceptance meant."""

    RUNNING = "running"
    """The prediction belongs to the attempt, and the job goes on with it."""
    LATE_RUNNING = "late, goes on"
    """The attempt was void already: charged after all, and the job, which was not bought again yet, goes on with it."""
    LATE_APART = "late, apart"
    """The attempt was void and the job has moved on: charged, and its clip is kept apart."""
    KNOWN = "known"
    """Recorded before."""
    SECOND = "second"
    """The attempt has another prediction already: nothing was recorded, the provider made two of one submit."""
    TAKEN = "taken"
    """The prediction belongs to another attempt: nothing was recorded."""


def record_accepted(attempt_id: str, prediction_id: str, status_word: str, now_ms: int) -> Script[Recorded]:
    """The provider took it: the prediction's id belongs to this attempt from now on, whatever state it was in."""
    owner = yield from ask_one("prediction_owner", prediction_id=prediction_id)
    if owner is not None:
        return Recorded.KNOWN if owner["attempt_id"] == attempt_id else Recorded.TAKEN
    answer = {"attempt_id": attempt_id, "prediction_id": prediction_id, "status_word": status_word, "now_ms": now_ms}
    rows = yield from ask("attempt_accepted", **answer)
    if rows:
        yield from ask("job_running", job_id=rows[0]["job_id"], attempt_id=attempt_id, now_ms=now_ms)
        return Recorded.RUNNING
    rows = yield from ask("attempt_late", **answer)
    return (yield from _late(attempt_id, rows[0]["job_id"], now_ms)) if rows else Recorded.SECOND


def _late(attempt_id: str, job_id: int, now_ms: int) -> Script[Recorded]:
    """Its money was given up, or is still held when a person left it undecided."""
    if (yield from is_settled(attempt_id)):
        yield from move(attempt_id, Move.LATE_CHARGE, now_ms)
    yield from ask("forget_left", job_id=job_id)  # nobody could tell; now the prediction does
    job = yield from ask_one("job_takes_late", job_id=job_id, attempt_id=attempt_id, now_ms=now_ms)
    if job is None:
        return Recorded.LATE_APART
    yield from ask("attempt_goes_on", attempt_id=attempt_id)
    return Recorded.LATE_RUNNING


def record_nothing_created(
    attempt_id: str, state: str, code: int | None, message: str, retry_ms: int | None, kind: str, now_ms: int
) -> Script[bool]:
    """Refused, or provably never sent: the reservation is void; the job waits until `retry_ms`, or has failed."""
    rows = yield from ask(
        "attempt_refused", attempt_id=attempt_id, state=state, code=code, message=message, now_ms=now_ms
    )
    if not rows:
        return False
    yield from move(attempt_id, Move.VOID, now_ms)
    yield from _requeue_or_fail(rows[0]["job_id"], attempt_id, retry_ms, kind, message, now_ms)
    return True


def record_unknown(attempt_id: str, message: str, now_ms: int) -> Script[bool]:
    """Nobody knows what became of the submit: its money stays held."""
    rows = yield from ask("attempt_unknown", attempt_id=attempt_id, message=message, now_ms=now_ms)
    if rows:
        yield from move(attempt_id, Move.UNKNOWN, now_ms)
        yield from ask(
            "job_unknown",
            job_id=rows[0]["job_id"],
            attempt_id=attempt_id,
            kind="unknown_outcome",
            message=message,
            now_ms=now_ms,
        )
    return bool(rows)


def record_parked(attempt_id: str, message: str, now_ms: int) -> Script[bool]:
    """Nothing that waiting brings can settle it: a person decides, and its money stays held."""
    rows = yield from ask(
        "job_parked", attempt_id=attempt_id, kind=FailureKind.UNDECIDED, message=message, now_ms=now_ms
    )
    return bool(rows)


def record_left(attempt_id: str, message: str, now_ms: int) -> Script[bool]:
    """A person leaves it undecided: its money stays held for good, and the job is not bought again unasked."""
    rows = yield from ask("attempt_left", attempt_id=attempt_id, message=message, now_ms=now_ms)
    if rows:
        kind = FailureKind.LEFT_UNDECIDED
        yield from _requeue_or_fail(rows[0]["job_id"], attempt_id, None, kind, message, now_ms)
    return bool(rows)


def record_lost(params: Params) -> Script[None]:
    """The clip cannot be had any more: the job is over, and so is its attempt. Raises LostLeaseError."""
    yield from guarded("job_lost", **params)
    yield from ask("attempt_lost", attempt_id=params["attempt_id"], now_ms=params["now_ms"])


def record_completed(attempt_id: str, status_word: str, output_url: str | None, now_ms: int) -> Script[bool]:
    """The clip exists and is paid: settle, and go on to the download."""
    rows = yield from ask(
        "attempt_completed",
        attempt_id=attempt_id,
        status_word=status_word,
        output_url=output_url,
        now_ms=now_ms,
    )
    if not rows:
        return False
    if not (yield from is_settled(attempt_id)):  # charged late, otherwise: then it is spent already
        yield from move(attempt_id, Move.SETTLE, now_ms)
    yield from ask("job_downloading", job_id=rows[0]["job_id"], attempt_id=attempt_id, now_ms=now_ms)
    return True


def record_failed(
    attempt_id: str,
    status_word: str,
    code: int | None,
    message: str,
    retry_ms: int | None,
    kind: str,
    now_ms: int,
) -> Script[bool]:
    """The prediction ended without a clip: a refund is due, and until it is seen the money counts as spent."""
    rows = yield from ask(
        "attempt_failed",
        attempt_id=attempt_id,
        status_word=status_word,
        code=code,
        message=message,
        now_ms=now_ms,
    )
    if not rows:
        return False
    if not (yield from is_settled(attempt_id)):  # charged late, otherwise: what comes back is an adjustment
        yield from move(attempt_id, Move.REFUND_DUE, now_ms)
    yield from _requeue_or_fail(rows[0]["job_id"], attempt_id, retry_ms, kind, message, now_ms)
    return True


class RefundSeen(Enum):
    """What the provider's billing says of a failed attempt, as the movement that books it."""

    REFUNDED = Move.REFUNDED
    NEVER_CHARGED = Move.VOID
    DENIED = Move.REFUND_DENIED
    """Nothing within the provider's time; it counts as spent."""


def record_refund(attempt_id: str, seen: RefundSeen, now_ms: int) -> Script[bool]:
    """What became of the money of a failed attempt, once and for all; False when another process was first."""
    if (yield from is_settled(attempt_id)):
        return False
    yield from move(attempt_id, seen.value, now_ms)
    return True


@dataclass(frozen=True, slots=True)
class Audit:
    """What the provider's billing shows of one attempt."""

    attempt_id: str
    charged_usd_micros: int
    """Less what was refunded."""
    is_final: bool
    """The billing need not be asked again."""


def record_audits(audits: Sequence[Audit], now_ms: int) -> Script[list[int]]:
    """Make the ledger equal to the billing; by how much it was wrong, for each."""
    differences: list[int] = []
    for audit in audits:
        differences.append((yield from adjust(audit.attempt_id, audit.charged_usd_micros, now_ms)))
        if audit.is_final:
            yield from ask("attempt_audited", attempt_id=audit.attempt_id, now_ms=now_ms)
    return differences


def _requeue_or_fail(
    job_id: int, attempt_id: str, retry_ms: int | None, kind: str, message: str, now_ms: int
) -> Script[None]:
    if retry_ms is not None:
        rows = yield from ask(
            "job_requeued", job_id=job_id, attempt_id=attempt_id, not_before_ms=retry_ms, now_ms=now_ms
        )
        if rows:
            return
    # Also a job that the manifest has changed meanwhile ends here: the next reading gives it its new text.
    yield from ask("job_failed", job_id=job_id, attempt_id=attempt_id, kind=kind, message=message, now_ms=now_ms)


ANSWERS: dict[str, Callable[..., Script[object]]] = {
    "accepted": record_accepted,
    "nothing_created": record_nothing_created,
    "unknown": record_unknown,
    "completed": record_completed,
    "failed": record_failed,
}
"""What the provider says exists nowhere else: by these names it is kept when the database does not take it. Each script
can run again with the same effect."""
