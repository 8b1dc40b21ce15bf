"""`batchrun retry MANIFEST [ID…]`: failed jobs may be bought once more. Never touches unknown, parked or rejected ones."""

import argparse

from batchrun.cli import wishes
from batchrun.queue.views import JobView
from batchrun.queue.wishes import NOT_UNNAMED, RETRIED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    wishes.add_arguments(parser, all_without_ids=True)
    parser.add_argument("--kind", action="append", metavar="KIND", help="only jobs that failed so; repeatable")


def main(parsed: argparse.Namespace) -> int:
    """Allow them another attempt."""

    def wanted(job: JobView) -> bool:
        is_meant = job.kind in parsed.kind if parsed.kind else job.kind not in NOT_UNNAMED
        return job.current and job.state in RETRIED and is_meant

    return wishes.carry_out(parsed, "retry", wanted)
