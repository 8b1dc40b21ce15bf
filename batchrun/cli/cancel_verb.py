"""`batchrun cancel MANIFEST [ID…]`: take out what is not bought yet. What runs is paid for and stays."""

import argparse

from batchrun.cli import wishes
from batchrun.queue.states import JobState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    wishes.add_arguments(parser, all_without_ids=True)


def main(parsed: argparse.Namespace) -> int:
    """Take them out of the queue."""
    return wishes.carry_out(parsed, "cancel", lambda job: job.state is JobState.QUEUED)
