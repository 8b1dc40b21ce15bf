"""The queues that a report is about, opened to look."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from batchrun.queue import clips
from batchrun.queue.clips import ClipView, Money
from batchrun.queue.states import JobState
from batchrun.queue.store import Queue
from batchrun.queue.views import BatchView
from batchrun.report.statement import Statement, statements
from batchrun.video.place import poster_path
from batchrun.video.poster import is_poster


@dataclass(frozen=True, slots=True)
class Source:
    """Some batches of one queue, and where all its money went."""

    queue: Queue
    views: tuple[BatchView, ...]
    money: Money

    @property
    def statements(self) -> list[Statement]:
        """See `statement.statements`."""
        return statements(self.views, self.money)


async def look_at(queue: Queue, views: Sequence[BatchView]) -> Source:
    """The batches with the money as it stands now."""
    return Source(queue, tuple(views), await queue.read(clips.money))


async def each_clip(sources: Sequence[Source]) -> AsyncIterator[ClipView]:
    """Every job of every batch, batch by batch in the order of the ids."""
    for source in sources:
        for view in source.views:
            async for clip in clips.each_clip(source.queue, view.batch_id):
                yield _with_poster(clip, source.queue)


def _with_poster(clip: ClipView, queue: Queue) -> ClipView:
    if clip.state is not JobState.DONE:
        return clip
    poster = poster_path(queue.real_path("."), queue.identity.kind, clip.batch, clip.key)
    return replace(clip, poster=poster) if is_poster(poster) else clip
