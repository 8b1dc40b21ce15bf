"""What people and scripts want to see of a queue. Only looks."""

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batchrun.queue.script import Row, Rows, Script, ask, ask_one
from batchrun.queue.states import COLLECTABLE, NEEDS_PERSON, JobState
from batchrun.queue.submits import TWINS

MAX_NOT_FINE = 1000
_GOES_ON = COLLECTABLE | {JobState.QUEUED}


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFine:
    """A job that did not simply work."""

    key: str
    state: JobState
    kind: str | None
    message: str | None
    prediction_id: str | None
    attempt_id: str | None


@dataclass(frozen=True, slots=True)
class Noted:
    """A finished job, and what is noted of its clip."""

    key: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotedJobs:
    """The first of the jobs with such notes, and how many there are."""

    first: tuple[Noted, ...] = ()
    count: int = 0


@dataclass(frozen=True, slots=True)
class BatchName:
    """A batch and the manifest that it was last read from, as the queue stores the path."""

    batch_id: int
    name: str
    manifest: str
    campaign: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A process at work on the queue."""

    run_id: str
    host: str
    pid: int
    waiting: str | None
    """What it said last that it waits for; None while it does not wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView:
    """One batch: its jobs counted by state. `removed` are jobs that its manifest no longer holds."""

    batch_id: int
    name: str
    manifest: str
    campaign: str | None
    counts: Mapping[JobState, int] = field(default_factory=dict)
    troubles: Mapping[tuple[JobState, str], int] = field(default_factory=dict)
    """How many jobs are not fine, by state and kind: all of them, however long the lists below are."""
    removed: int = 0
    not_fine: tuple[NotFine, ...] = ()
    put_off: tuple[NotFine, ...] = ()
    """Jobs that go on by themselves, but later: an upload, a download or the disk did not work."""
    warned: NotedJobs = NotedJobs()
    """Finished clips that are whole but look wrong, with the words for how."""
    not_shown: NotedJobs = NotedJobs()
    """Previews that do not show all of what was asked for, with what they leave out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One job as `list` shows it."""

    key: str
    state: JobState
    priority: int
    tags: tuple[str, ...]
    prompt: str
    duration_s: int
    take: int
    output: Path
    size_bytes: int | None
    facts: Mapping[str, object]
    spent_usd_micros: int
    kind: str | None
    message: str | None
    prediction_id: str | None
    attempt_id: str | None
    submitted_ms: int | None
    changed_ms: int
    current: bool
    """The manifest held it when it was last read."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Words for what looks wrong with its clip."""
        words = self.facts.get("warnings")
        return tuple(words) if isinstance(words, list) else ()


def batch_names() -> Script[list[BatchName]]:
    """Every batch of the queue, without its jobs."""
    rows = yield from ask("list_batches")
    return [BatchName(row["batch_id"], row["name"], row["manifest"], row["campaign"]) for row in rows]


@dataclass(frozen=True, slots=True)
class KnownClip:
    """Where a finished clip was put, and what it is."""

    batch: str
    key: str
    output: Path
    sha256: str
    size_bytes: int
    is_kept: bool
    """The provider has it still."""


def known_clips(
    fingerprints: Sequence[str], kept_since_ms: int, real_path: Callable[[str], Path]
) -> Script[dict[str, list[KnownClip]]]:
    """The finished clips of these requests under any name; whether their files stand is another question.

    Args:
        fingerprints: the requests.
        kept_since_ms: what was finished before this the provider has no longer.
        real_path: makes a path of what is stored.
    """
    found: dict[str, list[KnownClip]] = {}
    params = {"fingerprints": json.dumps(fingerprints), "count": TWINS, "kept_since_ms": kept_since_ms}
    for row in (yield from ask("clips_of_requests", **params)):
        output, is_kept = real_path(row["output_path"]), bool(row["is_kept"])
        clip = KnownClip(row["batch"], row["key"], output, row["file_sha256"], row["file_bytes"], is_kept)
        found.setdefault(row["fingerprint"], []).append(clip)
    return found


@dataclass(frozen=True, slots=True)
class Chosen:
    """How the jobs stand that a run was asked for."""

    counts: Mapping[JobState, int]
    warned: int
    put_off: int

    def are_well(self, count: int) -> bool:
        """All of so many are done, and nothing about their clips looks wrong. Another run may have taken some over."""
        return self.counts.get(JobState.DONE, 0) >= count and not self.warned

    @property
    def unknown(self) -> int:
        """Those of which only evidence can tell."""
        return self.counts.get(JobState.UNKNOWN, 0)

    @property
    def have_ended(self) -> bool:
        """Nothing more will happen to them in this run by itself, unless evidence comes for the unknown ones."""
        return sum(count for state, count in self.counts.items() if state in _GOES_ON) <= self.put_off


def chosen(batch_ids: Sequence[int], run_id: str, patience_ms: int) -> Script[Chosen]:
    """The jobs that a run was asked for, over some batches."""
    counts: Counter[JobState] = Counter()
    warned = put_off = 0
    for batch_id in batch_ids:
        for row in (yield from ask("chosen_states", batch_id=batch_id, run_id=run_id, patience_ms=patience_ms)):
            counts[JobState(row["state"])] += row["jobs"]
            warned += row["warned"]
            put_off += row["put_off"]
    return Chosen(counts, warned, put_off)


def living_runs(now_ms: int) -> Script[list[RunView]]:
    """The runs whose lease is alive."""
    rows = yield from ask("living_runs", now_ms=now_ms)
    return [RunView(run_id=row["run_id"], host=row["host"], pid=row["pid"], waiting=row["waiting"]) for row in rows]


def batch_views(now_ms: int, chosen_by: str | None = None) -> Script[list[BatchView]]:
    """Every batch of the queue; with `chosen_by` only the jobs that this run was asked for."""
    rows = yield from ask("list_batches")
    found: list[BatchView] = []
    for row in rows:
        of = {"batch_id": row["batch_id"], "chosen_by": chosen_by}
        counts = yield from ask("state_counts", **of)
        troubles = yield from ask("trouble_counts", generation=row["generation"], now_ms=now_ms, **of)
        not_fine = yield from ask("not_fine_jobs", count=MAX_NOT_FINE, **of)
        put_off = yield from ask("put_off_jobs", now_ms=now_ms, count=MAX_NOT_FINE, **of)
        warned = yield from _noted("warned_jobs", row["batch_id"])
        not_shown = yield from _noted("not_shown_jobs", row["batch_id"])
        view = BatchView(
            batch_id=row["batch_id"],
            name=row["name"],
            manifest=row["manifest"],
            campaign=row["campaign"],
            counts=_by_state(one for one in counts if one["generation"] == row["generation"]),
            troubles=_troubles(counts, troubles),
            removed=sum(one["jobs"] for one in counts if one["generation"] != row["generation"]),
            not_fine=tuple(map(_not_fine, not_fine)),
            put_off=tuple(map(_put_off, put_off)),
            warned=warned,
            not_shown=not_shown,
        )
        found.append(view)
    return found


def _noted(statement: str, batch_id: int) -> Script[NotedJobs]:
    """The finished jobs of a batch with something in a list of their clips' facts."""
    rows = yield from ask(statement, batch_id=batch_id, count=MAX_NOT_FINE)
    first = tuple(Noted(row["key"], tuple(json.loads(row["notes"]))) for row in rows)
    return NotedJobs(first, rows[0]["jobs"] if rows else 0)


def _by_state(counts: Iterable[Row]) -> Counter[JobState]:
    by_state: Counter[JobState] = Counter()
    for count in counts:
        by_state[JobState(count["state"])] += count["jobs"]
    return by_state


def _troubles(counts: Rows, reasons: Rows) -> Counter[tuple[JobState, str]]:
    """Jobs that are not fine, by state and kind; who needs a person and has no kind stands under the state's name."""
    troubles: Counter[tuple[JobState, str]] = Counter()
    for one in reasons:
        state = JobState(one["state"])
        waits = state in _GOES_ON and one["put_off"]
        if waits or state in NEEDS_PERSON or (state is JobState.FAILED and one["current"]):
            troubles[state, one["failure_kind"]] += one["jobs"]
    rest = _by_state(counts)
    rest.subtract(_by_state(reasons))
    for state in NEEDS_PERSON:
        troubles[state, state.value] += rest[state]
    return +troubles


def job_ids(batch_id: int, states: Iterable[JobState]) -> Script[Sequence[int]]:
    """The jobs of a batch in these states, in the manifest's order: eight bytes each."""
    row = yield from ask_one("ordered_jobs", batch_id=batch_id, states=json.dumps([*states]))
    return array("q", json.loads(row["job_ids"]) if row else ())


def job_views(ids: Sequence[int], real_path: Callable[[str], Path]) -> Script[list[JobView]]:
    """These jobs, in their order."""
    rows = yield from ask("list_jobs", job_ids=json.dumps([*ids]))
    return [_job_view(row, real_path) for row in rows]


def _not_fine(row: Row) -> NotFine:
    return NotFine(
        key=row["key"],
        state=JobState(row["state"]),
        kind=row["failure_kind"],
        message=row["failure_message"],
        prediction_id=row["prediction_id"],
        attempt_id=row["attempt_id"],
    )


def _put_off(row: Row) -> NotFine:
    return NotFine(
        key=row["key"],
        state=JobState(row["state"]),
        kind=row["failure_kind"],
        message=row["failure_message"],
        prediction_id=None,
        attempt_id=None,
    )


def _job_view(row: Row, real_path: Callable[[str], Path]) -> JobView:
    return JobView(
        key=row["key"],
        state=JobState(row["state"]),
        priority=row["priority"],
        tags=tuple(json.loads(row["tags"])),
        prompt=row["prompt"],
        duration_s=row["duration_s"],
        take=row["take"],
        output=real_path(row["output_path"]),
        size_bytes=row["file_bytes"],
        facts=json.loads(row["file_facts"] or "{}"),
        spent_usd_micros=row["spent_usd_micros"],
        kind=row["failure_kind"],
        message=row["failure_message"],
        prediction_id=row["prediction_id"],
        attempt_id=row["attempt_id"],
        submitted_ms=row["submitted_ms"],
        changed_ms=row["changed_ms"],
        current=bool(row["current"]),
    )
