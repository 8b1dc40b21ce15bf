"""What every rival is told, on its command line."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from tests.bench.shop import Shop

KEY = "bench"
MODEL = "kwaivgi/kling-v1.6-i2v-standard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The work and the provider."""

    url: str
    table: Path
    clips: Path
    """Where the clips go."""
    slots: int
    poll_s: float
    median_s: float


def told() -> Told:
    """This process's own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("table", type=Path)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--poll-s", type=float, required=True)
    parser.add_argument("--median-s", type=float, required=True)
    found = Told(**vars(parser.parse_args()))
    found.clips.mkdir(parents=True, exist_ok=True)
    return found


def arguments(shop: Shop, url: str, clips: Path) -> list[str]:
    """The command line that `told` reads."""
    numbers = ["--slots", f"{shop.slots}", "--poll-s", f"{shop.poll_s}", "--median-s", f"{shop.median_s}"]
    return [url, str(shop.table), str(clips), *numbers]


def inputs_of(prompt: str, image_url: str) -> dict[str, object]:
    """What is submitted."""
    return {"prompt": prompt, "image": image_url, "duration": 5, "guidance_scale": 0.5}
