"""What the queue knows of submits whose outcome is not certain, and of charges that nobody has compared yet."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from batchrun.queue import answers
from batchrun.queue.access import Access
from batchrun.queue.answers import Audit, RefundSeen
from batchrun.queue.records import (
    ChargeDue,
    Job,
    KnownPicture,
    KnownPrediction,
    LateAttempt,
    LateCharge,
    OpenSubmit,
    ReadyFile,
    RefundDue,
)
from batchrun.queue.rows import (
    charge_due_of,
    job_of,
    known_picture_of,
    known_prediction_of,
    late_attempt_of,
    late_charge_of,
    open_submit_of,
    refund_due_of,
)
from batchrun.queue.script import Script, ask, ask_one

WATCH_MS = 7 * 86_400_000
"""So long a submit that was given up is watched: the provider's list reaches back as far (design, section 4a)."""


class Doubts:
    """The part of the queue that reconcile, refund watch and audit work with."""

    def __init__(self, access: Access, real_path: Callable[[str], Path]) -> None:
        self._access = access
        self._real_path = real_path

    async def open_submits(self) -> list[OpenSubmit]:
        """Every submit without a prediction, oldest first, also those that were given up within `WATCH_MS`."""
        since_ms = self._access.clock.now_ms() - WATCH_MS
        rows = await self._access.read(lambda: ask("open_submits", given_up_since_ms=since_ms))
        return [open_submit_of(row, self._real_path) for row in rows]

    async def predictions_since(self, since_ms: int) -> dict[str, KnownPrediction]:
        """The predictions that the queue knows, by id."""
        rows = await self._access.read(lambda: ask("predictions_since", since_ms=since_ms))
        return {row["prediction_id"]: known_prediction_of(row) for row in rows}

    async def recent_predictions(self, since_ms: int, until_ms: int, count: int) -> list[str]:
        """The newest predictions that were submitted between two moments."""
        params = {"since_ms": since_ms, "until_ms": until_ms, "count": count}
        return [row["prediction_id"] for row in await self._access.read(lambda: ask("recent_predictions", **params))]

    async def park(self, attempt_id: str, message: str) -> bool:
        """See `answers.record_parked`."""
        return await self._access.book(answers.record_parked, attempt_id, message)

    async def leave(self, attempt_id: str, message: str) -> bool:
        """See `answers.record_left`."""
        return await self._access.book(answers.record_left, attempt_id, message)

    async def rejected(self, batch_ids: Sequence[int]) -> list[Job]:
        """The jobs of these batches whose clip was paid for and rejected."""
        return await self._access.read(lambda: self._rejected(batch_ids))

    def _rejected(self, batch_ids: Sequence[int]) -> Script[list[Job]]:
        found: list[Job] = []
        for batch_id in batch_ids:
            for row in (yield from ask("rejected_jobs", batch_id=batch_id)):
                job = yield from ask_one("read_job", job_id=row["job_id"])
                found += [job_of(job, self._real_path)] if job is not None else []
        return found

    async def accept(self, job: Job, file: ReadyFile) -> bool:
        """A person takes the rejected clip: it goes on as one that is downloaded and checked. False when it is decided."""
        params = {"job_id": job.job_id, "attempt_id": job.attempt.attempt_id if job.attempt else None, **asdict(file)}
        return bool(await self._access.write("accept_rejected", now_ms=self._access.clock.now_ms(), **params))

    async def wake_twins(self) -> None:
        """Jobs that wait for the clip of a doubtful one may look again."""
        await self._access.write("wake_twins")

    async def late_attempts(self) -> list[LateAttempt]:
        """Predictions that were given up and exist, and whose clip is not safe yet."""
        return [late_attempt_of(row) for row in await self._access.read(lambda: ask("late_attempts"))]

    async def late_charges(self) -> list[LateCharge]:
        """What was charged late and nobody was told of yet, and those of earlier runs whose clip is not safe yet."""
        return [late_charge_of(row) for row in await self._access.read(lambda: ask("late_charges"))]

    async def late_told(self) -> None:
        """A person hears of them now."""
        await self._access.write("late_told", now_ms=self._access.clock.now_ms())

    async def late_untold(self, attempt_id: str) -> None:
        """There is news about a late charge."""
        await self._access.write("attempt_untold", attempt_id=attempt_id)

    # ------------------------------------------------------------------ money

    async def refunds_due(self, count: int = 10_000) -> list[RefundDue]:
        """Failed attempts whose money has not come back yet, oldest first."""
        return [refund_due_of(row) for row in await self._access.read(lambda: ask("refunds_due", count=count))]

    async def record_refund(self, attempt_id: str, seen: RefundSeen) -> bool:
        """See `answers.record_refund`."""
        return await self._access.book(answers.record_refund, attempt_id, seen)

    async def charges_to_audit(self, after_ms: int, after_id: str, count: int) -> list[ChargeDue]:
        """Charges that the billing has not been asked about, oldest first.

        Args:
            after_ms: settled after this moment,
            after_id: or in this very millisecond, for an attempt whose id comes later.
            count: so many.
        """
        after = {"after_ms": after_ms, "after_id": after_id}
        rows = await self._access.read(lambda: ask("charges_to_audit", **after, count=count))
        return [charge_due_of(row) for row in rows]

    async def record_audits(self, audits: Sequence[Audit]) -> list[int]:
        """See `answers.record_audits`."""
        return await self._access.book(answers.record_audits, audits)

    # ------------------------------------------------------------------ looks

    async def record_look(self, attempt_id: str, picture_sha256: str, picture: bytes, frame: bytes) -> None:
        """What a picture and the first frame of its clip look like."""
        await self._access.write(
            "record_look", attempt_id=attempt_id, picture_sha256=picture_sha256, picture=picture, frame=frame
        )

    async def look_digests(self) -> set[str]:
        """The pictures that the queue has learnt from, by digest."""
        return {row["picture_sha256"] for row in await self._access.read(lambda: ask("look_digests"))}

    async def looks(self, count: int) -> Sequence[tuple[str, bytes, bytes]]:
        """Pairs of picture and first frame: digest of the picture, and both looks."""
        rows = await self._access.read(lambda: ask("read_looks", count=count))
        return [(row["picture_sha256"], row["picture"], row["frame"]) for row in rows]

    async def known_pictures(self) -> list[KnownPicture]:
        """Every local picture of the queue."""
        rows = await self._access.read(lambda: ask("known_pictures"))
        return [known_picture_of(row, self._real_path) for row in rows]
