"""The manifest against the queue: what would run, and why. Decisions only; the queue carries them out (`queue.intake`)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

from batchrun.errors import QueueError
from batchrun.manifest.jobs import MAX_ATTEMPTS, JobSpec
from batchrun.queue.failures import NOTHING_BOUGHT, PERSON_KINDS, FailureKind, may_try_again
from batchrun.queue.intake import Intake
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
    """The file is gone and is fetched again from the provider: free."""
    OUTPUT_LOST = "output lost"
    """The file is gone, here and at the provider: only a person can ask for a new take."""
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


@dataclass(frozen=True, slots=True)
class Planned:
    """One job of the manifest and what is to happen with it."""

    spec: JobSpec
    reason: Reason
    known: KnownJob | None


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
        case JobState.CANCELLED:
            return Reason.CANCELLED
        case _:
            return Reason.UP_TO_DATE if file_stands else _missing(known, now_ms)


def _what_changed(spec: JobSpec, known: KnownJob) -> Reason:
    new, old = spec.content, known.revision
    if (new.image_sha256, new.image_url) != (old.image_sha256, old.image_url):
        return Reason.PICTURE_CHANGED
    return Reason.PROMPT_CHANGED if new.prompt != old.prompt else Reason.SETTINGS_CHANGED


def _after_failure(known: KnownJob, max_attempts: int, *, file_stands: bool) -> Reason:
    kind = known.failure_kind or ""
    if kind == FailureKind.OUTPUT_OCCUPIED:
        return Reason.NEEDS_PERSON if file_stands else Reason.TRY_AGAIN
    # Nothing was bought for these: the picture has just passed the manifest's check, and the twin may pass by now.
    if kind in (*NOTHING_BOUGHT, FailureKind.PICTURE_UNUSABLE, FailureKind.REJECTED_TWIN):
        return Reason.TRY_AGAIN
    if may_try_again(kind, known.failed_attempts, max_attempts):
        return Reason.TRY_AGAIN
    return Reason.NEEDS_PERSON if kind in PERSON_KINDS else Reason.FAILED_BEFORE


def _missing(known: KnownJob, now_ms: int) -> Reason:
    kept = known.output_url is not None and now_ms - (known.completed_ms or 0) < RETENTION_MS
    return Reason.OUTPUT_MISSING if kept else Reason.OUTPUT_LOST


def make_plan(
    specs: Sequence[JobSpec],
    known: Mapping[str, KnownJob],
    now_ms: int,
    stands: Callable[[Path], bool] = Path.exists,
    max_attempts: int = MAX_ATTEMPTS,
    *,
    is_free: bool = False,
) -> list[Planned]:
    """What is to happen with every job of a manifest. With `is_free`, of previews, what is gone is made again.

    Raises:
        QueueError: the folder of finished clips is gone, as when a disk is not mounted.
    """
    if not is_free:
        _check_folders(known.values(), stands)
    plan: list[Planned] = []
    for spec in specs:
        job = known.get(spec.key)
        file_stands = job is not None and stands(job.output)
        reason = decide(spec, job, file_stands=file_stands, now_ms=now_ms, max_attempts=max_attempts)
        if is_free and reason in (Reason.OUTPUT_MISSING, Reason.OUTPUT_LOST):
            reason = Reason.MADE_AGAIN
        plan.append(Planned(spec, reason, job))
    return plan


def _check_folders(known: Iterable[KnownJob], stands: Callable[[Path], bool]) -> None:
    finished = [job for job in known if job.state is JobState.DONE]
    for folder in {job.output.parent for job in finished}:
        if not stands(folder):
            count = sum(job.output.parent == folder for job in finished)
            raise QueueError(
                f"the folder {folder} is gone, and {count} finished clips were in it. Mount the disk again; or make the "
                "folder anew to have the clips fetched again while the provider still keeps them"
            )


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


def select(plans: Mapping[str, Sequence[Planned]], selection: Selection) -> dict[str, list[Planned]]:
    """The jobs of each batch that are asked for; with a limit only those that would be bought."""
    found = {name: [one for one in plan if selection.takes(one.spec)] for name, plan in plans.items()}
    if selection.limit is None:
        return found
    order = [
        (-one.spec.priority, at, one.spec.position, name, one)
        for at, (name, plan) in enumerate(found.items())
        for one in plan
        if one.reason in BUYS
    ]
    kept: dict[str, list[Planned]] = {name: [] for name in found}
    for *_, name, one in sorted(order, key=lambda item: item[:3])[: selection.limit]:
        kept[name].append(one)
    return kept


def intakes(plan: Sequence[Planned], stored_path: Callable[[Path], str]) -> list[Intake]:
    """The plan as the queue's moves."""
    return [_intake(planned, stored_path) for planned in plan]


def _intake(planned: Planned, stored_path: Callable[[Path], str]) -> Intake:
    spec, known, reason = planned.spec, planned.known, planned.reason
    return Intake(
        spec=spec,
        stored_output=stored_path(spec.output),
        stored_image=stored_path(spec.image_path) if spec.image_path else None,
        job_id=known.job_id if known else None,
        old_revision_id=known.revision.revision_id if known else None,
        revise=reason in CHANGES or reason is Reason.MADE_AGAIN,
        retry=reason is Reason.TRY_AGAIN,
        refetch=reason is Reason.OUTPUT_MISSING,
        outdated=reason is Reason.CHANGED_IN_FLIGHT,
        take=known.revision.take if known and reason not in CHANGES else 1,
    )
