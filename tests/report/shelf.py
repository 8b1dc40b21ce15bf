"""Clips for pages and tables, without a queue behind each of them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

from batchrun.queue.clips import ClipView
from batchrun.queue.records import Revision
from batchrun.queue.states import JobState
from batchrun.report.page import Head, write_page
from batchrun.report.source import look_at
from batchrun.video.place import replacing
from tests.clocks import StillClock
from tests.store.stores import batch, opened, spec, take_in

FACTS = {"duration_s": 5.042, "frames": 121, "width_px": 64, "height_px": 64, "fps": 24.0, "codec": "h264"}


def clip(
    folder: Path, key: str, *, prompt: str = "It turns", state: JobState = JobState.DONE, **more: object
) -> ClipView:
    """A clip of the batch `shop` whose video is `folder/key.mp4`."""
    done = state is JobState.DONE
    plain = ClipView(
        batch="shop",
        key=key,
        state=state,
        position=0,
        current=True,
        outdated=False,
        tags=(),
        revision=Revision(
            revision_id=1,
            take=1,
            model="kwaivgi/kling-v1.6-i2v-standard",
            prompt=prompt,
            negative_prompt="",
            guidance_hundredths=50,
            duration_s=5,
            image_path=folder / f"{key}.png",
            image_url=None,
            image_sha256="b" * 64,
        ),
        output=folder / f"{key}.mp4",
        sha256="a" * 64 if done else None,
        size_bytes=1000 if done else None,
        facts=FACTS if done else {},
        poster=None,
        kind=None,
        message=None,
        prediction_id=f"prediction-of-{key}",
        attempts=1,
        submitted_ms=1_800_000_000_000,
        completed_ms=1_800_000_150_000 if done else None,
        changed_ms=1_800_000_160_000,
        held_usd_micros=0,
        spent_usd_micros=250_000 if done else 0,
    )
    return replace(plain, **more)  # type: ignore[arg-type]  # options by their names


async def each(clips: Sequence[ClipView]) -> AsyncIterator[ClipView]:
    for one in clips:
        yield one


async def page_of(folder: Path, clips: Sequence[ClipView], title: str = "shop") -> Path:
    """A page with these clips, and the money of a real, empty queue."""
    folder.mkdir(exist_ok=True)
    async with opened(folder, StillClock()) as queue:
        await take_in(queue, batch(folder, [spec("one", folder)]))
        source = await look_at(queue, await queue.batch_views())
    page = folder / "report.html"
    with replacing(page) as out:
        await write_page(out, page, [source], each(clips), Head(title, made_ms=1_800_000_200_000, preview=False))
    return page
