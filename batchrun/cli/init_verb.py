"""`batchrun init FOLDER|FILE.csv`: write a first manifest, with a comment on every line that one may want to change."""

import argparse
import csv
import glob
import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from batchrun import SCHEMA_VERSION
from batchrun.cli import common
from batchrun.cli.terminal import json_text, say
from batchrun.errors import UsageError
from batchrun.manifest.catalogue import models
from batchrun.manifest.document import DEFAULT_MODEL
from batchrun.manifest.names import check_name, fold
from batchrun.manifest.tables import DelimiterError, delimiter_of, said_delimiter
from batchrun.money import decimal_usd

_TABLES = (".csv", ".tsv")
_PICTURES = (".jpg", ".jpeg", ".png")
_OTHERS = (".webp", ".heic", ".heif", ".avif", ".gif", ".bmp", ".tif", ".tiff")
"""Pictures as well, which the provider does not take."""
_ID = ("sku", "id", "handle", "article", "product_id", "code")
_IMAGE = ("image_url", "image", "picture", "photo", "image_link", "img", "url", "file")
_SHORT_IMAGE = ("pic", "pics", "foto")
"""Of these the whole name counts: `topic` is no picture."""
_TEXT = ("title", "name", "product", "description")
_PROMPT = ("prompt", "motion")
_DURATION = ("duration", "duration_s", "seconds")
"""A column of these names is taken when it says 5 or 10 as far as one can see."""
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+")
_HEAD_BYTES = 65_536
_DURATION_S = 5
_SHOWN = 20
_ALLOW = "allow your user to list and to enter it, or copy the pictures to a folder of your own"
_MANIFEST = """\
version: 1
name: {name}   # the batch: its videos and its budget are kept under this name
output: videos/{{batch}}/{{id}}.mp4   # beside this file
defaults:
  duration: {duration}                        # 5 or 10 seconds: $0.25 or $0.50 a clip
  guidance_scale: 0.5                # 0..1: how closely the prompt is followed
  negative_prompt: blur, distortion
limits:
  budget: {budget}                       # US dollars for this batch, for ever; raise it when the preview looks right
  # tier: silver                     # of your account: bronze, silver, gold, ultra; without it 2 at once, 2 a minute
{rule}jobs:
{jobs}"""
_RULE = """\
on_invalid: skip   # what cannot be used is left out and listed, and the run ends with 3; `refuse` stops everything instead
"""
_GLOB = """\
  - from: {pattern}
    prompt: "slow push in on the {{stem}}, soft studio light"   # {{stem}}, {{name}}, {{folder}} of the file
    # tags: [new]
"""
_TABLE = """\
  - from: {source}
    id: {key}                      # becomes the name of the video
    image: {image}
    prompt: {prompt}   # any column: {columns}
{more}    # include: {{{row}: [one, two]}}     # only some rows
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="FOLDER|FILE.csv",
        help="pictures in a folder, or a table with a column of pictures",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the manifest's file (default: beside the source, named after it)",
    )
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)


def main(parsed: argparse.Namespace) -> int:
    """Write the manifest; print its path and what to do next."""
    source: Path = parsed.source
    _check_is_there(source)
    target = parsed.output or source.resolve().parent / f"{source.resolve().stem}.yaml"
    found = _of_folder(source, target) if source.is_dir() else _of_table(source, target)
    price_usd_micros = models()[DEFAULT_MODEL].price_usd_micros[_DURATION_S]
    text = _MANIFEST.format(
        name=_scalar(_name_of(target)),
        duration=_DURATION_S,
        budget=decimal_usd(min(found.clips, 20) * price_usd_micros),
        rule=_RULE if found.unusable else "",
        jobs=found.jobs,
    )
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{target} exists and is left as it is; name another file with -o") from None
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror or error}; name another file with -o") from error
    shown = common.shown_path(target)
    again = shlex.quote(shown)
    if parsed.json:
        print(json_text({"schema_version": SCHEMA_VERSION, "file": str(target.absolute()), "left_out": found.unusable}))
    else:
        say(shown, f"next: batchrun plan {again}", f"then: batchrun {again} --preview --limit 5")
    if found.others:
        say(f"  left out: {found.others}", to=sys.stderr)
    _say_unusable(found.unusable)
    return 0


def _check_is_there(source: Path) -> None:
    """Raises UsageError."""
    next_step = "name a folder of pictures or a .csv file"
    try:
        if source.exists():
            return
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}; {next_step}") from error
    raise UsageError(f"there is no {source}; {next_step}")


def _say_unusable(reasons: Sequence[str]) -> None:
    if not reasons:
        return
    more = [f"… and {len(reasons) - _SHOWN} more"] if len(reasons) > _SHOWN else []
    text = ["left out because of their names, until they are renamed (see on_invalid):", *reasons[:_SHOWN], *more]
    say(*(f"  {line}" if at else line for at, line in enumerate(text)), to=sys.stderr)


def _scalar(text: str) -> str:
    """The text as a value or a key of YAML: as it is where that is read as this very text, else in quotes."""
    try:
        found = yaml.safe_load(f"a: {text}   # b\nc: {{{text}: d}}")
    except (yaml.YAMLError, ValueError):
        found = None
    return text if found == {"a": text, "c": {text: "d"}} else _quoted(text)


def _quoted(text: str) -> str:
    """Not as JSON, which leaves characters as they are that YAML does not allow, or takes for the end of a line."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{text!r} is not UTF-8, and no manifest can say it; rename the file or the folder") from None
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=_HEAD_BYTES * 10).rstrip("\n")


def _remark(text: str) -> str:
    """What may stand in a comment: one line, whatever a cell holds."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def _name_of(target: Path) -> str:
    try:
        return check_name(target.stem)
    except ValueError:
        return "catalog"


class _Found(NamedTuple):
    """What the source gives."""

    jobs: str
    """The text of the entries."""
    clips: int
    """How many clips there may be."""
    unusable: Sequence[str] = ()
    """Pictures that cannot be used as they are named, and why."""
    others: str = ""
    """How many are of other types, and what to do."""


def _of_folder(folder: Path, target: Path) -> _Found:
    try:
        files = sorted(
            one
            for one in folder.iterdir()
            if one.suffix.lower() in (*_PICTURES, *_OTHERS) and not one.name.startswith(".") and not one.is_dir()
        )
    except OSError as error:
        raise UsageError(f"{folder} cannot be listed: {error.strerror or error}; {_ALLOW}") from error
    pictures = [one for one in files if one.suffix.lower() in _PICTURES]
    others = _others([one for one in files if one.suffix.lower() in _OTHERS])
    if not pictures:
        raise UsageError(f"{folder} holds no {', '.join(_PICTURES)} files{f', but {others}' if others else ''}")
    start = glob.escape(Path(os.path.relpath(folder, target.resolve().parent)).as_posix())
    patterns = sorted({f"{start}/*{one.suffix}" for one in pictures})
    entries = [_GLOB.format(pattern=_quoted(pattern)) for pattern in patterns]
    usable, reasons = _named_well(pictures)
    return _Found("".join(entries), max(1, usable), reasons, others)


def _others(files: Sequence[Path]) -> str:
    if not files:
        return ""
    types = ", ".join(sorted({one.suffix.lower() for one in files}))
    count = f"{len(files):,} {'picture' if len(files) == 1 else 'pictures'}"
    return f"{count} of a type that the provider does not take ({types}); convert to .jpg or .png to use them"


def _named_well(pictures: Sequence[Path]) -> tuple[int, list[str]]:
    """How many can be used, and why the others cannot."""
    by_id: dict[str, list[str]] = {}
    reasons = []
    for one in pictures:
        try:
            by_id.setdefault(fold(check_name(one.stem)), []).append(one.name)
        except ValueError as error:
            reasons.append(f"{one.name}: {error}")
    clashes = [names for names in by_id.values() if len(names) > 1]
    reasons += [f"{' and '.join(names)} would have one id" for names in clashes]
    return len(by_id) - len(clashes), reasons


def _of_table(path: Path, target: Path) -> _Found:
    if path.suffix.lower() not in _TABLES:
        raise UsageError(f"{path} is neither a folder nor a .csv or .tsv file")
    if "*" in path.name or "?" in path.name:
        raise UsageError(f"{path}: in a manifest * and ? stand for a pattern of pictures; rename the file")
    names, count, seen, delimiter = _columns(path)
    columns = [name for name in names if name and not {"{", "}"} & set(name)]  # no template can name the others
    image = _named(columns, (*_IMAGE, *_SHORT_IMAGE)) or _guess(columns, _IMAGE)
    if image is None:
        raise UsageError(
            f"{path} has no column that looks like a picture's ({', '.join(_IMAGE[:4])} …); it has: {_remark(', '.join(names))}"
        )
    key = _named(columns, _ID) or _with_word(columns, _ID) or columns[0]  # there is that of the picture
    written, length = _named(columns, _PROMPT), _named(columns, _DURATION)
    text = _guess(columns, _TEXT) or key
    prompt = f"{{{written}}}" if written else f"slow push in on the {{{text}}}, soft studio light"
    is_length = length is not None and seen[length] <= {"5", "10"}
    more = f"    duration: {_quoted(f'{{{length}}}')}\n" if is_length else ""
    if delimiter:
        more += (
            f"    delimiter: {json.dumps(delimiter)}                      # the header holds several that it may be\n"
        )
    source = Path(os.path.relpath(path, target.resolve().parent)).as_posix()
    jobs = _TABLE.format(
        source=_scalar(source),
        key=_quoted(f"{{{key}}}"),
        image=_quoted(f"{{{image}}}"),
        prompt=_quoted(prompt),
        columns=_remark(", ".join(columns[:12])),
        more=more,
        row=_remark(_scalar(key)),
    )
    return _Found(jobs, count)


def _columns(path: Path) -> tuple[list[str], int, dict[str, set[str]], str | None]:
    """The header, how many rows there may be, each column's values, all from the beginning of the file.

    And what separates the columns, where a manifest must say it.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as UTF-8 text: {error}") from error
    lines = head.splitlines(keepends=True)
    said = said_delimiter(lines[0]) if lines else None
    lines = lines if said is None else lines[1:]
    delimiter, must_be_said = _delimiter(path, lines[0] if lines else "", said)
    rows = list(csv.reader(lines, delimiter=delimiter))
    columns = [name.strip() for name in rows[0]] if rows else []
    if len([name for name in columns if name]) < 2:  # noqa: PLR2004  # a picture and something to say about it
        raise UsageError(f"{path} needs a first line with the names of its columns, two at least")
    whole = rows[1:-1] if len(head) == _HEAD_BYTES else rows[1:]
    count = sum(1 for row in rows[1:] if any(cell.strip() for cell in row))
    if not count:
        raise UsageError(f"{path} has no rows below its header: there is nothing to make clips of")
    seen = {name: {row[at].strip() for row in whole if at < len(row)} for at, name in enumerate(columns)}
    return columns, count, seen, delimiter if must_be_said else None


def _delimiter(path: Path, header: str, said: str | None) -> tuple[str, bool]:
    """What separates the columns, and whether the manifest must say it because its reader would ask."""
    if path.suffix.lower() == ".tsv":
        return "\t", False
    if said is not None:
        return said, False
    try:
        return delimiter_of(header), False
    except DelimiterError as error:
        return error.likely, True


def _guess(columns: list[str], words: tuple[str, ...]) -> str | None:
    """The column whose name is one of the words, else one that holds such a word, by itself at best."""
    return (
        _named(columns, words)
        or _with_word(columns, words)
        or next((column for word in words for column in columns if word in column.lower()), None)
    )


def _with_word(columns: list[str], words: tuple[str, ...]) -> str | None:
    """The column that holds a word between marks or capitals: `Product-ID`, `productId`, but no `Video` or `Width`."""
    parts = {column: _PART.findall(column) for column in columns}
    return next((column for word in words for column in columns if word in map(str.lower, parts[column])), None)


def _named(columns: list[str], words: tuple[str, ...]) -> str | None:
    """The column whose name is one of the words, the first words first."""
    by_name = {column.lower().replace(" ", "_"): column for column in reversed(columns)}
    return next((by_name[word] for word in words if word in by_name), None)
