"""What the queue has bought already of some requests, under any name: still to be had for nothing, or gone."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from batchrun.manifest.spool import chunks
from batchrun.plan import RETENTION_MS
from batchrun.queue.store import Queue
from batchrun.queue.views import KnownClip, known_clips
from batchrun.video.download import sha256_of
from batchrun.video.place import history_path


@dataclass(frozen=True, slots=True)
class Past:
    """Requests, by fingerprint, of which a clip was bought."""

    to_have: set[str] = field(default_factory=set)
    """Its bytes stand under some name, or the provider keeps it: copied or fetched again."""
    gone: set[str] = field(default_factory=set)
    """Its bytes are nowhere any more: only `redo` buys it again."""

    @property
    def bought(self) -> set[str]:
        """All of them."""
        return self.to_have | self.gone


async def past_of(queue: Queue, fingerprints: Iterable[str], now_ms: int) -> Past:
    """What became of these requests. Previews that are gone are made again: of them nothing counts as bought."""
    past = Past()
    for chunk in chunks(fingerprints):
        known = await queue.read(partial(known_clips, chunk, now_ms - RETENTION_MS, queue.real_path))
        to_have = await asyncio.to_thread(_to_have, known, queue.real_path("."))
        past.to_have.update(to_have)
        if queue.identity.kind == "paid":
            past.gone.update(known.keys() - to_have)
    return past


def _to_have(known: Mapping[str, Sequence[KnownClip]], folder: Path) -> set[str]:
    """Blocks: what the provider has no longer is read to the end, because a file that was edited is not the clip."""
    return {
        fingerprint
        for fingerprint, clips in known.items()
        if any(one.is_kept for one in clips) or any(_stands(one, folder) for one in clips)
    }


def _stands(clip: KnownClip, folder: Path) -> bool:
    return any(_holds(path, clip) for path in (clip.output, history_path(folder, clip.batch, clip.key, clip.sha256)))


def _holds(path: Path, clip: KnownClip) -> bool:
    try:
        return path.stat().st_size == clip.size_bytes and sha256_of(path) == clip.sha256
    except OSError:
        return False
