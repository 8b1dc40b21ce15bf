"""The shape of a manifest as people write it: keys, types, ranges.

This model is the one place that knows the keys; problems and the JSON Schema for editors (`schema`) come from it. It looks
at one value at a time. What needs two values, the file system or the model's data is checked in `read`.
"""

from decimal import Decimal
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from batchrun.manifest.catalogue import models, tiers
from batchrun.manifest.jobs import MAX_ATTEMPTS, MAX_CLIP_MB
from batchrun.manifest.names import check_name
from batchrun.money import parse_usd

DEFAULT_MODEL = "kwaivgi/kling-v1.6-i2v-standard"
DEFAULT_OUTPUT = "videos/{batch}/{id}.mp4"
DELIMITERS = (",", ";", "|", "\t", "tab")


def _usd(value: object) -> object:
    return parse_usd(value) if isinstance(value, str) else value


def _budget(value: object) -> object:
    if value == "none":
        return value
    try:
        return _usd(value)
    except ValueError as error:
        raise ValueError(f"{error}; `none` says on purpose that there is no budget") from None


def _known_model(value: str) -> str:
    if value not in models():
        raise ValueError(f"unknown model {value!r}; known: {', '.join(sorted(models()))}")
    return value


def _known_tier(value: str) -> str:
    if value not in tiers():
        raise ValueError(f"unknown tier {value!r}; known: {', '.join(tiers())}")
    return value


def _known_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"unknown time zone {value!r}; write one such as UTC or Europe/Berlin") from None
    return value


def _tag_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _column_values(value: object) -> object:
    """A filter's values as text: one or several; what YAML reads as a word of its own is what a cell says."""
    words = {True: "true", False: "false", None: ""}
    values = value if isinstance(value, list) else [value]
    return [words[one] if one is None or isinstance(one, bool) else one for one in values]


def _one_delimiter(value: str) -> str:
    if value not in DELIMITERS:
        raise ValueError(f"{value!r} is not accepted; accepted: {', '.join(map(repr, DELIMITERS))}")
    return "\t" if value == "tab" else value


# People write dollars, the model holds micro-dollars: editors are told the former.
_DOLLARS = {"type": "number", "minimum": 0, "description": "US dollars"}
Usd = Annotated[int, BeforeValidator(_usd), Field(ge=0), WithJsonSchema(_DOLLARS)]
Budget = Annotated[
    int | Literal["none"], BeforeValidator(_budget), WithJsonSchema({"anyOf": [_DOLLARS, {"const": "none"}]})
]
Name = Annotated[str, AfterValidator(check_name)]
Text = Annotated[str, Field(min_length=1)]
Tags = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=100)], ...], BeforeValidator(_tag_list)]
Guidance = Annotated[Decimal, Field(allow_inf_nan=False)]
Columns = dict[str, Annotated[tuple[str, ...], BeforeValidator(_column_values)]]
Priority = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DefaultsPart(_Part):
    """`defaults:` values for jobs that do not say otherwise."""

    duration: int | None = None
    guidance_scale: Guidance | None = None
    negative_prompt: str | None = None
    priority: Priority = 0
    tags: Tags = ()


class LimitsPart(_Part):
    """`limits:` pace, safety and money."""

    tier: Annotated[str, AfterValidator(_known_tier)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=10_000)] | None = None
    per_minute: Annotated[int, Field(ge=1, le=100_000)] | None = None
    budget: Budget | None = None
    daily_budget: Usd | None = None
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    keep_balance: Usd | None = None
    max_price: dict[int, Usd] = {}
    poll: Annotated[float, Field(gt=0, le=3600)] = 5.0
    settle: Annotated[float, Field(ge=0, le=86_400)] = 300.0
    stuck_after: Annotated[float, Field(ge=60, le=604_800)] = 3600.0
    max_unknown: Annotated[int, Field(ge=1, le=1000)] = 5
    confirm_rerun_above: Usd | None = None
    max_attempts: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] = MAX_ATTEMPTS
    max_clip_mb: Annotated[int, Field(ge=1, le=100_000)] = MAX_CLIP_MB


class CampaignPart(_Part):
    """`campaign:` one cap over every manifest of the queue that names it."""

    name: Name
    budget: Usd | None = None
    daily_budget: Usd | None = None


class JobPart(_Part):
    """One entry of `jobs:` written out."""

    id: Name | None = None
    image: Text
    prompt: Text
    negative_prompt: str | None = None
    duration: int | None = None
    guidance_scale: Guidance | None = None
    priority: Priority | None = None
    tags: Tags | None = None


class SourcePart(_Part):
    """One entry of `jobs:` with `from:` a job a row. Everything but `include`, `exclude` and `delimiter` is a template."""

    source: Text = Field(alias="from")
    id: Text | None = None
    image: Text | None = None
    prompt: Text
    negative_prompt: str | None = None
    duration: str | None = None
    guidance_scale: str | None = None
    priority: str | None = None
    tags: Annotated[tuple[str, ...], BeforeValidator(_tag_list)] | None = None
    include: Columns = {}
    exclude: Columns = {}
    delimiter: Annotated[str, AfterValidator(_one_delimiter)] | None = None


class ManifestPart(_Part):
    """A whole manifest."""

    version: Annotated[Literal[1], BeforeValidator(lambda value: 1 if value == "1" else value)]
    name: Name | None = None
    model: Annotated[str, AfterValidator(_known_model)] = DEFAULT_MODEL
    output: Text = DEFAULT_OUTPUT
    checks: Literal["quick", "full", "strict"] = "full"
    sidecar: bool = True
    defaults: DefaultsPart = DefaultsPart()
    limits: LimitsPart = LimitsPart()
    campaign: CampaignPart | None = None
    on_invalid: Literal["refuse", "skip"] = "refuse"
    """Of rows of sources: one that is wrong stops everything, or is left out and listed."""
    jobs: Annotated[list[Any], Field(min_length=1)]
    """Entries are checked one by one (`JobPart`, `SourcePart`), so that one bad entry does not hide the next."""
