"""A manifest file to a `Batch`: every problem of the whole file and its sources at once, before anything is spent."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from batchrun.errors import ManifestError, Problem
from batchrun.manifest.catalogue import models, tiers
from batchrun.manifest.collected import Collected, EntryPlace, Skips
from batchrun.manifest.digests import DigestCache, PictureReader
from batchrun.manifest.document import JobPart, LimitsPart, ManifestPart, SourcePart
from batchrun.manifest.entries import Entry, JobMaker, Rules
from batchrun.manifest.fingerprint import normal_text
from batchrun.manifest.jobs import Batch, Caps, Checks, JobSpec, Limits, SkippedRows
from batchrun.manifest.names import check_name
from batchrun.manifest.output import output_pattern
from batchrun.manifest.pictures import facts_of
from batchrun.manifest.problems import Problems
from batchrun.manifest.salvage import salvage, wrong_keys
from batchrun.manifest.sources import Sources, Watch
from batchrun.manifest.yamltext import Loc, Node, Plain, read_yaml

POLL_FLOOR_S = 5.0
SETTLE_FLOOR_S = 300.0
DEFAULT_CONCURRENCY = 2
DEFAULT_PER_MINUTE = 2
READS = 4
"""How often a manifest is read whose files change meanwhile."""
_JOB_STAND_INS: Mapping[str, Plain] = {"image": "-", "prompt": "-"}
_SOURCE_STAND_INS: Mapping[str, Plain] = {"from": "-", "prompt": "-"}


def load_manifest(path: Path, *, fast: bool = False, previews: bool = False, cache: DigestCache | None = None) -> Batch:
    """Read and check a manifest and its sources, as they are at one moment.

    Args:
        path: the YAML file.
        fast: the provider is on this machine, so `poll` and `settle` may be shorter than its published floors, and
            pictures may be fetched from this machine, also by http.
        previews: put the outputs into the previews' folder instead of the one for paid clips.
        cache: what is known of pictures from earlier readings.

    Raises:
        ManifestError: with all problems.
    """
    shown = os.fspath(path)
    changed: str | None = None
    for _ in range(READS):
        watch = Watch()
        watch.add(path, shown, facts_of(path))
        try:
            batch = _load(path, watch, cache, fast=fast, previews=previews)
        except ManifestError:
            if (changed := watch.changed()) is None:
                raise
        else:
            if (changed := watch.changed()) is None:
                return batch
    raise ManifestError([Problem(changed or shown, 0, 0, "", "changes while it is read; run again when it is written")])


def _load(path: Path, watch: Watch, cache: DigestCache | None, *, fast: bool, previews: bool) -> Batch:
    shown = os.fspath(path)
    noted: list[Problem] = []
    root = read_yaml(path, shown, noted)
    problems = Problems(shown, root)
    for problem in noted:
        problems.note(problem)
    document = _document(root, problems)
    reading = _Reading(path.resolve(), document, problems, watch, previews=previews)
    limits, caps = reading.limits(fast=fast), _caps(document)
    # A preview takes no picture's address that the paid run will not take.
    jobs = reading.jobs(cache, is_local=fast and not previews)
    problems.raise_if_any()
    return Batch(
        path=reading.path,
        name=reading.name,
        model=document.model,
        limits=limits,
        caps=caps,
        jobs=jobs,
        checks=Checks(document.checks),
        sidecar=document.sidecar,
        warnings=reading.rules.all_warnings(),
        skipped=reading.skips.rows() if reading.skips else SkippedRows(),
        changed=watch.changed,
    )


def _document(root: Node, problems: Problems) -> ManifestPart:
    """The manifest's shape. What is wrong is noted and left out, so that the rest can still be checked."""
    plain = root.plain()
    assert isinstance(plain, dict)  # noqa: S101  # read_yaml lets nothing else through
    try:
        document = ManifestPart.model_validate(plain)
    except ValidationError as error:
        problems.add_all(error, (), ManifestPart)
        document = salvage(ManifestPart, plain, error, {"version": "1", "jobs": [None]})
    jobs = root.value.get("jobs") if isinstance(root.value, dict) else None
    nodes = jobs.value if jobs is not None and isinstance(jobs.value, list) else []
    parts = [part for at, node in enumerate(nodes) if (part := _job_part(at, node, problems))]
    return document.model_copy(update={"jobs": parts})


class _EntryPart(NamedTuple):
    """One of `jobs:` by its shape."""

    at: int
    part: JobPart | SourcePart
    wrong: frozenset[str] = frozenset()
    """The keys whose values are wrong or missing, which is said already: what stands for them in `part` says nothing."""


def _job_part(at: int, node: Node, problems: Problems) -> _EntryPart | None:
    loc: Loc = ("jobs", at)
    plain = node.plain()
    is_source = isinstance(plain, dict) and "from" in plain
    try:
        return _EntryPart(at, (SourcePart if is_source else JobPart).model_validate(plain))
    except ValidationError as error:
        if is_source:
            problems.add_all(error, loc, SourcePart)
        else:
            problems.add_all(error, loc, JobPart, "from")
        if not isinstance(plain, dict):
            return None
        part = (
            salvage(SourcePart, plain, error, _SOURCE_STAND_INS)
            if is_source
            else salvage(JobPart, plain, error, _JOB_STAND_INS)
        )
        return _EntryPart(at, part, wrong_keys(error))


def _caps(document: ManifestPart) -> Caps:
    limits, campaign = document.limits, document.campaign
    unlimited = limits.budget == "none"
    return Caps(
        budget_usd_micros=limits.budget if isinstance(limits.budget, int) else None,
        daily_budget_usd_micros=limits.daily_budget,
        campaign=campaign.name if campaign else None,
        campaign_budget_usd_micros=campaign.budget if campaign else None,
        campaign_daily_budget_usd_micros=campaign.daily_budget if campaign else None,
        keep_balance_usd_micros=limits.keep_balance,
        unlimited=unlimited,
        zone=ZoneInfo(limits.timezone),
    )


class _Reading:
    """The checks that need two values, the file system or the model's data."""

    def __init__(self, path: Path, document: ManifestPart, problems: Problems, watch: Watch, *, previews: bool) -> None:
        self.path = path
        self.document = document
        self.problems = problems
        self.watch = watch
        self.previews = previews
        self.rules = Rules(models()[document.model])
        self.skips = Skips() if document.on_invalid == "skip" else None
        self.name = document.name or self._name_of_file()

    def _name_of_file(self) -> str:
        try:
            return check_name(self.path.stem)
        except ValueError as error:
            self.problems.add((), f"the file's name cannot be the batch's name: {error}; add `name:`")
            return "batch"

    def limits(self, *, fast: bool) -> Limits:
        """The numbers, with tier and floors applied."""
        part = self.document.limits
        tier = tiers().get(part.tier or "")
        if not fast:
            self._floor("poll", part.poll, POLL_FLOOR_S)
            self._floor("settle", part.settle, SETTLE_FLOOR_S)
        self._check_max_price(part)
        return Limits(
            concurrency=part.concurrency or (tier.concurrency if tier else DEFAULT_CONCURRENCY),
            per_minute=part.per_minute or (tier.per_minute if tier else DEFAULT_PER_MINUTE),
            poll_s=part.poll,
            settle_s=part.settle,
            stuck_after_s=part.stuck_after,
            max_unknown=part.max_unknown,
            confirm_rerun_above_usd_micros=part.confirm_rerun_above,
            max_attempts=part.max_attempts,
            max_clip_bytes=part.max_clip_mb * 1_000_000,
        )

    def _floor(self, key: str, value: float, floor: float) -> None:
        if value < floor:
            message = (
                f"{value:g} s is below the provider's floor; write {floor:g} or more (less is for local servers only)"
            )
            self.problems.add(("limits", key), message)

    def _check_max_price(self, part: LimitsPart) -> None:
        for duration in part.max_price:
            self.rules.duration(EntryPlace(("limits", "max_price"), self.problems), str(duration), duration)

    def jobs(self, cache: DigestCache | None, *, is_local: bool) -> Sequence[JobSpec]:
        """Every job, checked."""
        document, problems, folder = self.document, self.problems, self.path.parent
        output = output_pattern(document.output, folder, self.name, problems, previews=self.previews)
        guidance_hundredths = self._check_defaults()
        pictures = PictureReader(self.rules.model.picture, cache)
        prices = document.limits.max_price
        maker = JobMaker(
            self.rules, document.defaults, guidance_hundredths, prices, output, folder, pictures, is_local=is_local
        )
        collected = Collected(folder, problems, self.skips)
        sources = Sources(folder, problems, collected, self.rules, maker, self.skips, self.watch)
        for at, part, wrong in document.jobs:
            loc: Loc = ("jobs", at)
            if isinstance(part, SourcePart):
                sources.read(part, loc, wrong)
            else:
                self._entry(part, wrong, loc, maker, collected)
        jobs = collected.jobs()
        if not jobs and not problems.any:
            self._nothing_left()
        return jobs

    def _entry(self, part: JobPart, wrong: frozenset[str], loc: Loc, maker: JobMaker, collected: Collected) -> None:
        entry = Entry(*(getattr(part, field) for field in Entry._fields))
        for field in wrong & {"id", "image", "prompt"}:
            entry = entry._replace(**{field: ""})  # type: ignore[arg-type]  # these three are text
        spec = maker.make(entry, len(collected), EntryPlace(loc, self.problems))
        if spec is not None:
            collected.begin(loc)
            collected.add(spec, self.problems.line_of(loc))

    def _nothing_left(self) -> None:
        """A batch without jobs is more likely an accident than a wish."""
        skipped = self.skips.rows().problems if self.skips else ()
        for problem in skipped:
            self.problems.note(problem)
        why = "every row is wrong" if skipped else "no row passes `include` and `exclude`"
        self.problems.add(("jobs",), f"gives no job: {why}")

    def _check_defaults(self) -> int:
        """The default guidance, in hundredths."""
        defaults, place = self.document.defaults, EntryPlace(("defaults",), self.problems)
        if defaults.duration is not None:
            self.rules.duration(place, "duration", defaults.duration)
        if defaults.negative_prompt is not None:
            self.rules.text(place, "negative_prompt", normal_text(defaults.negative_prompt))
        guidance = defaults.guidance_scale
        return self.rules.guidance(place, self.rules.model.guidance_default if guidance is None else guidance)
