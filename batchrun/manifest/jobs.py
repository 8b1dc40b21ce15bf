"""What a manifest says once it is read and checked: frozen values, everything filled in, money in micro-dollars."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from datetime import tzinfo
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from batchrun.errors import Problem
from batchrun.manifest.fingerprint import FINGERPRINT_VERSION
from batchrun.manifest.pictures import Picture

MAX_ATTEMPTS = 3
MAX_CLIP_MB = 2048
"""A larger clip is not downloaded, unless the manifest says so."""
ID_MARK = "\0"
"""Stands for the id in a path: no path can hold it."""


class Checks(StrEnum):
    """How closely a downloaded clip is looked at before its job is done. Not part of what would be sent."""

    QUICK = "quick"
    """The file is whole by its boxes, and its header says what was bought."""
    FULL = "full"
    """Every frame is decoded; what looks wrong is a warning."""
    STRICT = "strict"
    """The same, and a clip with a warning is rejected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How fast and how carefully. Times in seconds, money in micro-dollars."""

    concurrency: int
    """Predictions that run at the provider at once, over all processes of the queue."""
    per_minute: int
    """Submissions in any 60 seconds, over all processes of the queue."""
    poll_s: float = 5.0
    """Two checks of one prediction are at least this far apart."""
    settle_s: float = 300.0
    """How long the evidence about an unknown submit is given before absence may be concluded."""
    stuck_after_s: float = 3600.0
    """A prediction older than this is shown as stuck and gives its slot back; its money stays held."""
    max_unknown: int = 5
    """Above this many unknown attempts in the queue nothing new is submitted."""
    confirm_rerun_above_usd_micros: int | None = None
    """Finished clips are bought anew for changed inputs up to this price unasked; None: see `run.consent`."""
    max_attempts: int = MAX_ATTEMPTS
    """How often one request may be bought that fails for a passing reason, for ever."""
    max_clip_bytes: int = MAX_CLIP_MB * 1_000_000
    """A larger clip is not downloaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """How much may be spent. None is no such cap; money in micro-dollars."""

    budget_usd_micros: int | None = None
    """This batch, for ever."""
    daily_budget_usd_micros: int | None = None
    """This batch, a calendar day in `zone`."""
    campaign: str | None = None
    campaign_budget_usd_micros: int | None = None
    """Every manifest of the queue that names the campaign, for ever."""
    campaign_daily_budget_usd_micros: int | None = None
    keep_balance_usd_micros: int | None = None
    """Best effort: others may spend from the same account."""
    unlimited: bool = False
    """`budget: none` was written on purpose."""
    zone: tzinfo = field(default_factory=lambda: ZoneInfo("UTC"))

    @property
    def as_text(self) -> str:
        """All of it, to be compared with another reading."""
        return json.dumps({one.name: getattr(self, one.name) for one in fields(self)}, default=str)

    @property
    def any(self) -> bool:
        """Whether something bounds the spending, or a person said that nothing shall."""
        bounds = (
            self.budget_usd_micros,
            self.daily_budget_usd_micros,
            self.campaign_budget_usd_micros,
            self.campaign_daily_budget_usd_micros,
        )
        return self.unlimited or any(bound is not None for bound in bounds)


class JobSpec(NamedTuple):
    """One video to make. A tuple: a frozen dataclass is written and read back five times slower, a million times."""

    key: str
    """The job's id in the manifest."""
    position: int
    prompt: str
    negative_prompt: str
    guidance_hundredths: int
    duration_s: int
    image_path: Path | None
    """A local picture, absolute; None when the picture is a URL."""
    image_url: str | None
    picture: Picture | None
    """The facts of the local picture."""
    priority: int
    tags: tuple[str, ...]
    output_pattern: str
    """Where the videos of the batch go, absolute, with `ID_MARK` for the id: one text for a million jobs."""
    price_usd_micros: int
    """The highest price at which this job may be bought."""
    model: str
    fingerprint: str
    """The digest of what would be sent, in version `fp_version`: made once, asked for in each pass."""

    @property
    def output(self) -> Path:
        """Where the video goes, absolute."""
        return Path(self.output_pattern.replace(ID_MARK, self.key))

    @property
    def image_sha256(self) -> str | None:
        """The digest of the local picture."""
        return self.picture.sha256 if self.picture else None

    @property
    def fp_version(self) -> int:
        """The rule by which `fingerprint` was made."""
        return FINGERPRINT_VERSION


@dataclass(frozen=True, slots=True)
class SkippedRows:
    """Rows of sources that are left out because they are wrong (`on_invalid: skip`)."""

    count: int = 0
    problems: tuple[Problem, ...] = ()
    """What is wrong with them, up to a bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One manifest, read and checked as a whole."""

    path: Path
    """The manifest, absolute."""
    name: str
    model: str
    limits: Limits
    caps: Caps
    jobs: Sequence[JobSpec]
    """In the manifest's order; of a large one each pass reads them anew from a file (`Spool`)."""
    checks: Checks = Checks.FULL
    sidecar: bool = True
    """Put a JSON file beside each video that says what it is."""
    warnings: tuple[str, ...] = ()
    skipped: SkippedRows = SkippedRows()
    changed: Callable[[], str | None] = field(default=lambda: None, compare=False, repr=False)
    """A file of this reading that is no longer as it was read, as shown. Blocks."""

    @property
    def worst_price_usd_micros(self) -> int:
        """What every job of the manifest would cost together. A pass over all of them."""
        return sum(job.price_usd_micros for job in self.jobs)

    @property
    def output_folder(self) -> Path:
        """The innermost folder that is the same for every job."""
        return Path(self.jobs[0].output_pattern.partition(ID_MARK)[0] + ID_MARK).parent
