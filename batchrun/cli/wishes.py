"""What `retry`, `redo` and `cancel` share: which jobs of a manifest are meant, what became of each, what comes next."""

import argparse
import asyncio
import json
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path

from batchrun.cli import common
from batchrun.cli.status_verb import batches_of, open_to_look
from batchrun.clock import SystemClock
from batchrun.errors import UsageError
from batchrun.queue.store import Queue
from batchrun.queue.views import JobView
from batchrun.queue.wishes import Granted, Verb
from batchrun.run.summary import SCHEMA_VERSION

Wanted = Callable[[JobView], bool]
_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser, *, all_without_ids: bool) -> None:
    """A manifest and the jobs of it."""
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="a YAML file")
    which = "jobs of it; without any, all that can be" if all_without_ids else "jobs of it"
    parser.add_argument("ids", nargs="*" if all_without_ids else "+", metavar="ID", help=which)
    parser.add_argument("--tag", action="append", metavar="TAG", help="only jobs with this tag; repeatable")
    parser.add_argument("--preview", action="store_true", help="the previews' queue")
    parser.add_argument("--db", metavar="PATH", help="the queue's file")
    parser.add_argument("--json", action="store_true", help="print exactly one JSON object on standard output")


def carry_out(parsed: argparse.Namespace, verb: Verb, wanted: Wanted) -> int:
    """Grant the wish for the named jobs, or for all that are wanted, and say what became of each."""
    parsed.manifests = [parsed.manifest]
    granted = asyncio.run(_grant(parsed, verb, wanted))
    if parsed.json:
        print(json.dumps(_json(verb, granted), ensure_ascii=False, indent=2))
    else:
        print("\n".join(_lines(parsed, granted)))
    return 0


async def _grant(parsed: argparse.Namespace, verb: Verb, wanted: Wanted) -> list[Granted]:
    (path,) = common.queue_paths(parsed)
    queue = await open_to_look(path, SystemClock(), preview=parsed.preview)
    try:
        batches = batches_of(await queue.batches(), [parsed.manifest], queue)
        batch_ids = [batch.batch_id for batch in batches]
        return await queue.grant(verb, batch_ids, await _keys(queue, batch_ids, parsed, wanted))
    finally:
        await queue.close()


async def _keys(queue: Queue, batch_ids: Sequence[int], parsed: argparse.Namespace, wanted: Wanted) -> list[str]:
    tags, ids = set(parsed.tag or ()), set(parsed.ids)
    known: set[str] = set()
    chosen: list[str] = []
    for batch_id in batch_ids:
        async for job in queue.jobs(batch_id):
            known.add(job.key)
            if (job.key in ids if ids else wanted(job)) and (not tags or tags & {*job.tags}):
                chosen.append(job.key)
    if not ids:
        return chosen
    for key in parsed.ids:
        if key not in known:
            nearest = get_close_matches(key, known, 1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise UsageError(f"{parsed.manifest} has no job {key!r} in its queue{hint}; nothing was changed")
    return [key for key in dict.fromkeys(parsed.ids) if key in chosen]


def _lines(parsed: argparse.Namespace, granted: Sequence[Granted]) -> list[str]:
    changed = [one for one in granted if one.changed]
    lines = [f"{one.batch}/{one.key}: {one.text}" for one in granted[:_SHOWN]]
    if len(granted) > _SHOWN:
        lines.append(f"… and {len(granted) - _SHOWN} more")
    if not changed:
        return [*lines, "nothing was changed"]
    preview = " --preview" if parsed.preview else ""
    return [*lines, f"next: batchrun {common.shown_path(parsed.manifest)}{preview}"]


def _json(verb: Verb, granted: Sequence[Granted]) -> dict[str, object]:
    jobs = [{"batch": one.batch, "id": one.key, "changed": one.changed, "message": one.text} for one in granted]
    return {"schema_version": SCHEMA_VERSION, "verb": verb, "jobs": jobs}
