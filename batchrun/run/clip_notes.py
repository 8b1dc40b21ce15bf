"""What a person should know of finished clips: what looks wrong, and what previews do not show. Pure."""

from collections.abc import Sequence
from typing import Any

from batchrun.queue.views import BatchView
from batchrun.video.signs import in_words

_SHOWN_CLIPS = 20
_SHOWN_NAMES = 4


def warnings_json(views: Sequence[BatchView]) -> dict[str, Any]:
    """Finished clips that look wrong, for scripts."""
    return {
        "clips_warned": sum(view.warned.count for view in views),
        "clip_warnings": [
            {"batch": view.name, "id": job.key, "warnings": list(job.notes)}
            for view in views
            for job in view.warned.first
        ],
        "clips_not_all_shown": sum(view.not_shown.count for view in views),
        "not_shown": [
            {"batch": view.name, "id": job.key, "not_shown": list(job.notes)}
            for view in views
            for job in view.not_shown.first
        ],
    }


def warning_lines(views: Sequence[BatchView]) -> list[str]:
    """The first finished clips that look wrong, and how many more there are."""
    shown = [(view.name, job) for view in views for job in view.warned.first][:_SHOWN_CLIPS]
    lines = [f"  {batch}/{job.key}: done, but look at it: {in_words(job.notes)}" for batch, job in shown]
    if (more := sum(view.warned.count for view in views) - len(shown)) > 0:
        lines.append(f"  … and {more} more clips to look at; see --json or batchrun list")
    return lines + not_shown_lines(views)


def not_shown_lines(views: Sequence[BatchView]) -> list[str]:
    """How many previews leave something out, what, and the first of them; the report says it of each."""
    count = sum(view.not_shown.count for view in views)
    if not count:
        return []
    by_note: dict[str, list[str]] = {}
    for view in views:
        for job in view.not_shown.first:
            for note in dict.fromkeys(note.partition(" (")[0] for note in job.notes):
                by_note.setdefault(note, []).append(f"{view.name}/{job.key}")
    noun = "preview does" if count == 1 else "previews do"
    head = f"{count:,} {noun} not show all that was asked for, because nothing is generated; the model may:"
    return [head, *(f"  {note}: {_first_of(names)}" for note, names in by_note.items())]


def _first_of(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more:,} more" if more > 0 else "")
