"""Which verb was typed, and the exit code of whatever happened. Imports nothing heavy: `--help` must be quick."""

import argparse
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import batchrun
from batchrun.cli import streams
from batchrun.cli.terminal import json_text, say
from batchrun.errors import EXIT_MEANING, BatchrunError, ExitCode, ManifestError, UsageError
from batchrun.files import is_folder

VERBS = {
    "run": "generate what is new or changed (the verb may be left out before a manifest)",
    "plan": "for each job whether and why it would run, and what it would cost; changes nothing",
    "status": "counts, money, what is running, waiting, parked, failed and why",
    "list": "the jobs, filtered",
    "retry": "allow failed jobs another attempt: all of them, by id, or by kind",
    "redo": "buy a new take of finished jobs",
    "cancel": "take out what is not bought yet; what runs is paid for and stays",
    "report": "one HTML gallery of all clips, a CSV or JSON table, or a statement of money",
    "resolve": "decide what only a person can: submits of unknown outcome, and clips that `checks: strict` rejected",
    "init": "write a first manifest for a folder of pictures or a table",
    "schema": "the manifest's JSON Schema, for editors",
    "completion": "what bash, zsh or fish need to complete these commands and their options",
    "emulator": "the provider's API on this machine, for other programs and for rehearsals",
}

_NAMES: dict[str, Callable[[str], object]] = {"manifests": Path, "ids": str}
"""Of which a verb takes several."""

_EPILOG = """\
examples:
  batchrun jobs/catalog.yaml --preview    free, no key: the same pipeline on this machine
  batchrun jobs/catalog.yaml              make what is new or changed
  batchrun jobs/catalog.yaml --no-new     only collect what is already paid for
  batchrun plan jobs/catalog.yaml         what a run would do, why, and for how much
  batchrun status jobs/catalog.yaml       how it stands
  batchrun report jobs/catalog.yaml       a page with every clip; prints where it is

environment:
  WAVESPEED_API_KEY    the provider's key; never a flag
  WAVESPEED_BASE_URL   another address of the API (default https://api.wavespeed.ai)
  BATCHRUN_DB          the queue's file (default .batchrun/queue.db beside the manifest)

exit status:
"""


def entry() -> None:
    """The console script."""
    streams.prepare()
    try:
        code = main(sys.argv[1:])
    except SystemExit as end:  # argparse has printed a help text or the version
        code = _unless_lost(end.code if isinstance(end.code, int) else 0)
    lost = streams.lost_output()
    if lost is not None:
        print(f"standard output cannot be written: {lost.strerror}", file=sys.stderr)
    sys.exit(code)


def main(arguments: Sequence[str]) -> int:
    """Carry out one command; the exit status."""
    parser = bare_parser()
    words = _with_verb(list(arguments))
    if not words:
        add_verbs(parser, ())
        parser.print_help()
        return int(ExitCode.USAGE)
    if words[0] not in VERBS and not words[0].startswith("-"):
        return _fail(_unknown(words[0]), as_json="--json" in words)
    try:
        return _dispatch(parser, words)
    except KeyboardInterrupt:  # a run ends itself; what looks or asks leaves without more
        if "--json" in words:
            _print_error(
                {
                    "schema_version": batchrun.SCHEMA_VERSION,
                    "exit_code": int(ExitCode.INTERRUPTED),
                    "error": "stopped by Ctrl-C",
                }
            )
        return int(ExitCode.INTERRUPTED)


def _dispatch(parser: "_Parser", words: list[str]) -> int:
    add_verbs(parser, {words[0]})
    try:
        parsed = _parsed(parser, words)
    except UsageError as error:
        return _fail(error, as_json="--json" in words)
    if parsed.verb is None:
        parser.print_help()
        return int(ExitCode.USAGE)
    code = _carry_out(verb_module(parsed.verb).main, parsed)
    # What a run has bought is there, whoever reads of it; of the other verbs the output is what was asked for.
    return code if parsed.verb == "run" and not parsed.dry_run else _unless_lost(code)


def _parsed(parser: "_Parser", words: list[str]) -> argparse.Namespace:
    parsed, unknown = parser.parse_known_args(words)
    if unknown and not any(word.startswith("-") for word in unknown):
        # argparse takes the names before an option only: `plan a.yaml --all b.yaml`, `retry a.yaml --kind K ID`
        for dest, kind in _NAMES.items():
            if isinstance(before := getattr(parsed, dest, None), list):
                setattr(parsed, dest, [*before, *map(kind, unknown)])
                unknown = []
    if unknown:  # argparse itself would point to the help of the program, which does not name any option
        prog = f"{parser.prog} {parsed.verb}" if parsed.verb else parser.prog
        raise UsageError(f"{prog}: unrecognized arguments: {' '.join(unknown)}; see {prog} --help")
    return parsed


def _unless_lost(code: int) -> int:
    return int(ExitCode.UNEXPECTED) if code == ExitCode.DONE and streams.lost_output() is not None else code


def add_verbs(parser: argparse.ArgumentParser, wanted: Collection[str]) -> argparse.Action:
    """Every verb, and the options of those that are wanted: the others need not be imported."""
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, text in VERBS.items():
        subparser = subparsers.add_parser(name, help=text, description=text, formatter_class=_Formatter)
        if name in wanted:
            verb_module(name).add_arguments(subparser)
    return subparsers


def verb_module(name: str) -> ModuleType:
    """The module that knows a verb's options and carries it out."""
    return import_module(f"batchrun.cli.{name}_verb")


def _carry_out(verb: Callable[[argparse.Namespace], int], parsed: argparse.Namespace) -> int:
    as_json = getattr(parsed, "json", False)
    try:
        _check_place(parsed)
        return verb(parsed)
    except BatchrunError as error:
        return _fail(error, as_json=as_json)


def _check_place(parsed: argparse.Namespace) -> None:
    """Whether relative paths mean anything. Raises UsageError."""
    try:
        Path.cwd()
    except OSError as error:
        typed = [one for value in vars(parsed).values() for one in (value if isinstance(value, list) else [value])]
        typed.append(Path(getattr(parsed, "db", None) or os.environ.get("BATCHRUN_DB") or "/"))
        relative = [str(one) for one in typed if isinstance(one, Path) and not one.is_absolute()]
        if relative:
            text = f"{relative[0]} cannot be found: the working directory is gone or cannot be read ({error.strerror})"
            raise UsageError(f"{text}; give the whole path, or change to another folder") from error


def _fail(error: BatchrunError, *, as_json: bool) -> int:
    code = int(error.exit_code)
    if as_json:
        _print_error(error_json(error))
    say(*str(error).split("\n"), to=sys.stderr)
    return code


def _print_error(found: Mapping[str, object]) -> None:
    """Not behind another object, or half of one: nobody could read either. Then the exit status alone says it."""
    if not streams.has_output():
        print(json_text(found))


def error_json(error: BatchrunError) -> dict[str, object]:
    """The one object that `--json` prints when the command could not be carried out."""
    found: dict[str, object] = {
        "schema_version": batchrun.SCHEMA_VERSION,
        "exit_code": int(error.exit_code),
        "error": str(error),
    }
    if isinstance(error, ManifestError):
        found["problems"] = [one.as_json() for one in error.problems]
        found["problems_unlisted"] = error.unlisted_count
    return found


def _with_verb(words: list[str]) -> list[str]:
    """`run` may be left out before a manifest or an option; verbs win."""
    if not words or words[0] in VERBS or words[0] in ("-h", "--help", "--version"):
        return words
    first = words[0]
    is_manifest = first.endswith((".yaml", ".yml")) or "/" in first or os.sep in first
    return ["run", *words] if is_manifest or first.startswith("-") else words


def _unknown(word: str) -> BatchrunError:
    if word.lower().endswith((".csv", ".tsv", ".jsonl", ".ndjson")) or is_folder(Path(word)):
        return UsageError(f"{word!r} is no manifest; batchrun init {word} writes one for it")
    nearest = get_close_matches(word, VERBS, 1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return UsageError(
        f"{word!r} is neither a command ({', '.join(VERBS)}) nor a manifest (a path that ends in .yaml or .yml){hint}"
    )


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=100)


class _Parser(argparse.ArgumentParser):
    """Raises what is wrong instead of printing it, so that `--json` can print its one object."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse."""
        raise UsageError(f"{self.prog}: {message}; see {self.prog} --help")


def bare_parser() -> _Parser:
    """Everything but the verbs."""
    codes = "\n".join(f"  {int(code):<4} {meaning}" for code, meaning in EXIT_MEANING.items())
    parser = _Parser(
        prog="batchrun",
        description="Turns a catalog of product pictures into short videos, unattended, for a known amount of money.",
        epilog=_EPILOG + codes,
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"batchrun {batchrun.__version__}")
    return parser
