"""`batchrun redo MANIFEST ID…`: buy a new take of finished jobs; the old clip goes to the history."""

import argparse

from batchrun.cli import wishes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    wishes.add_arguments(parser, all_without_ids=False)


def main(parsed: argparse.Namespace) -> int:
    """Ask for new takes."""
    return wishes.carry_out(parsed, "redo", lambda _: False)
