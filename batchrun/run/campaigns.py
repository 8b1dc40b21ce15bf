"""Whether the manifests of a campaign say the same, also those that are not in this run."""

import asyncio
from collections.abc import Sequence

from batchrun.manifest.campaigns import check_campaigns, figures_of, read_figures
from batchrun.manifest.jobs import Batch
from batchrun.queue.store import Queue


async def check_all(queue: Queue | None, batches: Sequence[Batch]) -> None:
    """The manifests that were read, and those that the queue knows, as their files are now.

    Raises:
        UsageError: two of them differ.
    """
    mine = [figures for batch in batches if (figures := figures_of(batch)) is not None]
    names, paths = {figures.name for figures in mine}, {batch.path for batch in batches}
    known = await queue.batches() if queue is not None and names else []
    others = [queue.real_path(batch.manifest) for batch in known if queue is not None and batch.campaign in names]
    read = [await asyncio.to_thread(read_figures, path) for path in others if path not in paths]
    check_campaigns([*mine, *(figures for figures in read if figures is not None)])
