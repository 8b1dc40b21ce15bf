"""A manifest file to a `Batch`: every problem of the whole file at once, before anything is spent."""

import os
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from batchrun.manifest.catalogue import Model, models, tiers
from batchrun.manifest.document import DefaultsPart, JobPart, LimitsPart, ManifestPart
from batchrun.manifest.fingerprint import normal_text
from batchrun.manifest.jobs import Batch, Caps, Checks, JobSpec, Limits
from batchrun.manifest.names import check_name, fold
from batchrun.manifest.pictures import Picture, PictureError, read_picture
from batchrun.manifest.problems import Problems
from batchrun.manifest.yamltext import Loc, Node, read_yaml

POLL_FLOOR_S = 5.0
SETTLE_FLOOR_S = 300.0
DEFAULT_CONCURRENCY = 2
DEFAULT_PER_MINUTE = 2
_MAX_URL_CHARS = 2048
_OUTPUT_FIELDS = ("batch", "id")


def load_manifest(path: Path, *, fast: bool = False, previews: bool = False) -> Batch:
    """Read and check a manifest.

    Args:
        path: the YAML file.
        fast: the provider is on this machine, so `poll` and `settle` may be shorter than its published floors.
        previews: put the outputs into the previews' folder instead of the one for paid clips.

    Raises:
        ManifestError: with all problems.
    """
    shown = os.fspath(path)
    root = read_yaml(path, shown)
    problems = Problems(shown, root)
    document = _document(root, problems)
    reading = _Reading(path.resolve(), document, problems, previews=previews)
    limits, caps = reading.limits(fast=fast), _caps(document)
    jobs = reading.jobs()
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
        warnings=tuple(reading.warnings),
    )


def _document(root: Node, problems: Problems) -> ManifestPart:
    """The manifest's shape. What is wrong is noted and left out, so that the rest can still be checked."""
    plain = root.plain()
    assert isinstance(plain, dict)  # noqa: S101  # read_yaml lets nothing else through
    try:
        document = ManifestPart.model_validate(plain)
    except ValidationError as error:
        problems.add_all(error, (), ManifestPart)
        wrong = {str(detail["loc"][0]) for detail in error.errors()}
        rest = {key: value for key, value in plain.items() if key not in wrong}
        document = ManifestPart.model_validate({"jobs": [None], **rest, "version": "1"})
    jobs = root.value.get("jobs") if isinstance(root.value, dict) else None
    nodes = jobs.value if jobs is not None and isinstance(jobs.value, list) else []
    parts = [part for at, node in enumerate(nodes) if (part := _job_part(at, node, problems))]
    return document.model_copy(update={"jobs": parts})


def _job_part(at: int, node: Node, problems: Problems) -> tuple[int, JobPart] | None:
    loc: Loc = ("jobs", at)
    if isinstance(node.value, dict) and "from" in node.value:
        problems.add((*loc, "from"), "sources (`from`) are not read by this version; write the jobs out", at_key=True)
        return None
    try:
        return at, JobPart.model_validate(node.plain())
    except ValidationError as error:
        problems.add_all(error, loc, JobPart)
        return None


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


@dataclass(frozen=True, slots=True)
class _Image:
    path: Path | None
    url: str | None
    picture: Picture | None


class _Reading:
    """The checks that need two values, the file system or the model's data."""

    def __init__(self, path: Path, document: ManifestPart, problems: Problems, *, previews: bool) -> None:
        self.path = path
        self.document = document
        self.problems = problems
        self.previews = previews
        self.model: Model = models()[document.model]
        self.name = document.name or self._name_of_file()
        self.warnings: list[str] = []
        self._pictures: dict[Path, Picture | PictureError] = {}

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
            max_clip_bytes=part.max_clip_mb * 1024**2,
        )

    def _floor(self, key: str, value: float, floor: float) -> None:
        if value < floor:
            message = (
                f"{value:g} s is below the provider's floor; write {floor:g} or more (less is for local servers only)"
            )
            self.problems.add(("limits", key), message)

    def _check_max_price(self, part: LimitsPart) -> None:
        for duration in part.max_price:
            if duration not in self.model.durations_s:
                self._bad_duration(("limits", "max_price", str(duration)), duration)

    def jobs(self) -> tuple[JobSpec, ...]:
        """Every job, checked."""
        output = self._output_template()
        self._check_defaults()
        specs = [self._job(at, part, output) for at, part in self.document.jobs]
        found = [spec for spec in specs if spec is not None]
        self._check_unique(found)
        return tuple(found)

    def _output_template(self) -> Callable[[str], Path]:
        template = self.document.output
        loc: Loc = ("output",)
        if re.match(r"[a-z][a-z0-9+]*://", template, re.IGNORECASE):
            self.problems.add(loc, f"{template!r}: videos are written to local folders; write a path")
        fields = _template_fields(template)
        if fields is None or not set(fields) <= set(_OUTPUT_FIELDS):
            self.problems.add(loc, f"{template!r} has fields that do not exist; known: {{batch}}, {{id}}")
            return lambda _: self.path
        if "id" not in fields:
            self.problems.add(loc, f"{template!r} would write every video to one file; put {{id}} into it")
        if not template.lower().endswith(".mp4"):
            self.problems.add(loc, f"{template!r} does not end in .mp4, which is what the clips are")
        if self.previews:
            template = preview_template(template)
        base = self.path.parent
        return lambda key: Path(os.path.normpath(base / template.format(batch=self.name, id=key)))

    def _check_defaults(self) -> None:
        defaults = self.document.defaults
        loc: Loc = ("defaults",)
        self._check_values(loc, defaults, defaults.duration, "", defaults.negative_prompt or "")

    def _job(self, at: int, part: JobPart, output: Callable[[str], Path]) -> JobSpec | None:
        loc: Loc = ("jobs", at)
        defaults, model = self.document.defaults, self.model
        duration_s = part.duration or defaults.duration or model.default_duration_s
        prompt = normal_text(part.prompt)
        negative = normal_text(
            part.negative_prompt if part.negative_prompt is not None else defaults.negative_prompt or ""
        )
        if not prompt:
            self.problems.add((*loc, "prompt"), "must not be empty")
        self._check_values(loc, part, part.duration, prompt, negative)
        image = self._image(loc, part)
        key = part.id or self._stem(loc, part.image)
        if image is None or key is None:
            return None
        guidance = next(
            value
            for value in (part.guidance_scale, defaults.guidance_scale, model.guidance_default)
            if value is not None
        )
        return JobSpec(
            key=key,
            position=at,
            prompt=prompt,
            negative_prompt=negative,
            guidance_hundredths=int(guidance * 100),
            duration_s=duration_s,
            image_path=image.path,
            image_url=image.url,
            picture=image.picture,
            priority=part.priority if part.priority is not None else defaults.priority,
            tags=part.tags if part.tags is not None else defaults.tags,
            output=output(key),
            price_usd_micros=self._price(duration_s),
            model=model.model_id,
        )

    def _price(self, duration_s: int) -> int:
        table = self.model.price_usd_micros
        return self.document.limits.max_price.get(duration_s, table.get(duration_s, 0))

    def _check_values(
        self, loc: Loc, part: JobPart | DefaultsPart, duration_s: int | None, prompt: str, negative: str
    ) -> None:
        model = self.model
        if duration_s is not None and duration_s not in model.durations_s:
            self._bad_duration((*loc, "duration"), duration_s)
        self._check_guidance((*loc, "guidance_scale"), part.guidance_scale)
        self._check_length((*loc, "prompt"), prompt, model.prompt_max_chars)
        if part.negative_prompt is not None:
            self._check_length((*loc, "negative_prompt"), negative, model.negative_prompt_max_chars)

    def _bad_duration(self, loc: Loc, duration_s: int) -> None:
        accepted = " or ".join(map(str, self.model.durations_s))
        self.problems.add(loc, f"{duration_s} s is not on offer; accepted: {accepted}")

    def _check_guidance(self, loc: Loc, guidance: Decimal | None) -> None:
        if guidance is None:
            return
        low, high = self.model.guidance_min, self.model.guidance_max
        if not low <= guidance <= high:
            self.problems.add(loc, f"{guidance} is out of range; accepted: {low} to {high}")
        elif guidance * 100 != int(guidance * 100):
            self.problems.add(loc, f"{guidance} has more than two decimals; write for example {guidance:.2f}")

    def _check_length(self, loc: Loc, text: str, max_chars: int) -> None:
        if len(text) > max_chars:
            self.problems.add(loc, f"has {len(text):,} characters; at most {max_chars:,} are accepted")
        elif (size_bytes := len(text.encode())) > max_chars:
            path = ".".join(map(str, loc))
            self.warnings.append(f"{path}: {size_bytes:,} bytes; the provider may count bytes and refuse it")

    def _image(self, loc: Loc, part: JobPart) -> _Image | None:
        loc = (*loc, "image")
        if re.match(r"[a-z][a-z0-9+.-]*:", part.image, re.IGNORECASE) and not re.match(
            r"[a-z]:[\\/]", part.image, re.IGNORECASE
        ):
            problem = _url_problem(part.image)
            if problem:
                self.problems.add(loc, problem)
                return None
            return _Image(None, part.image, None)
        path = Path(os.path.normpath(self.path.parent / part.image)) if "\0" not in part.image else self.path.parent
        picture = self._picture(path)
        if isinstance(picture, PictureError):
            self.problems.add(loc, str(picture))
            return None
        return _Image(path, None, picture)

    def _picture(self, path: Path) -> Picture | PictureError:
        """Read once, however many jobs use it."""
        if path not in self._pictures:
            try:
                self._pictures[path], _ = read_picture(path, self.model.picture)
            except PictureError as error:
                self._pictures[path] = error
        return self._pictures[path]

    def _stem(self, loc: Loc, image: str) -> str | None:
        """The id of a job that names none: its picture's stem."""
        name = urlsplit(image).path if "://" in image else image
        try:
            return check_name(Path(name).stem)
        except ValueError as error:
            self.problems.add(loc, f"has no id, and its picture's name cannot be one: {error}; add `id:`")
            return None

    def _check_unique(self, specs: list[JobSpec]) -> None:
        seen: dict[str, JobSpec] = {}
        for spec in specs:
            first = seen.setdefault(fold(spec.key), spec)
            if first is not spec:
                line = self.problems.line_of(("jobs", first.position))
                same = "is taken" if first.key == spec.key else f"differs only in case from {first.key!r}"
                self.problems.add(
                    ("jobs", spec.position), f"id {spec.key!r} {same}, see line {line}; give each job its own `id:`"
                )


def _template_fields(template: str) -> list[str] | None:
    """The names of the plain fields, or None when the template cannot be understood."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        return None
    if any(spec or conversion for _, name, spec, conversion in parts if name is not None):
        return None
    return [name for _, name, _, _ in parts if name is not None]


def preview_template(template: str) -> str:
    """Where previews of a template go: a folder beside the one for paid clips, and a name that says what it is.

    `../videos/{batch}/{id}.mp4` becomes `../videos-preview/{batch}/{id}.preview.mp4`, `{id}.mp4` becomes
    `preview/{id}.preview.mp4`.
    """
    *folders, name = template.split("/")
    fixed = next((at for at, step in enumerate(folders) if "{" in step), len(folders))
    if fixed and folders[fixed - 1].strip("."):
        folders[fixed - 1] += "-preview"
    else:
        folders.insert(fixed, "preview")
    return "/".join([*folders, f"{name[: -len('.mp4')]}.preview.mp4"])


def _url_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return f"{url[:80]!r} is not a URL that can be read"
    if parts.scheme not in ("http", "https"):
        return f"{parts.scheme}: is not accepted; write a file beside the manifest or an https:// URL"
    if not host:
        return f"{url[:80]!r} names no host"
    if parts.username or parts.password:
        return "a picture's URL must not carry a user name or password: the provider must be able to fetch it without"
    if len(url) > _MAX_URL_CHARS or not url.isprintable() or " " in url:
        return f"the URL must be printable, without blanks and at most {_MAX_URL_CHARS} characters"
    return None
