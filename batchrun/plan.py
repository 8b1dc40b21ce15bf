"""The manifest against the queue: what would run, and why. Decisions only; the queue carries them out (`queue.intake`)."""

import heapq
import os
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from batchrun.errors import QueueError
from batchrun.files import where_missing
from batchrun.manifest.jobs import MAX_ATTEMPTS, JobSpec
from batchrun.manifest.spool import Spool
from batchrun.queue.failures import NOTHING_BOUGHT, PERSON_KINDS, FailureKind, may_try_again
from batchrun.queue.intake import Intake, Move
from batchrun.queue.records import KnownJob
from batchrun.queue.states import NEEDS_PERSON, PAID_FOR, JobState

RETENTION_MS = 7 * 86_400_000
"""How long the provider keeps outputs (docs: what-are-predictions)."""


class Reason(StrEnum):
    """Why a job will be worked on, or not."""

    NEW = "new"
    PROMPT_CHANGED = "prompt changed"
    PICTURE_CHANGED = "picture changed"
    SETTINGS_CHANGED = "settings changed"
    WAITING = "waiting"
    """Queued by an earlier run and not bought yet."""
    IN_FLIGHT = "in flight"
    """Paid for: it only needs to be collected."""
    CHANGED_IN_FLIGHT = "changed in flight"
    """The clip of the old text is paid for and collected first."""
    OUTPUT_MISSING = "output missing"
    """The file is gone and is fetched again from the provider, or copied again: free."""
    OUTPUT_LOST = "output lost"
    """The file is gone, here and at the provider: only a person can ask for a new take."""
    CLIP_GONE = "bought, its clip is gone"
    """The very same clip was bought under some name, and is gone here and at the provider: only a person can ask for another."""
    MADE_AGAIN = "output missing, made again"
    """The file of a preview is gone; another one costs nothing."""
    TRY_AGAIN = "failed before, tried again"
    FAILED_BEFORE = "failed before"
    NEEDS_PERSON = "needs a person"
    NOT_ASKED = "changed, not asked for"
    """Its clip stands, and this run is asked for other jobs."""
    NOT_AGREED = "changed, waits for consent"
    """Its clip stands; buying another one for its new inputs is more than a run does unasked."""
    CANCELLED = "cancelled"
    UP_TO_DATE = "up to date"


CHANGES = frozenset({Reason.PROMPT_CHANGED, Reason.PICTURE_CHANGED, Reason.SETTINGS_CHANGED})
"""What is asked for is not what it was."""
BUYS = CHANGES | {Reason.NEW, Reason.WAITING, Reason.TRY_AGAIN, Reason.MADE_AGAIN}
"""Reasons for which money is spent."""


_STAND = frozenset({Reason.NOT_AGREED, Reason.NOT_ASKED})
_LEFT = _STAND | {Reason.CANCELLED}
_FAILED = frozenset({Reason.FAILED_BEFORE, Reason.NEEDS_PERSON, Reason.TRY_AGAIN})


class Known(NamedTuple):
    """What a plan keeps of a job that the queue knows."""

    job_id: int
    revision_id: int
    take: int
    is_done: bool
    has_clip: bool
    """Also while it waits for another one, or could not get it."""
    is_changed: bool
    """The manifest asks for something else than the queue."""
    unagreed: bool
    """It waits to get another clip beside one that it has, and the run that was allowed to buy it has ended without."""
    was: str = ""
    """Its prompt, where that has changed; why it failed, where it has."""


class Planned(NamedTuple):
    """One job of the manifest and what is to happen with it."""

    spec: JobSpec
    reason: Reason
    known: Known | None

    @property
    def is_rerun(self) -> bool:
        """Whether a job that has a clip would get another one, and nobody has agreed to that yet."""
        if self.known is None:
            return False
        return (self.reason in CHANGES and self.known.has_clip) or (
            self.reason in (Reason.WAITING, Reason.TRY_AGAIN) and self.known.unagreed
        )

    @property
    def goes_on(self) -> bool:
        """Its other clip was bought by a run that was allowed to; should the attempt fail, the next run may try again."""
        return self.reason is Reason.IN_FLIGHT and self.known is not None and self.known.unagreed

    @property
    def was_done(self) -> bool:
        """Whether its clip is there, and stays."""
        is_done = self.known is not None and self.known.is_done
        return self.reason in (Reason.UP_TO_DATE, Reason.OUTPUT_LOST) or (self.reason in _STAND and is_done)


class Plan(Spool[Planned]):
    """What is to happen with every job of a manifest, in its order, and the sums of it."""

    def __init__(self, planned: Iterable[Planned] = ()) -> None:
        self.counts: Counter[Reason] = Counter()
        self.reruns = 0
        self.were_done = 0
        self.not_agreed = 0
        """Of those that were done: whose new inputs nobody has agreed to buy."""
        self.cheapest_usd_micros: int | None = None
        super().__init__(planned)

    def append(self, planned: Planned) -> None:
        """Add a job."""
        self.counts[planned.reason] += 1
        self.reruns += planned.is_rerun
        self.were_done += planned.was_done
        self.not_agreed += planned.was_done and planned.reason is Reason.NOT_AGREED
        price = planned.spec.price_usd_micros
        if self.cheapest_usd_micros is None or price < self.cheapest_usd_micros:
            self.cheapest_usd_micros = price
        super().append(planned)


def decide(
    spec: JobSpec, known: KnownJob | None, *, file_stands: bool, now_ms: int, max_attempts: int = MAX_ATTEMPTS
) -> Reason:
    """Why (and so whether) a job runs.

    Args:
        spec: the job as the manifest has it now.
        known: what the queue knows of it.
        file_stands: whether a file stands under the output that the queue knows.
        now_ms: the present, for the provider's retention.
        max_attempts: how often a request may be bought that fails for a passing reason.
    """
    if known is None:
        return Reason.NEW
    if known.state is JobState.CANCELLED:
        return Reason.CANCELLED  # whatever it asks for by now: a person took it out, and only a person takes it back
    if known.fingerprint != spec.fingerprint:
        in_flight = known.state in PAID_FOR or known.state is JobState.PARKED
        return Reason.CHANGED_IN_FLIGHT if in_flight else _what_changed(spec, known)
    if known.state in NEEDS_PERSON - PAID_FOR:
        return Reason.NEEDS_PERSON
    if known.state in PAID_FOR:
        return Reason.IN_FLIGHT
    match known.state:
        case JobState.QUEUED:
            return Reason.WAITING
        case JobState.FAILED:
            return _after_failure(known, max_attempts, file_stands=file_stands)
        case _:
            return Reason.UP_TO_DATE if file_stands else _missing(known, now_ms)


def _what_changed(spec: JobSpec, known: KnownJob) -> Reason:
    if (spec.image_sha256, spec.image_url) != (known.image_sha256, known.image_url):
        return Reason.PICTURE_CHANGED
    return Reason.PROMPT_CHANGED if spec.prompt != known.prompt else Reason.SETTINGS_CHANGED


def _after_failure(known: KnownJob, max_attempts: int, *, file_stands: bool) -> Reason:
    kind = known.failure_kind or ""
    if kind == FailureKind.OUTPUT_OCCUPIED:
        return Reason.NEEDS_PERSON if file_stands else Reason.TRY_AGAIN
    # Nothing was bought for these: the picture has just passed the manifest's check, the twin may pass by now, or its file
    # may be back.
    if kind in (*NOTHING_BOUGHT, FailureKind.PICTURE_UNUSABLE, FailureKind.REJECTED_TWIN, FailureKind.CLIP_GONE):
        return Reason.TRY_AGAIN
    if may_try_again(kind, known.failed_attempts, max_attempts):
        return Reason.TRY_AGAIN
    return Reason.NEEDS_PERSON if kind in PERSON_KINDS else Reason.FAILED_BEFORE


def _missing(known: KnownJob, now_ms: int) -> Reason:
    kept = known.output_url is not None and now_ms - (known.completed_ms or 0) < RETENTION_MS
    return Reason.OUTPUT_MISSING if kept or known.is_copy or known.handed_over else Reason.OUTPUT_LOST


def make_plan(
    specs: Iterable[JobSpec],
    known: Mapping[str, KnownJob],
    now_ms: int,
    stands: Callable[[str], bool] = os.path.exists,
    max_attempts: int = MAX_ATTEMPTS,
    *,
    is_free: bool = False,
) -> list[Planned]:
    """What is to happen with these jobs of a manifest. With `is_free`, of previews, what is gone is made again."""
    plan: list[Planned] = []
    for spec in specs:
        job = known.get(spec.key)
        file_stands = job is not None and not job.handed_over and stands(job.output)
        reason = decide(spec, job, file_stands=file_stands, now_ms=now_ms, max_attempts=max_attempts)
        if is_free and reason in (Reason.OUTPUT_MISSING, Reason.OUTPUT_LOST):
            reason = Reason.MADE_AGAIN
        plan.append(Planned(spec, reason, _kept(spec, job, reason) if job else None))
    return plan


def _kept(spec: JobSpec, job: KnownJob, reason: Reason) -> Known:
    was = job.prompt if reason is Reason.PROMPT_CHANGED else ""
    if reason in _FAILED:
        was = job.failure_message or ""
    is_done, is_changed = job.state is JobState.DONE, job.fingerprint != spec.fingerprint
    return Known(job.job_id, job.revision_id, job.take, is_done, job.has_clip, is_changed, job.unagreed, was)


def check_folders(finished: Mapping[Path, int], stands: Callable[[Path], bool] = Path.exists) -> None:
    """The folders of finished clips, with how many are in each, must be there; that of a single clip may have been deleted.

    Raises:
        QueueError: one is gone, as when a disk is not mounted.
    """
    missing = [folder for folder in finished if not stands(folder)]
    if not missing:
        return
    kept = {above for folder in {*finished}.difference(missing) for above in folder.parents}
    # Of a folder with one clip nobody can tell whether the clip was deleted or its folder; with several it is gone.
    gone = [one for one in missing if finished[one] > 1 or not _was_deleted(*where_missing(one, stands), kept)]
    if gone:
        count = sum(finished[folder] for folder in gone)
        more = f" (and {len(gone) - 1:,} more folders)" if len(gone) > 1 else ""
        raise QueueError(
            f"the folder {gone[0]}{more} is gone, and {count:,} finished clips were in it. Mount the disk again, or put a "
            "link in its place to where it is now; or make the folder anew to have the clips fetched again while the "
            "provider still keeps them"
        )


def _was_deleted(above: Path, missing: Path, kept: Container[Path]) -> bool:
    """As when a product has left the shop: folders of other clips stand in the same place. A link that leads nowhere was not."""
    return above in kept and not missing.is_symlink()


@dataclass(frozen=True, slots=True)
class Selection:
    """Which jobs of the manifests a run is asked for; empty asks for all."""

    only: tuple[str, ...] = ()
    """Ids, with * and ? as in file names."""
    tags: tuple[str, ...] = ()
    limit: int | None = None
    """At most so many are bought: the highest priorities, then the manifests' order."""

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return not self.only and not self.tags and self.limit is None

    def takes(self, spec: JobSpec) -> bool:
        """Whether the job's name and tags are asked for."""
        named = not self.only or any(fnmatchcase(spec.key, pattern) for pattern in self.only)
        return named and (not self.tags or bool({*self.tags} & {*spec.tags}))


@dataclass(frozen=True, slots=True)
class _Taken:
    """Those of a plan that are asked for; looked for anew at each pass."""

    plan: Iterable[Planned]
    selection: Selection

    def __iter__(self) -> Iterator[Planned]:
        return (one for one in self.plan if self.selection.takes(one.spec))


def select(plans: Mapping[str, Iterable[Planned]], selection: Selection) -> dict[str, Iterable[Planned]]:
    """The jobs of each batch that are asked for; with a limit only those that would be bought."""
    found: dict[str, Iterable[Planned]] = {name: _Taken(plan, selection) for name, plan in plans.items()}
    if selection.limit is None:
        return found
    order = (
        ((-one.spec.priority, at, one.spec.position), name, one)
        for at, (name, plan) in enumerate(found.items())
        for one in plan
        if one.reason in BUYS
    )
    kept: dict[str, list[Planned]] = {name: [] for name in found}
    for _, name, one in heapq.nsmallest(selection.limit, order, key=lambda item: item[0]):
        kept[name].append(one)
    return dict(kept)


_MOVE = {
    **dict.fromkeys(CHANGES, Move.REVISE),
    Reason.MADE_AGAIN: Move.REVISE,
    Reason.TRY_AGAIN: Move.RETRY,
    Reason.OUTPUT_MISSING: Move.REFETCH,
    Reason.CHANGED_IN_FLIGHT: Move.OUTDATE,
    Reason.NEW: Move.ADD,
}


def intakes(plan: Iterable[Planned]) -> Iterator[Intake]:
    """The plan as the queue's moves."""
    for one in plan:
        spec, reason, known = one
        move = _MOVE.get(reason, Move.KEEP)
        if reason in _LEFT and known is not None and known.is_changed and not known.is_done:
            move = Move.OUTDATE  # it may be waiting, or be taken back: what it asked for before is not bought either
        if known is None:
            yield Intake(spec, move)
        else:
            take, is_allowed = 1 if reason in CHANGES else known.take, one.is_rerun or one.goes_on
            yield Intake(spec, move, known.job_id, known.revision_id, take, is_allowed)
