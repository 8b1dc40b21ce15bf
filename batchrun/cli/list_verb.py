"""`batchrun list MANIFEST…`: the jobs of a queue, filtered. Only looks."""

import argparse
import asyncio
import json
from pathlib import Path

from batchrun.cli import common
from batchrun.cli.status_verb import batches_of, open_to_look
from batchrun.clock import Clock, SystemClock
from batchrun.money import decimal_usd, format_usd
from batchrun.queue.states import JobState
from batchrun.queue.views import JobView
from batchrun.run.summary import SCHEMA_VERSION

_SHOWN_CHARS = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    common.add_manifests(parser)
    parser.add_argument(
        "--state",
        action="append",
        choices=[state.value for state in JobState],
        help="only jobs in this state; repeatable",
    )
    parser.add_argument("--tag", action="append", metavar="TAG", help="only jobs with this tag; repeatable")
    parser.add_argument("--json", action="store_true", help="print exactly one JSON object on standard output")


def main(parsed: argparse.Namespace) -> int:
    """Print the jobs."""
    found = asyncio.run(_look(parsed, SystemClock()))
    if parsed.json:
        jobs = [_json(batch, job) for batch, job in found]
        print(json.dumps({"schema_version": SCHEMA_VERSION, "jobs": jobs}, ensure_ascii=False, indent=2))
    else:
        print("\n".join(_table(found)))
    return 0


async def _look(parsed: argparse.Namespace, clock: Clock) -> list[tuple[str, JobView]]:
    found: list[tuple[str, JobView]] = []
    for path, manifests in common.queue_paths(parsed).items():
        queue = await open_to_look(Path(path), clock, preview=parsed.preview)
        try:
            for view in batches_of(await queue.batch_views(), manifests, queue):
                jobs = await queue.jobs(view.batch_id)
                found += [(view.name, job) for job in jobs if _wanted(job, parsed.state, parsed.tag)]
        finally:
            await queue.close()
    return found


def _wanted(job: JobView, states: list[str] | None, tags: list[str] | None) -> bool:
    return (not states or job.state in states) and (not tags or bool({*tags} & {*job.tags}))


def _json(batch: str, job: JobView) -> dict[str, object]:
    return {
        "batch": batch,
        "id": job.key,
        "state": job.state.value,
        "kind": job.kind,
        "message": job.message,
        "prompt": job.prompt,
        "duration_s": job.duration_s,
        "take": job.take,
        "tags": list(job.tags),
        "priority": job.priority,
        "output": str(job.output),
        "size_bytes": job.size_bytes,
        "clip": {name: fact for name, fact in job.facts.items() if name != "warnings"},
        "warnings": list(job.warnings),
        "spent_usd": decimal_usd(job.spent_usd_micros),
        "prediction_id": job.prediction_id,
        "attempt_id": job.attempt_id,
    }


def _table(found: list[tuple[str, JobView]]) -> list[str]:
    if not found:
        return ["no jobs"]
    width = max(len(f"{batch}/{job.key}") for batch, job in found)
    return [
        f"{f'{batch}/{job.key}':<{width}}  {job.state:<11}  {format_usd(job.spent_usd_micros):>6}  {_what(job)}"
        for batch, job in found
    ]


def _what(job: JobView) -> str:
    if job.state is JobState.DONE:
        return common.shown_path(job.output) + (f"  [{', '.join(job.warnings)}]" if job.warnings else "")
    text = job.message or job.prompt
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
