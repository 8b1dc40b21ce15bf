"""`batchrun status MANIFEST…`: how a queue stands. Only looks."""

import argparse
import asyncio
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from batchrun import SCHEMA_VERSION
from batchrun.cli import common
from batchrun.cli.terminal import json_text, say
from batchrun.clock import Clock, SystemClock
from batchrun.errors import QueueError
from batchrun.money import decimal_usd, format_usd
from batchrun.queue.records import Balance, Scope
from batchrun.queue.states import JobState
from batchrun.queue.store import Queue
from batchrun.queue.views import BatchName, BatchView, JobView, RunView
from batchrun.run.clip_notes import warning_lines, warnings_json
from batchrun.run.problems import problem_lines, problems_json
from batchrun.run.summary import (
    batch_line,
    counts_json,
    counts_of,
)

B = TypeVar("B", BatchName, BatchView)


@dataclass(slots=True)
class Standing:
    """How the asked batches stand."""

    batches: list[BatchView] = field(default_factory=list)
    balances: dict[str, Balance] = field(default_factory=dict)
    running: list[tuple[str, JobView]] = field(default_factory=list)
    runs: list[RunView] = field(default_factory=list)
    refunds_due_usd_micros: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    common.add_manifests(parser)
    parser.add_argument("--json", action="store_true", help="print exactly one JSON object on standard output")


def main(parsed: argparse.Namespace) -> int:
    """Print how it stands."""
    clock = SystemClock()
    standing = asyncio.run(_look(common.queue_paths(parsed), clock, preview=parsed.preview))
    if parsed.json:
        print(json_text(_json(standing)))
    else:
        say(*_lines(standing, clock.now_ms()))
    return 0


async def open_to_look(path: Path, clock: Clock, *, preview: bool) -> Queue:
    """The queue, which must exist."""
    return await Queue.open(path, clock, kind="preview" if preview else "paid", origin=None, create=False)


def batches_of(views: Sequence[B], manifests: Sequence[Path], queue: Queue) -> list[B]:
    """The batches that were last read from these manifests; what was not read yet beside others is said.

    Raises:
        QueueError: the queue knows none of them, or one is not there either: it is mistyped.
    """
    known = {queue.real_path(view.manifest) for view in views}
    new = [path for path in manifests if common.real_path(path) not in known]
    names = [common.shown_path(path) for path in new]
    # A new manifest must not end the nightly report of a whole folder; a name that nothing has is no such thing.
    if lost := [name for path, name in zip(new, names, strict=True) if not os.path.lexists(path)]:
        raise QueueError(f"there is no {', '.join(lost)}, and the queue knows nothing of it")
    if len(new) == len(manifests):
        raise QueueError(f"the queue knows nothing of {', '.join(names)} yet; batchrun {shlex.join(names)} reads it")
    unread = [f"the queue knows nothing of {name} yet; batchrun {shlex.quote(name)} reads it" for name in names]
    if unread:
        say(*unread, to=sys.stderr)
    wanted = {common.real_path(path) for path in manifests}
    return [view for view in views if queue.real_path(view.manifest) in wanted]


async def _look(queues: dict[Path, tuple[Path, ...]], clock: Clock, *, preview: bool) -> Standing:
    standing = Standing()
    for path, manifests in queues.items():
        queue = await open_to_look(path, clock, preview=preview)
        try:
            standing.runs += await queue.living_runs()
            due = await queue.doubts.refunds_due()
            for view in batches_of(await queue.batch_views(), manifests, queue):
                standing.batches.append(view)
                standing.balances[view.name] = await queue.balance(Scope(batch_id=view.batch_id))
                standing.refunds_due_usd_micros += sum(
                    one.amount_usd_micros for one in due if one.batch_id == view.batch_id
                )
                async for job in queue.jobs(view.batch_id, [JobState.RUNNING]):
                    standing.running.append((view.name, job))
        finally:
            await queue.close()
    return standing


def _total(standing: Standing) -> Balance:
    return Balance(
        held_usd_micros=sum(balance.held_usd_micros for balance in standing.balances.values()),
        spent_usd_micros=sum(balance.spent_usd_micros for balance in standing.balances.values()),
    )


def _json(standing: Standing) -> dict[str, object]:
    total = _total(standing)
    return {
        "schema_version": SCHEMA_VERSION,
        **counts_json(standing.batches, None),
        "spent_usd": decimal_usd(total.spent_usd_micros),
        "held_usd": decimal_usd(total.held_usd_micros),
        "refund_due_usd": decimal_usd(standing.refunds_due_usd_micros),
        "runs": [
            {"run_id": run.run_id, "host": run.host, "pid": run.pid, "waiting": run.waiting} for run in standing.runs
        ],
        "running_jobs": [
            {"batch": batch, "id": job.key, "prediction_id": job.prediction_id, "submitted_ms": job.submitted_ms}
            for batch, job in standing.running
        ],
        "not_fine": problems_json(standing.batches),
        **warnings_json(standing.batches),
    }


def _lines(standing: Standing, now_ms: int) -> list[str]:
    lines: list[str] = []
    for view in standing.batches:
        balance = standing.balances[view.name]
        held = f", {format_usd(balance.held_usd_micros)} held" if balance.held_usd_micros else ""
        lines.append(batch_line(view, counts_of(view, None)))
        lines.append(f"  {format_usd(balance.spent_usd_micros)} spent{held}")
    for batch, job in standing.running[:_SHOWN]:
        age_s = (now_ms - (job.submitted_ms or now_ms)) // 1000
        lines.append(f"  {batch}/{job.key}: running for {age_s} s, prediction {job.prediction_id}")
    if len(standing.running) > _SHOWN:
        lines.append(f"  … and {len(standing.running) - _SHOWN} more are running")
    if standing.refunds_due_usd_micros:
        lines.append(f"  waiting for {format_usd(standing.refunds_due_usd_micros)} of refunds for failed tasks")
    for run in standing.runs:
        doing = f"waits: {run.waiting}" if run.waiting else "is at work"
        lines.append(f"  process {run.pid} on {run.host.split()[0]} {doing}")
    return [*lines, *problem_lines(standing.batches), *warning_lines(standing.batches)]


_SHOWN = 10
