"""A campaign is one cap over every manifest that names it: its figures must be the same in all of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from batchrun.errors import ManifestError, UsageError
from batchrun.manifest.document import CampaignPart
from batchrun.manifest.jobs import Batch
from batchrun.manifest.yamltext import read_yaml
from batchrun.money import format_usd


@dataclass(frozen=True, slots=True)
class CampaignFigures:
    """What one manifest says of its campaign."""

    manifest: Path
    name: str
    budget_usd_micros: int | None
    daily_budget_usd_micros: int | None
    timezone: str
    """Whose calendar days the daily budget is for."""

    @property
    def shown(self) -> str:
        """The figures for people."""
        parts = (("budget", self.budget_usd_micros), ("daily_budget", self.daily_budget_usd_micros))
        return ", ".join(f"{name} {format_usd(figure) if figure is not None else 'none'}" for name, figure in parts)


def figures_of(batch: Batch) -> CampaignFigures | None:
    """The campaign of a manifest that is read."""
    caps = batch.caps
    if caps.campaign is None:
        return None
    return CampaignFigures(
        batch.path,
        caps.campaign,
        caps.campaign_budget_usd_micros,
        caps.campaign_daily_budget_usd_micros,
        str(caps.zone),
    )


def read_figures(path: Path) -> CampaignFigures | None:
    """The campaign of another manifest, as its file says now; None where it cannot be read."""
    try:
        part = _Part.model_validate(read_yaml(path, str(path)).plain())
    except (ManifestError, ValidationError):
        return None
    campaign = part.campaign
    return CampaignFigures(path, campaign.name, campaign.budget, campaign.daily_budget, part.limits.timezone)


class _Zone(BaseModel):
    timezone: str = "UTC"


class _Part(BaseModel):
    """What of another manifest matters here."""

    campaign: CampaignPart
    limits: _Zone = _Zone()


def check_campaigns(figures: Iterable[CampaignFigures]) -> None:
    """All manifests of a campaign must say the same.

    Raises:
        UsageError: naming two that do not.
    """
    first: dict[str, CampaignFigures] = {}
    for one in figures:
        other = first.setdefault(one.name, one)
        if other.shown != one.shown:
            raise UsageError(
                f"campaign {one.name!r} is one cap over all its manifests, but {other.manifest} says {other.shown} and "
                f"{one.manifest} says {one.shown}; write the same figures in both"
            )
        if one.daily_budget_usd_micros is not None and other.timezone != one.timezone:
            raise UsageError(
                f"campaign {one.name!r} has a daily_budget, so all its manifests need one calendar, but {other.manifest} "
                f"has the timezone {other.timezone} and {one.manifest} {one.timezone}; write the same one in both"
            )
