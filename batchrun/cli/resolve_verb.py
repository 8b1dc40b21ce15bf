"""`batchrun resolve MANIFEST [ID…]`: decide submits whose outcome nobody can tell. Without a decision it only looks."""

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from batchrun.cli import common
from batchrun.cli.status_verb import batches_of, open_to_look
from batchrun.clock import Clock, SystemClock, rfc3339
from batchrun.errors import UsageError
from batchrun.provider.client import Client
from batchrun.provider.http import Http
from batchrun.queue.records import OpenSubmit
from batchrun.queue.store import Queue
from batchrun.run import resolve
from batchrun.run.session import origin
from batchrun.run.summary import SCHEMA_VERSION


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
    decides = bool(parsed.adopt or parsed.void or parsed.leave)
    if decides and not parsed.ids:
        raise UsageError(
            "name the jobs to decide: batchrun resolve MANIFEST ID … --adopt PREDICTION | --void | --leave"
        )
    if parsed.adopt and len(parsed.ids) != 1:
        raise UsageError("--adopt takes one job: a prediction belongs to one of them")
    queue = await open_to_look(path, clock, preview=False)
    try:
        names = [view.name for view in batches_of(await queue.batch_views(), [parsed.manifest], queue)]
        chosen = _chosen(await resolve.undecided(queue, names), parsed.ids, ", ".join(names))
        if decides:
            await _decide(parsed, queue, clock, chosen)
            await queue.doubts.wake_twins()  # what waits for these need not wait longer
    finally:
        await queue.close()
    _print(parsed, chosen, decides=decides)
    return 0


def _chosen(found: Sequence[OpenSubmit], ids: Sequence[str], batch: str) -> list[OpenSubmit]:
    """The asked ones; every id must name one."""
    by_key = {one.key: one for one in found}
    missing = [key for key in ids if key not in by_key]
    if missing:
        open_ones = ", ".join(by_key) or "none"
        raise UsageError(f"{', '.join(missing)}: nothing to decide in {batch}; undecided are: {open_ones}")
    return [by_key[key] for key in dict.fromkeys(ids)] if ids else list(found)


async def _decide(parsed: argparse.Namespace, queue: Queue, clock: Clock, chosen: Sequence[OpenSubmit]) -> None:
    if parsed.adopt:
        base_url = common.base_url()
        if queue.identity.origin != origin(base_url):
            raise UsageError(f"the queue belongs to {queue.identity.origin}; set WAVESPEED_BASE_URL to it")
        async with Http(base_url, common.read_key(parsed.api_key_file), clock) as http:
            await resolve.adopt(queue, Client(http, clock), chosen[0], parsed.adopt)
        return
    for submit in chosen:
        if parsed.void:
            await resolve.void(queue, clock, submit)
        else:
            await resolve.leave(queue, submit)


def _print(parsed: argparse.Namespace, chosen: Sequence[OpenSubmit], *, decides: bool) -> None:
    decision = "adopted" if parsed.adopt else "void" if parsed.void else "left" if parsed.leave else None
    if parsed.json:
        jobs = [_json(one) for one in chosen]
        print(json.dumps({"schema_version": SCHEMA_VERSION, "decision": decision, "jobs": jobs}, indent=2))
        return
    if not chosen:
        print("nothing to decide")
    for one in chosen:
        print(f"{one.batch}/{one.key}: {decision}" if decides else _line(one))
    if chosen:
        print(f"next: {_next(parsed, decides=decides)}")


def _next(parsed: argparse.Namespace, *, decides: bool) -> str:
    manifest = common.shown_path(parsed.manifest)
    if decides:
        return f"batchrun {manifest}"
    return f"batchrun resolve {manifest} ID --adopt PREDICTION | --void | --leave"


def _line(one: OpenSubmit) -> str:
    return (
        f"{one.batch}/{one.key}: {one.job_state}, submitted {rfc3339(one.submitted_ms)}, attempt {one.attempt_id}\n"
        f"  {one.message or 'its outcome is still looked for by a run'}"
    )


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
