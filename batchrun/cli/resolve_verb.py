"""`batchrun resolve MANIFEST [ID…]`: decide what only a person can. Without a decision it only looks."""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchrun import SCHEMA_VERSION
from batchrun.cli import common
from batchrun.cli.status_verb import batches_of, open_to_look
from batchrun.cli.terminal import json_text, say
from batchrun.clock import Clock, SystemClock, rfc3339
from batchrun.errors import UsageError
from batchrun.provider.client import Client
from batchrun.provider.http import Http
from batchrun.queue.records import Job, OpenSubmit
from batchrun.queue.store import Queue
from batchrun.run import resolve
from batchrun.run.session import origin

_DECISIONS = "--adopt PREDICTION | --void | --leave | --accept"
_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="a YAML file")
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="jobs to decide; without any, all undecided ones are shown"
    )
    decision = parser.add_mutually_exclusive_group()
    decision.add_argument("--adopt", metavar="PREDICTION", help="the submit created this prediction: go on with it")
    decision.add_argument("--void", action="store_true", help="it created nothing: the next run buys the job again")
    decision.add_argument(
        "--leave", action="store_true", help="nobody can tell: its money counts as spent, it is not bought again"
    )
    decision.add_argument(
        "--accept",
        action="store_true",
        help="its clip, which `checks: strict` rejected, is good enough: nothing is bought",
    )
    parser.add_argument("--api-key-file", type=Path, metavar="FILE", help="read the key from a file (for --adopt)")
    parser.add_argument("--db", metavar="PATH", help="the queue's file")
    parser.add_argument("--json", action="store_true", help="print exactly one JSON object on standard output")
    parser.set_defaults(preview=False)


def main(parsed: argparse.Namespace) -> int:
    """Show or decide."""
    parsed.manifests = [parsed.manifest]
    return asyncio.run(_main(parsed, SystemClock()))


async def _main(parsed: argparse.Namespace, clock: Clock) -> int:
    (path,) = common.queue_paths(parsed)
    decides = bool(parsed.adopt or parsed.void or parsed.leave or parsed.accept)
    if decides and not parsed.ids:
        raise UsageError(f"name the jobs to decide: batchrun resolve MANIFEST ID … {_DECISIONS}")
    if parsed.adopt and len(parsed.ids) != 1:
        raise UsageError("--adopt takes one job: a prediction belongs to one of them")
    queue = await open_to_look(path, clock, preview=False)
    try:
        views = batches_of(await queue.batch_views(), [parsed.manifest], queue)
        names = [view.name for view in views]
        rejected = await queue.doubts.rejected([view.batch_id for view in views])
        undecided = [] if parsed.accept else await resolve.undecided(queue, names)
        # One of them may be named alone; a decision about a submit is none about a clip.
        candidates: list[OpenSubmit | Job] = [*undecided, *(rejected if parsed.accept or not decides else [])]
        chosen = _chosen(candidates, parsed.ids, ", ".join(names))
        if decides:
            await _decide(parsed, queue, clock, chosen)
            await queue.doubts.wake_twins()  # what waits for these need not wait longer
        shown = [_shown(one, queue) for one in chosen]
    finally:
        await queue.close()
    _print(parsed, shown, decides=decides)
    return 0


def _chosen(found: Sequence[OpenSubmit | Job], ids: Sequence[str], batch: str) -> list[OpenSubmit | Job]:
    """The asked ones; every id must name one, as `ID`, or as `BATCH/ID` where two batches have it."""
    by_name: dict[str, list[OpenSubmit | Job]] = {}
    for one in found:
        for name in (one.key, f"{one.batch}/{one.key}"):
            by_name.setdefault(name, []).append(one)
    missing = [name for name in ids if name not in by_name]
    if missing:
        keys = [one.key for one in found]
        open_ones = ", ".join(keys[:_SHOWN]) + (", …" if len(keys) > _SHOWN else "") or "none"
        raise UsageError(f"{', '.join(missing)}: nothing to decide so in {batch}; undecided are: {open_ones}")
    for name in ids:
        if len(by_name[name]) > 1:
            names = " and ".join(f"{one.batch}/{one.key}" for one in by_name[name])
            raise UsageError(f"{name!r} stands for {names}: name one of them so; nothing was changed")
    chosen = {(one.batch, one.key): one for name in ids for one in by_name[name]}
    return list(chosen.values()) if ids else list(found)


async def _decide(parsed: argparse.Namespace, queue: Queue, clock: Clock, chosen: Sequence[OpenSubmit | Job]) -> None:
    for job in chosen:
        if isinstance(job, Job):
            await resolve.accept(queue, job)
    submits = [one for one in chosen if isinstance(one, OpenSubmit)]
    if parsed.adopt:
        base_url = common.base_url()
        if queue.identity.origin != origin(base_url):
            raise UsageError(f"the queue belongs to {queue.identity.origin}; set WAVESPEED_BASE_URL to it")
        async with Http(base_url, common.read_key(parsed.api_key_file), clock) as http:
            await resolve.adopt(queue, Client(http, clock), submits[0], parsed.adopt)
        return
    for submit in submits:
        if parsed.void:
            await resolve.void(queue, clock, submit)
        else:
            await resolve.leave(queue, submit)


@dataclass(frozen=True, slots=True)
class _Shown:
    """One thing that waits for a decision, in words and for scripts."""

    name: str
    text: str
    as_json: Mapping[str, object]


def _shown(one: OpenSubmit | Job, queue: Queue) -> _Shown:
    if isinstance(one, OpenSubmit):
        text = (
            f"{one.job_state}, submitted {rfc3339(one.submitted_ms)}, attempt {one.attempt_id}\n"
            f"  {one.message or 'its outcome is still looked for by a run'}"
        )
        return _Shown(f"{one.batch}/{one.key}", text, _json(one))
    kept = resolve.kept_clip(queue.path.resolve().parent, one)
    attempt_id = one.attempt.attempt_id if one.attempt else None
    found = {"batch": one.batch, "id": one.key, "state": one.state.value, "attempt_id": attempt_id, "clip": str(kept)}
    return _Shown(f"{one.batch}/{one.key}", f"{one.state}, paid for; look at {common.shown_path(kept)}", found)


def _print(parsed: argparse.Namespace, shown: Sequence[_Shown], *, decides: bool) -> None:
    words = {"adopted": parsed.adopt, "void": parsed.void, "left": parsed.leave, "accepted": parsed.accept}
    decision = next((word for word, asked in words.items() if asked), None)
    if parsed.json:
        jobs = [one.as_json for one in shown]
        found = {"schema_version": SCHEMA_VERSION, "decision": decision, "jobs": jobs}
        print(json_text(found))
        return
    if not shown:
        print("nothing to decide")
    for one in shown:
        say(f"{one.name}: {decision if decides else one.text}")
    if shown:
        say(f"next: {_next(parsed, decides=decides)}")


def _next(parsed: argparse.Namespace, *, decides: bool) -> str:
    command = common.command_of(parsed)
    return f"batchrun {command}" if decides else f"batchrun resolve {command} ID {_DECISIONS}"


def _json(one: OpenSubmit) -> dict[str, object]:
    return {
        "batch": one.batch,
        "id": one.key,
        "state": one.job_state.value,
        "attempt_id": one.attempt_id,
        "submitted_ms": one.submitted_ms,
        "message": one.message,
        "picture_url": one.image_url,
    }
