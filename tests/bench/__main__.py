"""`make bench`: every question, one table, the figures as JSON beside it.

A question is a module with `ask`, which comes back with an `Answer`; `QUESTIONS` is the list of them. Exit status 1: a figure
is absurd, that is broken and not slow.
"""

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench import clips, contest, crowd, emulated, growth, makespan, million, polling, start, store
from tests.bench.answers import FULL, QUICK, USUAL, Answer, Question, Setting, Sizes, markdown_table, text_table
from tests.bench.local import local_provider

ROOT = Path(__file__).parents[2]
README, PICTURE = ROOT / "README.md", ROOT / ".readme" / "growth.png"
MARKS = "<!-- bench -->\n", "<!-- end of bench -->"
"""What lies between them in the README is written by `--readme`."""
QUESTIONS: Sequence[Question] = (contest, makespan, crowd, store, million, start, clips, growth, emulated, polling)
SIZES = {"small": QUICK, "usual": USUAL, "large": FULL}
NOT_IN_README = ("emulated", "polling")
"""The first is for developers; the second has its place where polling is explained."""
_HEAD = ("measure", "batchrun", "beside it", "ratio")


def name_of(question: Question) -> str:
    """As on the command line and in the JSON."""
    return question.__name__.rpartition(".")[2]


def circumstances(size: str, rounds: int) -> str:
    """When, on what, how busy it was with other things before, and how much was measured."""
    cpu = Path("/proc/cpuinfo").read_text("utf-8").partition("model name")[2].partition("\n")[0].strip(" \t:")
    cores = len(os.sched_getaffinity(0))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {cores} cores ({cpu}), load {os.getloadavg()[0]:.1f} from other programs before it began, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {size} sizes, {rounds} rounds"
    )


def measure(sizes: Sizes, wanted: Sequence[str]) -> Iterator[tuple[str, Answer]]:
    """Every answer with its question's name, as soon as it is there."""
    with local_provider() as local, tempfile.TemporaryDirectory(prefix="batchrun-bench-") as folder:
        for question in QUESTIONS:
            name = name_of(question)
            if name in wanted:
                print(f"… {name}", file=sys.stderr)
                own = Path(folder) / name
                own.mkdir()
                yield name, question.ask(Setting(local, own, sizes))


def figures_of(answers: Mapping[str, Answer], where: str) -> dict[str, Any]:
    """What goes into the JSON."""
    return {"where": where, **{name: answer.figures for name, answer in answers.items()}}


def readme_part(answers: Mapping[str, Answer], where: str) -> str:
    """The tables as the README shows them."""
    shown = [answer for name, answer in answers.items() if name not in NOT_IN_README]
    tables = [f"{one.title}:\n\n{markdown_table(one.head, one.rows)}" for answer in shown for one in answer.tables]
    lines = [line.cells for answer in shown for line in answer.lines]
    return "\n\n".join([f"{where}.", *tables, markdown_table(_HEAD, lines)]) + "\n"


def write_readme(part: str) -> None:
    """Put it between the marks."""
    before, _, rest = README.read_text("utf-8").partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not end:
        raise SystemExit(f"{README} has no {MARKS[0].strip()} … {MARKS[1]} to write between")
    README.write_text(before + MARKS[0] + part + MARKS[1] + after, "utf-8")


def show(answers: Mapping[str, Answer]) -> None:
    """For a terminal."""
    for answer in answers.values():
        for table in answer.tables:
            print(f"\n{table.title}\n{text_table(table.head, table.rows)}")
    print("\n" + text_table(_HEAD, [line.cells for answer in answers.values() for line in answer.lines]))


def main() -> int:
    """Measure, show, write, judge."""
    names = [name_of(one) for one in QUESTIONS]
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=f"only these: {', '.join(names)}")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick", dest="size", action="store_const", const="small", default="usual", help="small sizes, one round"
    )
    size.add_argument(
        "--full", dest="size", action="store_const", const="large", help="a queue of a million jobs, 10,000 slots"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="of the comparison; medians are shown")
    parser.add_argument(
        "--json", type=Path, default=ROOT / "build" / "bench.json", metavar="FILE", help="where the figures go"
    )
    parser.add_argument("--readme", action="store_true", help="also put table and picture into the README")
    parsed = parser.parse_args()
    if unknown := set(parsed.questions) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    sizes = SIZES[parsed.size]
    if parsed.rounds is not None:
        sizes = replace(sizes, rounds=parsed.rounds)
    where = circumstances(parsed.size, sizes.rounds)
    parsed.json.parent.mkdir(parents=True, exist_ok=True)
    answers: dict[str, Answer] = {}
    for name, answer in measure(sizes, parsed.questions or names):
        answers[name] = answer
        parsed.json.write_text(json.dumps(figures_of(answers, where), indent=1) + "\n", "utf-8")
    show(answers)
    print(f"\nfigures: {parsed.json}")
    if parsed.readme:
        write_readme(readme_part(answers, where))
        subprocess.run([sys.executable, "-m", "tests.bench.plot", parsed.json, PICTURE], check=True)
    absurd = [text for answer in answers.values() for text in answer.absurd]
    for text in absurd:
        print(f"absurd: {text}", file=sys.stderr)
    return 1 if absurd else 0


if __name__ == "__main__":
    sys.exit(main())
