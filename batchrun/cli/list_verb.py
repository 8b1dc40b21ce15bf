"""`batchrun list MANIFEST…`: the jobs of a queue, filtered and sorted. Only looks."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from batchrun import SCHEMA_VERSION
from batchrun.cli import common
from batchrun.cli.status_verb import batches_of, open_to_look
from batchrun.cli.terminal import json_text, say
from batchrun.clock import Clock, SystemClock, local_minute, rfc3339
from batchrun.money import decimal_usd, format_usd
from batchrun.queue.states import JobState
from batchrun.queue.views import JobView
from batchrun.video.signs import Sign

_SHOWN_CHARS = 60
_KEPT = 1000
_LEFT = "no longer in the manifest"
_ANY = "any"
_STATES = [*JobState]


@dataclass(frozen=True, slots=True)
class Listed:
    """One job of a batch."""

    batch: str
    job: JobView


SORTS: dict[str, Callable[[Listed], object]] = {
    "id": lambda one: one.job.key,
    "state": lambda one: _STATES.index(one.job.state),
    "cost": lambda one: -one.job.spent_usd_micros,
    "updated": lambda one: -one.job.changed_ms,
    "priority": lambda one: -one.job.priority,
}
"""What comes first: the dearest, the newest, the highest. Within equals the manifest's order."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    common.add_manifests(parser)
    parser.add_argument(
        "--only", action="append", metavar="ID", help="only these jobs, * and ? as in file names; repeatable"
    )
    parser.add_argument("--tag", action="append", metavar="TAG", help="only jobs with this tag; repeatable")
    parser.add_argument(
        "--state", action="append", choices=[state.value for state in JobState], metavar="STATE",
        help=f"only jobs in this state; repeatable: {', '.join(JobState)}",
    )  # fmt: skip
    parser.add_argument("--kind", action="append", metavar="KIND", help="only jobs that failed so; repeatable")
    parser.add_argument(
        "--warning", action="append", choices=[_ANY, *Sign], metavar="WORD",
        help=f"only clips that look wrong so; repeatable: {', '.join([_ANY, *Sign])}",
    )  # fmt: skip
    parser.add_argument("--sort", choices=SORTS, help="by this instead of the manifest's order")
    parser.add_argument("--limit", type=common.count_argument, metavar="N", help="the first so many")
    parser.add_argument("--json", action="store_true", help="print exactly one JSON object on standard output")


def main(parsed: argparse.Namespace) -> int:
    """Print the jobs."""
    shown, total = asyncio.run(_first(parsed, SystemClock()))
    if parsed.json:
        jobs = [_json(one) for one in shown]
        print(json_text({"schema_version": SCHEMA_VERSION, "total": total, "jobs": jobs}))
    else:
        say(*_table(shown))
        if total > len(shown):
            print(f"… and {total - len(shown):,} more")
    return 0


async def _first(parsed: argparse.Namespace, clock: Clock) -> tuple[list[Listed], int]:
    """The first of the wanted jobs, and how many are wanted. With `--limit` few more are kept than it says."""
    first: list[Listed] = []
    total = 0
    async for one in _wanted(parsed, clock):
        total += 1
        first.append(one)
        if parsed.limit is not None and len(first) >= 2 * parsed.limit + _KEPT:
            first = _sorted(first, parsed.sort)[: parsed.limit]
    return _sorted(first, parsed.sort)[: parsed.limit], total


def _sorted(found: list[Listed], sort: str | None) -> list[Listed]:
    return sorted(found, key=SORTS[sort]) if sort else found  # type: ignore[arg-type]  # each gives one kind of key


async def _wanted(parsed: argparse.Namespace, clock: Clock) -> AsyncIterator[Listed]:
    states = [JobState(state) for state in parsed.state or JobState]
    for path, manifests in common.queue_paths(parsed).items():
        queue = await open_to_look(Path(path), clock, preview=parsed.preview)
        try:
            for batch in batches_of(await queue.batches(), manifests, queue):
                async for job in queue.jobs(batch.batch_id, states):
                    if _is_wanted(job, parsed):
                        yield Listed(batch.name, job)
        finally:
            await queue.close()


def _is_wanted(job: JobView, parsed: argparse.Namespace) -> bool:
    return (
        (not parsed.only or any(fnmatchcase(job.key, pattern) for pattern in parsed.only))
        and (not parsed.tag or bool({*parsed.tag} & {*job.tags}))
        and (not parsed.kind or job.kind in parsed.kind)
        and (not parsed.warning or bool({*parsed.warning} & {*job.warnings, *([_ANY] if job.warnings else [])}))
    )


def _json(one: Listed) -> dict[str, object]:
    job = one.job
    return {
        "batch": one.batch,
        "id": job.key,
        "state": job.state.value,
        "kind": job.kind,
        "message": job.message,
        "prompt": job.prompt,
        "duration_s": job.duration_s,
        "take": job.take,
        "tags": list(job.tags),
        "priority": job.priority,
        "in_manifest": job.current,
        "updated": rfc3339(job.changed_ms),
        "output": str(job.output),
        "size_bytes": job.size_bytes,
        "clip": {name: fact for name, fact in job.facts.items() if name != "warnings"},
        "warnings": list(job.warnings),
        "spent_usd": decimal_usd(job.spent_usd_micros),
        "prediction_id": job.prediction_id,
        "attempt_id": job.attempt_id,
    }


def _table(shown: Sequence[Listed]) -> list[str]:
    """Columns under a heading; the batch is named where there are several."""
    if not shown:
        return ["no jobs"]
    several = len({one.batch for one in shown}) > 1
    rows = [("job", "state", "cost", "updated", "clip, or why there is none")]
    rows += [_row(one, several=several) for one in shown]
    wide = [max(len(row[at]) for row in rows) for at in range(4)]
    return [
        f"{job:<{wide[0]}}  {state:<{wide[1]}}  {cost:>{wide[2]}}  {updated:<{wide[3]}}  {what}".rstrip()
        for job, state, cost, updated, what in rows
    ]


def _row(one: Listed, *, several: bool) -> tuple[str, str, str, str, str]:
    job = one.job
    name = f"{one.batch}/{job.key}" if several else job.key
    return name, job.state.value, format_usd(job.spent_usd_micros), local_minute(job.changed_ms), _what(job)


def _what(job: JobView) -> str:
    notes = [] if job.current else [_LEFT]
    if job.state is JobState.DONE:
        text, notes = common.shown_path(job.output), [*job.warnings, *notes]
    else:
        text = f"{job.kind}: {job.message}" if job.kind and job.message else job.message or job.prompt
        text = text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
    return text + (f"  [{', '.join(notes)}]" if notes else "")
