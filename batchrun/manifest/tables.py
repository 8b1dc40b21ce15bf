"""Files of rows (csv, tsv, jsonl) to lists of text, one row at a time, with the line that each begins in.

Two kinds of trouble: a row that cannot be used is handed out as a `BadRow`, and the next one follows; a file that cannot be
read on from somewhere (encoding, a quote that is not closed) is a `TableError`.

Bounds: 4 GiB a file, 1 MiB a line, 1 MiB characters a field, 2,000 columns.
"""

import codecs
import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

MAX_FILE_BYTES = 4 * 2**30
MAX_LINE_BYTES = 2**20
MAX_COLUMNS = 2_000
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_GUESSED = (",", ";", "\t", "|")
_SAID = re.compile(r"sep=([,;\t|])\s*", re.IGNORECASE)


class TableError(Exception):
    """The file cannot be read on from here. Column 0 is none."""

    def __init__(self, line: int, message: str, column: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class DelimiterError(Exception):
    """Nobody can tell what separates the columns; `likely` stands most often in the header."""

    def __init__(self, message: str, likely: str) -> None:
        super().__init__(message)
        self.likely = likely


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used, and why."""

    message: str


Row = Sequence[str] | BadRow


class Table(Protocol):
    """Rows whose values stand at known indexes."""

    @property
    def columns(self) -> Sequence[str]:
        """Every column there is, for messages."""

    @property
    def index(self) -> Mapping[str, int]:
        """Where the value of a column stands in a row."""

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Each row with its first line. Raises TableError where the file cannot be read on."""


# ---------------------------------------------------------------------- lines


def _lines(file: BinaryIO) -> Iterator[str]:
    """Every line as text, its end included.

    Raises:
        TableError: not UTF-8, a NUL byte, a line without end.
    """
    number = size_bytes = 0
    while raw := _line(file, number + 1):
        number += 1
        size_bytes += len(raw)
        if number == 1:
            if raw.startswith(_UTF_16):
                raise TableError(1, "is UTF-16; save the file as UTF-8 (in Excel: “CSV UTF-8”)", 1)
            raw = raw.removeprefix(codecs.BOM_UTF8)
        if len(raw) > MAX_LINE_BYTES:
            raise TableError(number, f"is longer than {MAX_LINE_BYTES // 2**20} MiB; is this a file of rows?")
        if size_bytes > MAX_FILE_BYTES:  # it may grow while it is read
            raise TableError(number, f"the file is larger than {MAX_FILE_BYTES // 2**30} GiB; split it")
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            column = error.start + 1
            message = f"byte 0x{raw[error.start]:02x} (byte {column} of the line) is not UTF-8; save the file as UTF-8"
            raise TableError(number, message, column) from None
        if "\0" in text:
            column = text.index("\0") + 1
            raise TableError(number, "holds a NUL byte; save the file as UTF-8 text (UTF-16 looks like this)", column)
        yield text


def _line(file: BinaryIO, number: int) -> bytes:
    try:
        return file.readline(MAX_LINE_BYTES + 1)
    except OSError as error:
        raise TableError(number, f"cannot be read: {error.strerror or error}") from error


# ---------------------------------------------------------------------- csv, tsv


class CsvTable:
    """Rows under a header. `delimiter` None: told by the header.

    Raises:
        TableError: the header is empty, has a column without a name or a name twice.
        DelimiterError: the header does not tell.
    """

    def __init__(self, file: BinaryIO, delimiter: str | None) -> None:
        # Else 131,072: a shop's text with a picture in it is longer, and stopped the table even where nobody asks for it.
        csv.field_size_limit(MAX_LINE_BYTES)
        lines = _lines(file)
        first = next(lines, "")
        said = said_delimiter(first)
        self._lines_before = 0 if said is None else 1
        if said is not None:
            first, delimiter = next(lines, ""), delimiter or said
        self._reader = csv.reader(_again(first, lines), delimiter=delimiter or delimiter_of(first), strict=True)
        header = next(self._rows(), None)
        if header is None or not any(name.strip() for name in header[1]):
            raise TableError(1 + self._lines_before, "is empty; the first line names the columns")
        self.columns: Sequence[str] = tuple(name.strip() for name in header[1])
        _check_header(self.columns, header[0])
        self.index: Mapping[str, int] = {name: at for at, name in enumerate(self.columns)}

    def rows(self) -> Iterator[tuple[int, Row]]:
        """See `Table`. Lines without any value are none."""
        width = len(self.columns)
        for line, cells in self._rows():
            row = [cell.strip() for cell in cells]
            if len(row) == width:
                if any(row):
                    yield line, row
            elif any(row):
                yield line, BadRow(f"has {len(row)} fields, but the header names {width} columns")

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        reader = self._reader
        while True:
            line = reader.line_num + 1 + self._lines_before
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise TableError(line, _csv_words(str(error))) from None
            yield line, cells


def _again(first: str, rest: Iterable[str]) -> Iterator[str]:
    if first:
        yield first
    yield from rest


def said_delimiter(line: str) -> str | None:
    """What `sep=;` says, a first line by which Excel is told, and which it hides; None of a line that is the header."""
    found = _SAID.fullmatch(line)
    return found[1] if found else None


def delimiter_of(header: str) -> str:
    """What separates the names of the header; a header of one column has none, and any will do.

    Raises:
        DelimiterError: it may be one or another.
    """
    bare = re.sub(r'"[^"]*"?', "", header)
    found = [mark for mark in _GUESSED if mark in bare]
    if len(found) > 1:
        shown = " and ".join(map(repr, found))
        likely = max(found, key=bare.count)
        example = json.dumps(likely)
        raise DelimiterError(
            f"the header holds {shown}; say which one separates the columns: `delimiter: {example}`", likely
        )
    return found[0] if found else ","


def _check_header(columns: Sequence[str], line: int) -> None:
    if len(columns) > MAX_COLUMNS:
        raise TableError(line, f"has {len(columns):,} columns; at most {MAX_COLUMNS:,} are read")
    first: dict[str, int] = {}
    for at, name in enumerate(columns, start=1):
        if not name:
            raise TableError(line, f"column {at} has no name; name it, or take it out")
        if name in first:
            raise TableError(line, f"columns {first[name]} and {at} are both named {name!r}; give one another name")
        first[name] = at


def _csv_words(found: str) -> str:
    """The csv module's findings for people."""
    if "field larger than" in found:
        return f"a field has more than {csv.field_size_limit():,} characters; often a quote that is not closed"
    if "unexpected end of data" in found:
        return "a quote that opens in this row is never closed"
    if "expected after" in found:
        return "text follows a closing quote; a quote inside a quoted field is written twice"
    if "new-line character" in found:
        return "holds a line end of old Macs (CR alone); save the file with LF or CRLF"
    return f"cannot be read: {found}"


# ---------------------------------------------------------------------- jsonl


class JsonLinesTable:
    """One object a line. The columns are the keys of the objects, as far as it must be read to find all `wanted`."""

    def __init__(self, file: BinaryIO, wanted: Sequence[str]) -> None:
        self._file = file
        self.columns: Sequence[str] = self._find(wanted)
        known = set(self.columns)
        self.index: Mapping[str, int] = {name: at for at, name in enumerate(wanted) if name in known}
        self._wanted = tuple(wanted)

    def _find(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Usually the first object has them all; a key that no object has is only known at the end."""
        keys: dict[str, None] = {}
        missing = set(wanted)
        for _, found in self._objects():
            if isinstance(found, dict):
                keys.update(dict.fromkeys(found))
                missing.difference_update(found)
            if not missing or len(keys) > MAX_COLUMNS:
                break
        self._file.seek(0)
        return tuple(keys)

    def rows(self) -> Iterator[tuple[int, Row]]:
        """See `Table`. A key that an object does not have is an empty value."""
        for line, found in self._objects():
            yield line, found if isinstance(found, BadRow) else self._values(found)

    def _values(self, found: Mapping[str, object]) -> Row:
        try:
            return [_text(found.get(name), name) for name in self._wanted]
        except ValueError as error:
            return BadRow(str(error))

    def _objects(self) -> Iterator[tuple[int, dict[str, object] | BadRow]]:
        for number, line in enumerate(_lines(self._file), start=1):
            if line.strip():
                yield number, _object(line)


def _object(line: str) -> dict[str, object] | BadRow:
    try:
        found = _DECODER.decode(line)
    except json.JSONDecodeError as error:
        return BadRow(f"is not JSON at character {error.pos + 1}: {error.msg}")
    except ValueError as error:
        return BadRow(str(error))
    except RecursionError:
        return BadRow("is nested too deeply")
    return found if isinstance(found, dict) else BadRow("is not an object; write one {…} a line")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} stands twice in one object")
    return found


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is not a number")


# Numbers stay the text that was written: 00.10 is no float, and an id of 20 digits is not rounded.
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=str, parse_float=str, parse_constant=_no_number)
_WORDS = {True: "true", False: "false", None: ""}


def _text(value: object, name: str) -> str:
    """A JSON value as a cell would say it; a list as its values with commas."""
    if isinstance(value, str):
        if not value.isascii() and _SURROGATE.search(value):
            raise ValueError(f"{name!r} holds half a character (a lone surrogate)")
        return value.strip()
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, list) and not any(isinstance(one, list) for one in value):
        return ",".join(_text(one, name) for one in value)
    raise ValueError(f"{name!r} is {'a list of lists' if isinstance(value, list) else 'an object'}; a value is text")
