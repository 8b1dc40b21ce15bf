"""`batchrun completion SHELL`: a script for the shell, from the very parsers. It is static: completing starts no Python."""

import argparse
from pathlib import Path

import shtab

from batchrun.cli.main import VERBS, add_verbs, bare_parser, verb_module

SHELLS = ("bash", "zsh", "fish")
_FILES = ("FILE", "PATH", "FOLDER")
_VERBLESS = {
    "bash": (
        (
            "_shtab_batchrun_pos_0_choices=",
            "_shtab_batchrun_pos_0_COMPGEN=_shtab_compgen_files\n_shtab_batchrun_pos_0_choices=",
        ),
    ),
    "zsh": (
        ("        run) ", "        run|*.yaml|*.yml|*/*) "),
        ("_describe 'batchrun commands' _commands", "_describe 'batchrun commands' _commands\n  _files -g '*.y(a|)ml'"),
    ),
    "fish": (
        (
            "complete -c batchrun -f\n",
            "complete -c batchrun -f\ncomplete -c batchrun -n _shtab_batchrun_using -ka '(__fish_complete_suffix .yaml)'\n",
        ),
    ),
}
"""What a generated script lacks to take a manifest in the place of a verb (`run` may be left out)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The shell."""
    parser.add_argument("shell", choices=SHELLS, help="which shell")


def main(parsed: argparse.Namespace) -> int:
    """Print the script."""
    print(script(parsed.shell), end="")
    return 0


def script(shell: str) -> str:
    """The completion of every verb, option and file."""
    parser = bare_parser()
    run = argparse.ArgumentParser(add_help=False)
    verb_module("run").add_arguments(run)
    for action in run._actions:  # noqa: SLF001  # argparse has no other way to copy options
        if action.option_strings:
            parser._add_action(action)  # noqa: SLF001  # the same
    verbs = add_verbs(parser, VERBS)
    for one in (parser, *verbs.choices.values()):  # type: ignore[union-attr]  # of subparsers: a mapping
        _complete_files(one)
    text = shtab.complete(parser, shell)
    for old, new in _VERBLESS[shell]:
        if old not in text:
            raise RuntimeError(f"the {shell} script has no {old!r} any more")
        text = text.replace(old, new, 1)
    return text


def _complete_files(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:  # noqa: SLF001  # shtab reads the same
        if action.type is Path or action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks
