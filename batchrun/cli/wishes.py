"""What `retry`, `redo` and `cancel` share: which jobs of a manifest are meant, what became of each, what comes next."""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path

from batchrun import SCHEMA_VERSION
from batchrun.cli import common
from batchrun.cli.status_verb import batches_of, open_to_look
from batchrun.cli.terminal import json_text, say
from batchrun.clock import SystemClock
from batchrun.errors import ExitCode, UsageError
from batchrun.queue.store import Queue
from batchrun.queue.views import BatchName, JobView
from batchrun.queue.wishes import Answer, Granted, JobName, Verb

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
        print(json_text(_json(verb, granted)))
    else:
        say(*_lines(parsed, granted))
    # The next command of a script, `redo … && batchrun …`, counts on the jobs that were named; of "all" none is missing.
    lacking = parsed.ids and not all(one.as_asked for one in granted)
    return int(ExitCode.SOME_FAILED if lacking else ExitCode.DONE)


async def _grant(parsed: argparse.Namespace, verb: Verb, wanted: Wanted) -> list[Granted]:
    (path,) = common.queue_paths(parsed)
    queue = await open_to_look(path, SystemClock(), preview=parsed.preview)
    try:
        batches = batches_of(await queue.batches(), [parsed.manifest], queue)
        if not parsed.ids:
            return await queue.grant(verb, await _wanted(queue, batches, parsed, wanted))
        named = await _named(queue, batches, parsed)
        chosen = [(batch.batch_id, job.key) for batch, job in named if _has_tag(job, parsed.tag)]
        return [*await queue.grant(verb, chosen), *_untagged(named, parsed.tag)]
    finally:
        await queue.close()


async def _wanted(
    queue: Queue, batches: Sequence[BatchName], parsed: argparse.Namespace, wanted: Wanted
) -> list[JobName]:
    """Batch id and key of every job that the wish is for."""
    return [
        (batch.batch_id, job.key)
        for batch in batches
        async for job in queue.jobs(batch.batch_id)
        if wanted(job) and _has_tag(job, parsed.tag)
    ]


async def _named(
    queue: Queue, batches: Sequence[BatchName], parsed: argparse.Namespace
) -> list[tuple[BatchName, JobView]]:
    """The jobs that were named, in that order: `ID`, or `BATCH/ID` where two batches have it.

    Raises:
        UsageError: a name that no job has, or two.
    """
    found: dict[str, list[tuple[BatchName, JobView]]] = {name: [] for name in parsed.ids}
    known: set[str] = set()
    for batch in batches:
        async for job in queue.jobs(batch.batch_id):
            known.add(job.key)
            for name in {job.key, f"{batch.name}/{job.key}"} & found.keys():
                found[name].append((batch, job))
    for name, jobs in found.items():
        if not jobs:
            nearest = get_close_matches(name, known, 1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise UsageError(f"{parsed.manifest} has no job {name!r} in its queue{hint}; nothing was changed")
        if len(jobs) > 1:
            names = " and ".join(f"{batch.name}/{job.key}" for batch, job in jobs)
            raise UsageError(f"{name!r} stands for {names}: name one of them so; nothing was changed")
    return [one for (one,) in found.values()]


def _untagged(named: Sequence[tuple[BatchName, JobView]], tags: Sequence[str] | None) -> list[Granted]:
    """What is said of jobs that were named and have none of the tags."""
    text = f"has no tag {' or '.join(tags or ())}"
    return [Granted(batch.name, job.key, Answer.REFUSED, text) for batch, job in named if not _has_tag(job, tags)]


def _has_tag(job: JobView, tags: Sequence[str] | None) -> bool:
    return not tags or not {*tags}.isdisjoint(job.tags)


def _lines(parsed: argparse.Namespace, granted: Sequence[Granted]) -> list[str]:
    changed = [one for one in granted if one.changed]
    first = sorted(granted, key=lambda one: one.as_asked)[:_SHOWN]  # before all, what is not as it was asked to be
    lines = [f"{one.batch}/{one.key}: {one.text}" for one in first]
    if len(granted) > _SHOWN:
        lines.append(f"… and {len(granted) - _SHOWN} more")
    if not changed:
        return [*lines, "nothing was changed"]
    return [*lines, f"next: batchrun {common.command_of(parsed)}"]


def _json(verb: Verb, granted: Sequence[Granted]) -> dict[str, object]:
    jobs = [
        {"batch": one.batch, "id": one.key, "changed": one.changed, "as_asked": one.as_asked, "message": one.text}
        for one in granted
    ]
    return {"schema_version": SCHEMA_VERSION, "verb": verb, "jobs": jobs}
