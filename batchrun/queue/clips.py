"""What a report and a sidecar say of each job, and of the money of the whole queue. Only looks."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from batchrun.queue.records import Job, Revision
from batchrun.queue.rows import revision_of
from batchrun.queue.script import Row, Script, ask
from batchrun.queue.states import JobState
from batchrun.queue.store import Queue

PAGE = 1000
"""Jobs that are read at once, so that a queue of any size is reported in little memory."""
_AFTER = "\x01"
"""Smaller than every character that an id may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipView:
    """One job with everything that may be shown of it."""

    batch: str
    key: str
    state: JobState
    position: int
    current: bool
    """The manifest still holds it."""
    outdated: bool
    """The manifest asks for something else by now."""
    tags: tuple[str, ...]
    revision: Revision
    output: Path
    sha256: str | None
    size_bytes: int | None
    facts: Mapping[str, object]
    """What was read from the checked clip; empty where there is none."""
    poster: Path | None
    """A still of the clip, where one was made."""
    kind: str | None
    message: str | None
    prediction_id: str | None
    attempts: int
    submitted_ms: int | None
    completed_ms: int | None
    """When the provider's clip was seen to be finished."""
    changed_ms: int
    held_usd_micros: int
    spent_usd_micros: int
    """What all attempts of the job have cost."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know of it although nothing failed."""
        noted = self.facts.get("warnings")
        found = [str(one) for one in noted] if isinstance(noted, list) else []
        found += [f"preview: {one.partition(' (')[0]}" for one in self.not_shown]
        if not self.current:
            found.append("no longer in the manifest")
        elif self.outdated:
            found.append("the manifest asks for something else by now")
        return tuple(found)

    @property
    def not_shown(self) -> tuple[str, ...]:
        """What was asked for and its preview does not show, with the words that asked for it."""
        noted = self.facts.get("not_shown")
        return tuple(str(one) for one in noted) if isinstance(noted, list) else ()


class MoneyOutcome(StrEnum):
    """What became of the money of one attempt. Every attempt has exactly one, so their sums are the ledger's."""

    DELIVERED = "delivered"
    """Its clip is checked and in place."""
    COLLECTING = "collecting"
    """Paid; the clip is not safe on disk yet."""
    REPLACED = "replaced"
    """Paid for an earlier text of the job, whose clip another one has replaced since."""
    LATE = "late"
    """Given up, and charged all the same, beside what was bought instead."""
    REJECTED = "rejected"
    LOST = "lost"
    REFUNDED = "refunded"
    """Failed at the provider; the money came back, or was never taken."""
    REFUND_DUE = "refund_due"
    REFUND_DENIED = "refund_denied"
    """Failed at the provider; no refund came in time, so it counts as spent."""
    UNKNOWN = "unknown"
    """Nobody knows whether the submit created something; its price stays held."""
    RUNNING = "running"
    """Reserved: on its way at the provider."""
    NOTHING_CREATED = "nothing_created"
    """Refused, or never sent: free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyLine:
    """Attempts of one batch, campaign and day whose money went the same way."""

    batch_id: int
    campaign: str | None
    day: str
    outcome: MoneyOutcome
    attempts: int
    price_usd_micros: int
    """What was reserved for them."""
    held_usd_micros: int
    spent_usd_micros: int


@dataclass(frozen=True, slots=True)
class CopiedClips:
    """Finished clips of a batch that were copied from another job."""

    batch_id: int
    campaign: str | None
    clips: int


@dataclass(frozen=True, slots=True)
class Money:
    """All money of the queue at one moment."""

    lines: tuple[MoneyLine, ...]
    copied: tuple[CopiedClips, ...]


async def each_clip(queue: Queue, batch_id: int) -> AsyncIterator[ClipView]:
    """Every job of a batch in the order of the ids, each as it stands when its page is read."""
    from_key = ""
    while True:
        page = await queue.read(partial(clip_page, batch_id, from_key, PAGE, queue.real_path))
        for clip in page:
            yield clip
        if len(page) < PAGE:
            return
        from_key = page[-1].key + _AFTER


async def clip_of(queue: Queue, job: Job) -> ClipView:
    """One job as it stands now."""
    (clip,) = await queue.read(partial(clip_page, job.batch_id, job.key, 1, queue.real_path))
    return clip


def clip_page(batch_id: int, from_key: str, count: int, real_path: Callable[[str], Path]) -> Script[list[ClipView]]:
    """Up to `count` jobs of a batch in the order of their ids, from one on."""
    rows = yield from ask("clips", batch_id=batch_id, from_key=from_key, count=count)
    return [_clip(row, real_path) for row in rows]


def money() -> Script[Money]:
    """Where all money of the queue went, on one snapshot."""
    lines = yield from ask("money_lines")
    copied = yield from ask("copied_clips")
    return Money(
        tuple(_money_line(row) for row in lines),
        tuple(CopiedClips(row["batch_id"], row["campaign"], row["clips"]) for row in copied),
    )


def _money_line(row: Row) -> MoneyLine:
    return MoneyLine(
        batch_id=row["batch_id"],
        campaign=row["campaign"],
        day=row["day"],
        outcome=MoneyOutcome(row["outcome"]),
        attempts=row["attempts"],
        price_usd_micros=row["price_usd_micros"],
        held_usd_micros=row["held_usd_micros"],
        spent_usd_micros=row["spent_usd_micros"],
    )


def _clip(row: Row, real_path: Callable[[str], Path]) -> ClipView:
    return ClipView(
        batch=row["batch"],
        key=row["key"],
        state=JobState(row["state"]),
        position=row["position"],
        current=bool(row["current"]),
        outdated=bool(row["outdated"]),
        tags=tuple(json.loads(row["tags"])),
        revision=revision_of(row, real_path(row["image_path"]) if row["image_path"] else None),
        output=real_path(row["output_path"]),
        sha256=row["file_sha256"],
        size_bytes=row["file_bytes"],
        facts=json.loads(row["file_facts"] or "{}"),
        poster=None,
        kind=row["failure_kind"],
        message=row["failure_message"],
        prediction_id=row["prediction_id"],
        attempts=row["attempts"],
        submitted_ms=row["submitted_ms"],
        completed_ms=row["completed_ms"],
        changed_ms=row["changed_ms"],
        held_usd_micros=row["held_usd_micros"],
        spent_usd_micros=row["spent_usd_micros"],
    )
