"""Beside each video a small JSON file that says what it is: what was asked for, which prediction, what it cost.

It is for people and shop systems that get the folder without the queue. It may be missing or older than the queue's
books, and never holds the key. A clip that is paid for is worth more than its sidecar: whatever goes wrong here is
told, and nothing else.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from batchrun.clock import rfc3339
from batchrun.manifest.sidecars import wants_sidecars
from batchrun.money import decimal_usd
from batchrun.queue.clips import ClipView, clip_of
from batchrun.queue.records import Job, Twin
from batchrun.queue.store import Queue
from batchrun.run.events import Event, Kind, Observer
from batchrun.video.download import flush_names
from batchrun.video.place import OccupiedError, replacing

VERSION = 1
_MADE_BY = "batchrun"
_MAX_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Sidecar:
    """One that is to be written."""

    path: Path
    found: Mapping[str, Any]


class Sidecars:
    """Knows what stands in them, for the batches whose manifest wants them."""

    def __init__(self, queue: Queue, observer: Observer) -> None:
        self._queue = queue
        self._observer = observer
        self.wanted: dict[int, bool] = {}
        """By batch id, as far as the manifests are read."""

    async def of(self, job: Job, twin: Twin | None = None) -> Sidecar | None:
        """The sidecar of the job's clip, which may be a copy of a twin's; None where none is wanted.

        It is put beside the clip before the queue knows of the clip: a run that is killed in between comes here again.
        """
        if not await self._is_wanted(job.batch_id):
            return None
        clip = await clip_of(self._queue, job)
        if twin is not None:
            facts = json.loads(twin.facts or "{}")
            clip = replace(clip, sha256=twin.clip_sha256, size_bytes=twin.size_bytes, facts=facts)
        found = sidecar_json(clip, f"{twin.batch}/{twin.key}" if twin else None, kind=self._queue.identity.kind)
        return Sidecar(sidecar_path(job.output), found)

    def tell(self, job: Job, trouble: str | None) -> None:
        """What came of putting it there."""
        if trouble is not None:
            self._observer(Event(Kind.NO_SIDECAR, job.batch, job.key, trouble))

    async def _is_wanted(self, batch_id: int) -> bool:
        """What is paid for is collected before its manifest is read, and also when it is not read at all."""
        if batch_id not in self.wanted:
            manifests = {batch.batch_id: self._queue.real_path(batch.manifest) for batch in await self._queue.batches()}
            self.wanted[batch_id] = await asyncio.to_thread(wants_sidecars, manifests[batch_id])
        return self.wanted[batch_id]


def sidecar_path(output: Path) -> Path:
    """Beside the video. Outputs end in .mp4 and are unique in any case, so no two jobs share one, nor is it an output."""
    return output.with_suffix(".json")


def sidecar_json(clip: ClipView, copied_from: str | None, *, kind: str) -> dict[str, Any]:
    """What stands in it; money as decimal strings, times as RFC 3339."""
    asked = clip.revision
    picture = os.path.relpath(asked.image_path, clip.output.parent) if asked.image_path else asked.image_url
    return {
        "made_by": _MADE_BY,
        "sidecar_version": VERSION,
        "kind": kind,
        "batch": clip.batch,
        "id": clip.key,
        "file": clip.output.name,
        "sha256": clip.sha256,
        "size_bytes": clip.size_bytes,
        "inputs": {
            "model": asked.model,
            "prompt": asked.prompt,
            "negative_prompt": asked.negative_prompt,
            "guidance_scale": asked.guidance_hundredths / 100,
            "duration_s": asked.duration_s,
            "image": picture,
            "image_sha256": asked.image_sha256,
            "take": asked.take,
        },
        "tags": list(clip.tags),
        "prediction_id": clip.prediction_id,
        "copied_from": copied_from,
        "submitted": rfc3339(clip.submitted_ms) if clip.submitted_ms is not None else None,
        "completed": rfc3339(clip.completed_ms) if clip.completed_ms is not None else None,
        "checks": dict(clip.facts),
        "warnings": list(clip.warnings),
        "attempts": clip.attempts,
        "cost_usd": decimal_usd(clip.spent_usd_micros),
    }


def put_beside(output: Path, sidecar: Sidecar | None) -> str | None:
    """The sidecar beside a clip that has just got its name, and then both names on the disk. Blocks.

    Returns:
        Why there is no sidecar; None when all is well.

    Raises:
        OSError: the folder cannot be flushed.
    """
    trouble: str | None = None
    if sidecar is not None:
        try:
            _write(sidecar.path, sidecar.found)
        except OccupiedError as error:
            trouble = str(error)
        except OSError as error:
            trouble = f"{sidecar.path} cannot be written: {error.strerror or error}"
    flush_names(output.parent)
    return trouble


def _write(path: Path, found: Mapping[str, Any]) -> None:
    """Blocks. Raises OccupiedError, OSError."""
    # A line a key: easy to read, and the library's fast encoder writes no indents.
    lines = (f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in found.items())
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    if path.exists() and not _is_ours(path):
        raise OccupiedError(f"{path} exists and was not written by batchrun; the clip goes without its sidecar")
    with replacing(path) as file:
        file.write(text)


def _is_ours(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
        return False
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("made_by") == _MADE_BY and "sidecar_version" in found
