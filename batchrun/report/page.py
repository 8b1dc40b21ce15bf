"""The gallery: one HTML file that works from a disk, from a web server and offline.

The page holds its data as JSON; its script builds text nodes from it and nothing else. Style and script stand in the
page under their digests, which is all that its Content-Security-Policy lets run. Addresses are relative to the page.
"""

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, TextIO
from urllib.parse import quote

from batchrun import __version__
from batchrun.files import begins_as
from batchrun.queue.clips import ClipView
from batchrun.queue.states import JobState
from batchrun.report.advice import advice_on
from batchrun.report.source import Source
from batchrun.report.statement import LABELS, Statement, Sums, by_day, sums

GENERATOR = "batchrun report"
"""By this word in its head a page is known to be ours, and may be replaced."""
_HEAD = re.compile(rf'.*name="generator" content="{GENERATOR}'.encode(), re.DOTALL)
_DATA = "$data"


async def write_page(
    out: TextIO, page: Path, sources: Sequence[Source], clips: AsyncIterator[ClipView], head: "Head"
) -> None:
    """Write the whole page, clip by clip.

    Args:
        out: where to.
        page: the file that it will be, for addresses relative to it.
        sources: whose totals and statements are shown.
        clips: the cards.
        head: what the page says of itself.
    """
    before, _, after = (files(__package__) / "page.html").read_text("utf-8").partition(_DATA)
    parts = _parts(head.title)
    out.write(Template(before).substitute(parts))
    kinds: set[str] = set()
    out.write('{"clips": [')
    between = "\n"
    async for clip in clips:
        out.write(between + script_json(card(clip, page.parent)))
        between = ",\n"
        kinds |= {clip.kind} if clip.kind else set()
    rest = _rest(sources, kinds, head)
    out.write(f"\n], {script_json(rest)[1:]}")
    out.write(Template(after).substitute(parts))


class Head:
    """What the page says of itself."""

    def __init__(self, title: str, *, made_ms: int, preview: bool) -> None:
        self.title = title
        self.made_ms = made_ms
        self.preview = preview


def is_ours(path: Path) -> bool:
    """Whether a file is a page that this module wrote; what cannot be read is not. Blocks."""
    return begins_as(path, _HEAD)


def script_json(value: object) -> str:
    """JSON that may stand inside a script element: no text in it can end the element, or open a comment."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def address(target: Path, folder: Path) -> str:
    """The way from a folder to a file as a browser takes it, so that both can be moved together."""
    return quote(os.fsencode(os.path.relpath(target, folder)))


def card(clip: ClipView, folder: Path) -> dict[str, Any]:
    """What the page's script needs of one job; what is empty is left out."""
    asked, facts = clip.revision, clip.facts
    done = clip.state is JobState.DONE
    took_ms = clip.completed_ms - clip.submitted_ms if clip.completed_ms and clip.submitted_ms else None
    found = {
        "batch": clip.batch,
        "id": clip.key,
        "state": clip.state.value,
        "position": clip.position,
        "tags": list(clip.tags),
        "prompt": asked.prompt,
        "negative": asked.negative_prompt,
        "model": asked.model,
        "guidance": f"{asked.guidance_hundredths // 100}.{asked.guidance_hundredths % 100:02}",
        "asked_s": asked.duration_s,
        "take": asked.take,
        "video": address(clip.output, folder) if done else None,
        "poster": address(clip.poster, folder) if done and clip.poster else None,
        "picture": address(asked.image_path, folder) if asked.image_path else None,
        "picture_url": asked.image_url,
        "sha256": clip.sha256 if done else None,
        "bytes": clip.size_bytes if done else None,
        "length_s": facts.get("duration_s") if done else None,
        "width": facts.get("width_px") if done else None,
        "height": facts.get("height_px") if done else None,
        "fps": facts.get("fps") if done else None,
        "cost": clip.spent_usd_micros,
        "held": clip.held_usd_micros,
        "attempts": clip.attempts,
        "prediction": clip.prediction_id,
        "submitted_ms": clip.submitted_ms,
        "changed_ms": clip.changed_ms,
        "took_ms": max(0, took_ms) if took_ms is not None else None,
        "warnings": list(clip.warnings),
        "not_shown": list(clip.not_shown),
        "kind": clip.kind,
        "message": clip.message,
    }
    return {name: value for name, value in found.items() if value not in (None, "", [])}


def _rest(sources: Sequence[Source], kinds: set[str], head: Head) -> dict[str, Any]:
    """Everything but the cards."""
    days: dict[str, list[Sums]] = {}
    for source in sources:
        for day, money in by_day(source.views, source.money).items():
            days.setdefault(day, []).append(money)
    return {
        "made_ms": head.made_ms,
        "preview": head.preview,
        "batches": list(dict.fromkeys(view.name for source in sources for view in source.views)),
        "states": ["done", *(state.value for state in JobState if state is not JobState.DONE)],
        "outcomes": {outcome.value: label for outcome, label in LABELS.items()},
        "advice": {kind: asdict(advice_on(kind)) for kind in sorted(kinds)},
        "days": [{"day": day, **_money(sums(parts))} for day, parts in sorted(days.items())],
        "statements": [_statement(one) for source in sources for one in source.statements],
    }


def _statement(one: Statement) -> dict[str, Any]:
    lines = {outcome.value: _money(line) for outcome, line in one.by_outcome.items()}
    return {"scope": one.scope, "name": one.name, "copied": one.copied, "lines": lines, **_money(one.total)}


def _money(found: Sums) -> dict[str, int]:
    return {
        "attempts": found.attempts,
        "price": found.price_usd_micros,
        "held": found.held_usd_micros,
        "spent": found.spent_usd_micros,
    }


def _parts(title: str) -> dict[str, str]:
    """What stands in the template's places."""
    style = (files(__package__) / "page.css").read_text("utf-8")
    script = (files(__package__) / "page.js").read_text("utf-8")
    return {
        "title": html.escape(title),
        "generator": f"{GENERATOR} {__version__}",
        "style": style,
        "style_hash": _digest(style),
        "script": script,
        "script_hash": _digest(script),
    }


def _digest(text: str) -> str:
    """As a Content-Security-Policy names an inline element."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
