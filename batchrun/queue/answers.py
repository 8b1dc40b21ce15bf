"""Answers of the provider, written down: every script moves a job and its money together.

An answer is recorded by its attempt's id, whoever holds the lease and whatever state the job is in: a late answer is
never thrown away. The job's own state follows only where it is still about that attempt.
"""

from enum import Enum

from batchrun.queue.script import Script, ask


def record_accepted(attempt_id: str, prediction_id: str, status_word: str, now_ms: int) -> Script[bool]:
    """The provider took it: the prediction's id belongs to this attempt from now on."""
    rows = yield from ask(
        "attempt_accepted",
        attempt_id=attempt_id,
        prediction_id=prediction_id,
        status_word=status_word,
        now_ms=now_ms,
    )
    if rows:
        yield from ask("job_running", job_id=rows[0]["job_id"], attempt_id=attempt_id, now_ms=now_ms)
    return bool(rows)


def record_nothing_created(
    attempt_id: str, state: str, code: int | None, message: str, retry_ms: int | None, kind: str, now_ms: int
) -> Script[bool]:
    """Refused, or provably never sent: the reservation is void; the job waits until `retry_ms`, or has failed."""
    rows = yield from ask(
        "attempt_refused", attempt_id=attempt_id, state=state, code=code, message=message, now_ms=now_ms
    )
    if not rows:
        return False
    yield from ask("ledger_void", attempt_id=attempt_id, now_ms=now_ms)
    yield from _requeue_or_fail(rows[0]["job_id"], attempt_id, retry_ms, kind, message, now_ms)
    return True


def record_unknown(attempt_id: str, message: str, now_ms: int) -> Script[bool]:
    """Nobody knows what became of the submit: its money stays held."""
    rows = yield from ask("attempt_unknown", attempt_id=attempt_id, message=message, now_ms=now_ms)
    if rows:
        yield from ask(
            "job_unknown",
            job_id=rows[0]["job_id"],
            attempt_id=attempt_id,
            kind="unknown_outcome",
            message=message,
            now_ms=now_ms,
        )
    return bool(rows)


def record_status(attempt_id: str, status_word: str) -> Script[None]:
    """The provider's own word for where the prediction is."""
    yield from ask("attempt_status", attempt_id=attempt_id, status_word=status_word)


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
    yield from ask("ledger_settle", attempt_id=attempt_id, now_ms=now_ms)
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
    yield from ask("ledger_refund_due", attempt_id=attempt_id, now_ms=now_ms)
    yield from _requeue_or_fail(rows[0]["job_id"], attempt_id, retry_ms, kind, message, now_ms)
    return True


class RefundSeen(Enum):
    """What the provider's billing says of a failed attempt, as the statement that books it."""

    REFUNDED = "ledger_refunded"
    NEVER_CHARGED = "ledger_void"
    DENIED = "ledger_refund_denied"
    """Nothing within the provider's time; it counts as spent."""


def record_refund(attempt_id: str, seen: RefundSeen, now_ms: int) -> Script[None]:
    """What became of the money of a failed attempt, once and for all."""
    yield from ask(seen.value, attempt_id=attempt_id, now_ms=now_ms)


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
