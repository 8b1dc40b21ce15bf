"""`batchrun schema`: the manifest's JSON Schema on standard output, for editors."""

import argparse
import json

from batchrun.manifest.schema import manifest_schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)


def main(_: argparse.Namespace) -> int:
    """Print it."""
    print(json.dumps(manifest_schema(), ensure_ascii=False, indent=2))
    return 0
