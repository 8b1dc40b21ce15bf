"""What a run is asked for on the command line, and `plan` with it: the same words, the same meaning."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from batchrun.cli import common
from batchrun.clock import next_local_ms
from batchrun.errors import ManifestError, Problem, UsageError
from batchrun.manifest.digests import DigestCache
from batchrun.manifest.jobs import Batch
from batchrun.manifest.read import load_manifest
from batchrun.plan import Selection
from batchrun.provider.urls import is_loopback, origin_of
from batchrun.run.terms import Options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which jobs, how many first, until when, for how much, with whose key."""
    parser.add_argument(
        "--only", action="append", metavar="ID", help="only these jobs, * and ? as in file names; repeatable"
    )
    parser.add_argument("--tag", action="append", metavar="TAG", help="only jobs with this tag; repeatable")
    parser.add_argument(
        "--limit",
        type=common.count_argument,
        metavar="N",
        help="buy clips for at most so many jobs, the highest priorities first",
    )
    parser.add_argument(
        "--canary", type=common.count_argument, default=0, metavar="N",
        help="buy the first N, and the others only when these are done and look well",
    )  # fmt: skip
    until = parser.add_mutually_exclusive_group()
    until.add_argument(
        "--finish-by", type=common.time_argument, metavar="HH:MM",
        help="start nothing that will most likely not be ready by then (this machine's time of the day; one that is past is tomorrow's)",
    )  # fmt: skip
    until.add_argument(
        "--max-duration", type=common.seconds_argument, metavar="TIME", help="the same, so long from now: 2h"
    )
    parser.add_argument("--max-spend", type=common.usd_argument, metavar="USD", help="this run spends at most so much")
    parser.add_argument(
        "--yes", action="store_true",
        help="agree to buying finished clips anew whose inputs have changed, however many (see confirm_rerun_above)",
    )  # fmt: skip
    parser.add_argument("--api-key-file", type=Path, metavar="FILE", help="read the key from a file")


def selection_of(parsed: argparse.Namespace) -> Selection:
    """The jobs that are asked for."""
    return Selection(only=tuple(parsed.only or ()), tags=tuple(parsed.tag or ()), limit=parsed.limit)


def options_of(
    parsed: argparse.Namespace, queue_path: Path, manifests: tuple[Path, ...], *, key: str | None, now_ms: int
) -> Options:
    """The run over one queue. Raises UsageError."""
    base_url = common.base_url()
    return Options(
        kind="preview" if parsed.preview else "paid",
        base_url=base_url,
        origin=origin_of(base_url),
        key=key,
        queue_path=queue_path,
        manifests=manifests,
        selection=selection_of(parsed),
        canary=parsed.canary,
        deadline_ms=_deadline_ms(parsed, now_ms),
        max_spend_usd_micros=parsed.max_spend,
        agree=lambda _: bool(parsed.yes),
    )


def _deadline_ms(parsed: argparse.Namespace, now_ms: int) -> int | None:
    if parsed.max_duration is not None:
        return now_ms + int(parsed.max_duration * 1000)
    return next_local_ms(now_ms, *parsed.finish_by) if parsed.finish_by else None


def load(options: Options, cache: DigestCache) -> list[Batch]:
    """The manifests of one queue; every problem of every one of them at once.

    Raises:
        ManifestError: what is wrong with them.
        UsageError: two of them have one name.
    """
    previews = options.kind == "preview"
    fast = previews or is_loopback(options.base_url)
    batches: list[Batch] = []
    problems: list[Problem] = []
    unlisted_count = 0
    for path in options.manifests:
        try:
            batches.append(load_manifest(path, fast=fast, previews=previews, cache=cache))
        except ManifestError as error:
            problems += error.problems
            unlisted_count += error.unlisted_count
    if problems:
        raise ManifestError(problems, unlisted_count)
    _check_names(batches)
    return batches


def _check_names(batches: Sequence[Batch]) -> None:
    names: dict[str, Path] = {}
    for batch in batches:
        first = names.setdefault(batch.name, batch.path)
        if first != batch.path:
            raise UsageError(
                f"{first} and {batch.path} are both named {batch.name!r}; give one of them another `name:`"
            )
