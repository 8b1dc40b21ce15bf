"""The models and account tiers that batchrun knows: data files beside this module, read once, frozen."""

from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any

import yaml

from batchrun.money import parse_usd

_HERE = resources.files("batchrun.manifest")


@dataclass(frozen=True, slots=True)
class PictureRules:
    """What the model accepts as a picture. `max_aspect` is longer over shorter side."""

    formats: tuple[str, ...]
    max_bytes: int
    min_side_px: int
    max_aspect: Decimal


@dataclass(frozen=True, slots=True)
class Model:
    """Prices and parameter limits of one model."""

    model_id: str
    price_usd_micros: dict[int, int]
    default_duration_s: int
    prompt_max_chars: int
    negative_prompt_max_chars: int
    guidance_min: Decimal
    guidance_max: Decimal
    guidance_default: Decimal
    picture: PictureRules

    @property
    def durations_s(self) -> tuple[int, ...]:
        """The clip lengths on offer, seconds."""
        return tuple(self.price_usd_micros)


@dataclass(frozen=True, slots=True)
class Tier:
    """What an account level allows."""

    concurrency: int
    per_minute: int


@cache
def models() -> dict[str, Model]:
    """Every known model by its id."""
    files = (entry for entry in _HERE.joinpath("models").iterdir() if entry.name.endswith(".yaml"))
    known = (_model(yaml.safe_load(entry.read_text("utf-8"))) for entry in sorted(files, key=lambda entry: entry.name))
    return {model.model_id: model for model in known}


@cache
def tiers() -> dict[str, Tier]:
    """Every account level by its name."""
    data = yaml.safe_load(_HERE.joinpath("tiers.yaml").read_text("utf-8"))
    return {name: Tier(**figures) for name, figures in data.items()}


def _model(data: dict[str, Any]) -> Model:
    picture, guidance = data["picture"], data["guidance_scale"]
    return Model(
        model_id=data["model"],
        price_usd_micros={seconds: parse_usd(price) for seconds, price in data["price_usd"].items()},
        default_duration_s=data["default_duration_s"],
        prompt_max_chars=data["prompt_max_chars"],
        negative_prompt_max_chars=data["negative_prompt_max_chars"],
        guidance_min=Decimal(guidance["min"]),
        guidance_max=Decimal(guidance["max"]),
        guidance_default=Decimal(guidance["default"]),
        picture=PictureRules(
            formats=tuple(picture["formats"]),
            max_bytes=picture["max_bytes"],
            min_side_px=picture["min_side_px"],
            max_aspect=Decimal(picture["max_aspect"]),
        ),
    )
