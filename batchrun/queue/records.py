"""What the queue hands out: frozen values, no I/O."""

from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import NamedTuple

from batchrun.manifest.jobs import Checks
from batchrun.queue.states import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """To whom a queue belongs."""

    queue_id: str
    kind: str
    """`paid` or `preview`."""
    origin: str
    """Scheme, host and port of the provider's API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """What was asked for; immutable. The picture is a file with a digest, or a URL."""

    revision_id: int
    take: int
    model: str
    prompt: str
    negative_prompt: str
    guidance_hundredths: int
    duration_s: int
    image_path: Path | None
    image_url: str | None
    image_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A picture that lies at the provider for the attempt of this id."""

    attempt_id: str
    url: str
    uploaded_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The submit that a job is about now."""

    attempt_id: str
    prediction_id: str | None
    submitted_ms: int
    server_ahead_ms: int | None
    """The provider's clock less ours at that time, where it was known."""
    output_url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSubmit:
    """A submit whose prediction is not known (yet), or that was given up and may still turn up."""

    attempt_id: str
    batch: str
    key: str
    state: str
    submitted_ms: int
    send_by_ms: int
    answered_ms: int | None
    """When the wait for its answer was over."""
    server_ahead_ms: int | None
    """The provider's clock less ours at that time, where it was known."""
    image_url: str
    job_state: JobState
    message: str | None
    """Why nobody can tell what became of it, as far as somebody has looked."""
    revision: Revision


@dataclass(frozen=True, slots=True)
class KnownPrediction:
    """When a prediction of the queue was submitted, by our clock, and how far the provider's was ahead then."""

    submitted_ms: int
    ahead_ms: int | None
    image_url: str = ""
    """The picture's address that was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """How long one prediction took. A newer one of the same place, model and duration takes its row."""

    model: str
    duration_s: int
    place: int
    took_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeDue:
    """An attempt whose charge the provider's billing has not been asked about yet."""

    attempt_id: str
    prediction_id: str
    completed: bool
    finished_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LateAttempt:
    """A prediction that was given up and exists, while its job has moved on: its clip is kept apart."""

    attempt_id: str
    prediction_id: str
    submitted_ms: int
    server_ahead_ms: int | None
    batch: str
    key: str
    duration_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LateCharge:
    """A submit that was given up and was charged all the same."""

    attempt_id: str
    prediction_id: str
    batch: str
    key: str
    state: str


@dataclass(frozen=True, slots=True)
class KnownPicture:
    """A local picture of the queue: digest, where it lies now, and how many different requests use it."""

    sha256: str
    path: Path
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundDue:
    """A failed attempt whose money has not come back yet."""

    attempt_id: str
    batch_id: int
    prediction_id: str
    amount_usd_micros: int
    failed_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One claimed job, as it stood when it was read."""

    job_id: int
    batch_id: int
    batch: str
    key: str
    state: JobState
    priority: int
    price_usd_micros: int
    output: Path
    file_sha256: str | None
    """Set while downloading: the checked part file that only needs its final name."""
    placed_sha256: str | None
    """What this queue has put under `output` before."""
    failed_attempts: int
    """Attempts that failed with this very fingerprint."""
    checks: Checks
    """How closely its clip is looked at, as the manifest said when it was last read."""
    revision: Revision
    attempt: Attempt | None
    upload: Upload | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyFile:
    """A whole, checked clip that has not got its name yet."""

    sha256: str
    size_bytes: int
    facts: str
    """What was read from it, as JSON."""


class KnownJob(NamedTuple):
    """What the queue knows of a job of the manifest, for the plan. A tuple: a million of them are made."""

    job_id: int
    state: JobState
    revision_id: int
    take: int
    fingerprint: str
    prompt: str
    image_sha256: str | None
    image_url: str | None
    output: str
    """The path of its video, absolute."""
    failure_kind: str | None
    failure_message: str | None
    failed_attempts: int
    """Attempts that failed with this very fingerprint."""
    output_url: str | None
    completed_ms: int | None
    """When the provider finished the clip that the job has or had."""
    has_clip: bool
    """One was put under `output`, whatever has become of the job since."""
    is_copy: bool
    """The clip that it has was bought for another job."""
    handed_over: bool
    """It had left its manifest, and what stands under `output` is another job's by now."""
    unagreed: bool
    """It waits to get another clip beside one that it has; the run that was allowed to buy it has ended without."""


@dataclass(frozen=True, slots=True)
class KnownBatch:
    """What the queue knows of a batch; of a new one nothing."""

    batch_id: int | None = None
    manifest: Path | None = None
    """The manifest that it was last read from."""
    generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose money a cap looks at: the fields that are not None must agree with a ledger row's."""

    batch_id: int | None = None
    campaign: str | None = None
    day: str | None = None
    """A calendar day; of a cap any word will do, the day of the reserve takes its place."""
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """One limit on spending."""

    name: str
    """The key that a person would change: `budget`, `daily_budget`, `campaign spring`, `--max-spend` …"""
    scope: Scope
    limit_usd_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What is settled and what is held (reserved, unknown, refund due) in one scope."""

    held_usd_micros: int = 0
    spent_usd_micros: int = 0

    @property
    def committed_usd_micros(self) -> int:
        """What a cap counts."""
        return self.held_usd_micros + self.spent_usd_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitRequest:
    """A job that is ready to be bought, under all its caps."""

    job_id: int
    batch_id: int
    revision_id: int
    attempt_id: str
    price_usd_micros: int
    image_url: str
    priority: int
    caps: tuple[Cap, ...]
    zone: tzinfo
    """Where the calendar days of the daily caps begin and end."""
    start_by_ms: int | None = None
    """Too late after it: the clip would most likely not be ready in time."""
    caps_read: str | None = None
    """What the manifest said of money when this run read it (`Caps.as_text`)."""
    spurned: frozenset[int] = frozenset()
    """Jobs whose finished clip is gone and may be made again: it costs nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How many may run and start; counted over all processes of the queue."""

    concurrency: int
    per_minute: int
    max_unknown: int
    stuck_after_ms: int
    send_within_s: float
    """A POST leaves this soon after its intent is written, or not at all."""
    slots: int | None = None
    """How many of `concurrency` are used just now; None for all."""
    settle_ms: int = 0
    """How long evidence about a submit of unknown outcome takes; the pauses between witnesses follow it."""


@dataclass(frozen=True, slots=True)
class Started:
    """The intent is on disk, the money reserved: the POST may leave, until `send_by_boot_s` on the boot clock."""

    attempt_id: str
    send_by_boot_s: float


@dataclass(frozen=True, slots=True)
class CapReached:
    """The price does not fit under this cap."""

    cap: Cap
    left_usd_micros: int
    """Negative where more is spent than the cap says today: it was lowered."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """No slot or no start is free; try again at `retry_ms`, or when a slot is given back."""

    why: str
    retry_ms: int | None


@dataclass(frozen=True, slots=True)
class TooManyUnknown:
    """So many submits have an unknown outcome that nothing new may be bought."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """What became of the very same request under a job's name: a clip, a failure, or it is under way."""

    job_id: int
    batch: str
    key: str
    output: Path
    clip_sha256: str | None = None
    """Set when it has a clip."""
    size_bytes: int | None = None
    facts: str | None = None
    failure_kind: str | None = None
    """Set when it has failed."""
    failure_message: str = ""
    failed_attempts: int = 0
    """Of this request, under all names."""
    not_before_ms: int | None = None
    """When its clip is gone on with; None when only a person or evidence can settle it."""


@dataclass(frozen=True, slots=True)
class TwinFirst:
    """The very same request has ended or is under way under another name: look at it first."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The job is no longer ours to start."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The run buys nothing more: it is being stopped, or halted."""


@dataclass(frozen=True, slots=True)
class Missed:
    """Started now it would most likely not be ready in time."""


@dataclass(frozen=True, slots=True)
class CapsChanged:
    """Another run has read other budgets in the manifest: what this one knows of them is too old to buy by."""


SubmitDecision = Missed | Started | CapReached | CapsChanged | NotYet | TooManyUnknown | TwinFirst | Gone | Closed
