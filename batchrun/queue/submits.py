"""The one transaction that spends: lease, slot, rate, caps, reservation and intent, together or not at all."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from batchrun.clock import day_of
from batchrun.queue.failures import ends_the_request
from batchrun.queue.ledger import Books, CapCheck, Move, move, up_to_date
from batchrun.queue.records import (
    Cap,
    CapsChanged,
    Gone,
    Missed,
    NotYet,
    Pace,
    Started,
    SubmitDecision,
    SubmitRequest,
    TooManyUnknown,
    TwinFirst,
)
from batchrun.queue.script import Row, Script, ask, ask_one
from batchrun.queue.states import NOT_ENDED, JobState

MINUTE_MS = 60_000
TWINS = 20
"""So many namesakes of a request are looked at."""
# A start whose answer never came counts for the minute this long.
_UNANSWERED_MS = 3 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Moment:
    """When it is, on all clocks, read before the transaction begins."""

    now_ms: int
    boot_s: float
    server_ahead_ms: int | None = None
    """The provider's clock less ours, where it is known."""


def begin_submits(
    requests: Sequence[SubmitRequest], pace: Pace, books: Books, run_id: str, moment: Moment
) -> Script[tuple[list[SubmitDecision], Books]]:
    """Start as many of the requests as slots, rate and caps allow, in the order given (highest priority first).

    Returns:
        One decision for each request, and the books as they stood before: keep those for the next call.
    """
    books = yield from up_to_date(books)
    row = yield from ask_one("count_unknown")
    unknown, unanswered = (row["unknown"], row["unanswered"]) if row else (0, 0)
    slots = yield from ask_one("open_attempts", slots_since_ms=moment.now_ms - pace.stuck_after_ms)
    running, doubtful = (slots["slots"], slots["doubtful"]) if slots else (0, 0)
    if unknown >= pace.max_unknown or doubtful >= pace.concurrency:
        return [TooManyUnknown(unknown)] * len(requests), books
    check = CapCheck(books)
    witness_ms = (yield from _witness_due(pace, moment.now_ms)) if unknown else 0
    if witness_ms > moment.now_ms:
        return [NotYet("witness", witness_ms)] * len(requests), books
    answers = unanswered_allowed(pace, unknown) - unanswered
    slots_now = pace.concurrency if pace.slots is None else min(pace.slots, pace.concurrency)
    free = yield from _free_starts(pace, moment.now_ms, answers, slots_now - running)
    decisions: list[SubmitDecision] = []
    for request in requests:
        if free.refusal is not None:
            break
        day = max(day_of(moment.now_ms, request.zone), (yield from _last_day(request)))
        caps = [_on_day(cap, day) for cap in request.caps]
        is_late = request.start_by_ms is not None and moment.now_ms > request.start_by_ms
        decision: SubmitDecision | None = Missed() if is_late else None
        decision = decision or (yield from _other_caps(request)) or (yield from _twin(request))
        decision = decision or check.refusal(caps, request.price_usd_micros)
        if decision is None:
            decision = yield from _begin(request, day, pace, run_id, moment)
            if isinstance(decision, Started):
                check.count(caps, request.price_usd_micros)
                free = free.one_less()
        decisions.append(decision)
    if free.refusal is not None:
        decisions += [free.refusal] * (len(requests) - len(decisions))
    return decisions, books


def _begin(request: SubmitRequest, day: str, pace: Pace, run_id: str, moment: Moment) -> Script[SubmitDecision]:
    now_ms = moment.now_ms
    rows = yield from ask(
        "insert_attempt",
        attempt_id=request.attempt_id,
        job_id=request.job_id,
        revision_id=request.revision_id,
        run_id=run_id,
        day=day,
        price_usd_micros=request.price_usd_micros,
        image_url=request.image_url,
        now_ms=now_ms,
        send_by_ms=now_ms + int(pace.send_within_s * 1000),
        server_ahead_ms=moment.server_ahead_ms,
    )
    if not rows:
        return Gone()
    yield from ask("job_submitting", job_id=request.job_id, attempt_id=request.attempt_id, run_id=run_id, now_ms=now_ms)
    yield from move(request.attempt_id, Move.RESERVE, now_ms)
    return Started(request.attempt_id, moment.boot_s + pace.send_within_s)


def _other_caps(request: SubmitRequest) -> Script[CapsChanged | None]:
    """In the spending transaction: another process may have read a lower budget while this one was at work."""
    row = yield from ask_one("read_caps", batch_id=request.batch_id)
    known = None if row is None else row["caps"]
    return CapsChanged() if known is not None and request.caps_read not in (None, known) else None


def _twin(request: SubmitRequest) -> Script[TwinFirst | None]:
    """Looked at in the spending transaction: two jobs that ask for the same clip may stand in line together."""
    rows = yield from ask("twins", job_id=request.job_id, revision_id=request.revision_id, count=TWINS)
    return TwinFirst() if any(_stands_before(row, request.spurned) for row in rows) else None


def _stands_before(row: Row, spurned: Collection[int]) -> bool:
    if row["verdict"] == JobState.DONE:
        return row["job_id"] not in spurned
    return row["verdict"] in NOT_ENDED or ends_the_request(row["verdict"], row["failed_attempts"])


def _last_day(request: SubmitRequest) -> Script[str]:
    """The newest day that was bought on: none is opened again when the clock steps back, or its cap is spent twice.

    Of a whole campaign only where it has a daily cap, because then its manifests share one calendar (`check_campaigns`).
    """
    row = yield from ask_one("last_day", batch_id=request.batch_id)
    newest: str = (row["day"] if row else None) or ""
    for cap in request.caps:
        if cap.scope.campaign is not None and cap.scope.day is not None:
            row = yield from ask_one("last_day_of_campaign", campaign=cap.scope.campaign)
            newest = max(newest, (row["day"] if row else None) or "")
    return newest


def _on_day(cap: Cap, day: str) -> Cap:
    return cap if cap.scope.day is None else replace(cap, scope=replace(cap.scope, day=day))


def unanswered_allowed(pace: Pace, unknown: int) -> int:
    """How many submits may wait for their answer at once, over all processes of the queue.

    A crash makes all of them unknown, and once `max_unknown` is reached, or every slot is doubtful, nothing can be bought
    that would be a witness for the absence of the others: so more than half of them are kept for single submits. As long
    as nothing is unknown, as many may wait as the pace starts in half a second.
    """
    calm = min(pace.per_minute // 120, pace.concurrency - 1) if unknown == 0 else 0
    return max(1, min(pace.max_unknown, pace.concurrency) // 2 - unknown, calm)


def witness_pause_ms(pace: Pace, in_a_row: int) -> int:
    """How long to wait after so many unknown outcomes in a row before the next submit, which may be their witness.

    What has cut two submits will most likely cut a third. With the default of five, spread like this, single submits ride
    out a quarter of an hour in which none gets through, before a person is needed.
    """
    return 0 if in_a_row < 2 else pace.settle_ms * 4 ** min(in_a_row - 2, 2) // 5  # noqa: PLR2004


def _witness_due(pace: Pace, now_ms: int) -> Script[int]:
    row = yield from ask_one("unknown_in_a_row")
    if row is None or not row["in_a_row"]:
        return 0
    if row["last_ms"] > now_ms:  # the clock was set back: no reason to wait
        return 0
    return int(row["last_ms"]) + witness_pause_ms(pace, row["in_a_row"])


class _FreeStarts:
    """How many may still start now; when none, why and until when."""

    def __init__(self, answers: int, slots: int, starts: int, retry_ms: int | None) -> None:
        self._answers = answers
        self._slots = slots
        self._starts = starts
        self._retry_ms = retry_ms

    @property
    def refusal(self) -> NotYet | None:
        if self._slots <= 0:
            return NotYet("slots", None)
        if self._starts <= 0:
            return NotYet("rate", self._retry_ms)
        if self._answers <= 0:
            return NotYet("answers", None)
        return None

    def one_less(self) -> "_FreeStarts":
        return _FreeStarts(self._answers - 1, self._slots - 1, self._starts - 1, self._retry_ms)


def _free_starts(pace: Pace, now_ms: int, answers: int, slots: int) -> Script[_FreeStarts]:
    row = yield from ask_one(
        "recent_starts",
        since_ms=now_ms - _UNANSWERED_MS,
        until_ms=now_ms + MINUTE_MS,
        minute_ago_ms=now_ms - MINUTE_MS,
    )
    starts, oldest_ms = (row["starts"], row["oldest_ms"]) if row else (0, None)
    retry_ms = oldest_ms + MINUTE_MS + 1 if oldest_ms is not None else None
    return _FreeStarts(answers, slots, pace.per_minute - starts, retry_ms)
