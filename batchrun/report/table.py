"""One row a job for shop systems and scripts: the same columns as CSV and as JSON."""

import csv
import json
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, TextIO

from batchrun import SCHEMA_VERSION
from batchrun.money import decimal_usd
from batchrun.queue.clips import ClipView
from batchrun.queue.states import JobState
from batchrun.report.statement import Statement, statement_json

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")
"""What makes a spreadsheet take a cell for a formula, the full-width forms too; OWASP, CSV injection."""


def row_of(clip: ClipView) -> dict[str, Any]:
    """The columns in their order. `file` and what was read from it are set once the clip is in place."""
    done = clip.state is JobState.DONE
    facts = clip.facts if done else {}
    return {
        "batch": clip.batch,
        "id": clip.key,
        "state": clip.state.value,
        "file": str(clip.output) if done else None,
        "sha256": clip.sha256 if done else None,
        "size_bytes": clip.size_bytes if done else None,
        "duration_s": facts.get("duration_s"),
        "width_px": facts.get("width_px"),
        "height_px": facts.get("height_px"),
        "fps": facts.get("fps"),
        "cost_usd": decimal_usd(clip.spent_usd_micros),
        "held_usd": decimal_usd(clip.held_usd_micros),
        "prediction_id": clip.prediction_id,
        "attempts": clip.attempts,
        "warnings": list(clip.warnings),
        "kind": clip.kind,
        "message": clip.message,
        "tags": list(clip.tags),
        "prompt": clip.revision.prompt,
    }


COLUMNS = (
    "batch", "id", "state", "file", "sha256", "size_bytes", "duration_s", "width_px", "height_px", "fps", "cost_usd",
    "held_usd", "prediction_id", "attempts", "warnings", "kind", "message", "tags", "prompt",
)  # fmt: skip
CSV_HEAD = re.compile(",".join(COLUMNS[:5]).encode())
JSON_HEAD = re.compile(rb'\{"schema_version": \d+, "statements": \[')
"""By how it begins a file is known to be such a table, and may be replaced; also one of a version with other columns."""


async def write_csv(out: TextIO, clips: AsyncIterator[ClipView]) -> None:
    """A head and one line a job, as RFC 4180 asks; `out` must not translate line ends."""
    table = csv.writer(out, lineterminator="\r\n")
    table.writerow(COLUMNS)
    async for clip in clips:
        row = row_of(clip)
        table.writerow([cell(row[column]) for column in COLUMNS])


def cell(value: object) -> str:
    """A value as a spreadsheet shows it: lists joined by semicolons, and never a formula."""
    if value is None:
        return ""
    text = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


async def write_json(out: TextIO, found: Sequence[Statement], clips: AsyncIterator[ClipView]) -> None:
    """Exactly one object, written job by job, so that a big queue needs little memory."""
    head = _json([statement_json(one) for one in found])
    out.write(f'{{"schema_version": {SCHEMA_VERSION}, "statements": {head}, "jobs": [')
    between = "\n"
    async for clip in clips:
        out.write(between + _json(row_of(clip)))
        between = ",\n"
    out.write("\n]}\n")


def _json(value: object) -> str:
    """As it reads best; in escapes where a path in it is not UTF-8, which JSON must be."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text
