"""`from:` entries: which file or pattern is meant, opened, bound to its templates, and read row by row."""

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import BinaryIO

from batchrun.errors import Problem
from batchrun.manifest.collected import MAX_JOBS, Collected, RowPlace, Skips, beside
from batchrun.manifest.document import SourcePart
from batchrun.manifest.entries import ADD_ID, JobMaker, Rules
from batchrun.manifest.globs import GlobError, find_files, is_pattern
from batchrun.manifest.pictures import Facts, facts_of, facts_of_open
from batchrun.manifest.problems import Problems
from batchrun.manifest.rows import RowReader, Templates
from batchrun.manifest.tables import (
    MAX_FILE_BYTES,
    BadRow,
    CsvTable,
    DelimiterError,
    JsonLinesTable,
    Row,
    Table,
    TableError,
)
from batchrun.manifest.yamltext import Loc

_JSON = (".jsonl", ".ndjson")
_CSV = (".csv", ".tsv")
_PICTURE_FIELDS = ("stem", "name", "folder")
_PATH = ""  # the column of the path itself; no template can name it

Located = tuple[str, int, Row]
"""A row with its file as shown and its first line; 0 is none."""


class Watch:
    """The files of one reading as they were when they were opened."""

    def __init__(self) -> None:
        self._seen: list[tuple[Path, str, Facts | None]] = []

    def add(self, path: Path, shown: str, facts: Facts | None) -> None:
        """Before the first byte is read."""
        self._seen.append((path, shown, facts))

    def changed(self) -> str | None:
        """A file that is no longer the one that was read, as shown."""
        return next((shown for path, shown, facts in self._seen if facts_of(path) != facts), None)


class Sources:
    """Reads the `from:` entries of one manifest into `collected`."""

    def __init__(
        self,
        folder: Path,
        problems: Problems,
        collected: Collected,
        rules: Rules,
        maker: JobMaker,
        skips: Skips | None,
        watch: Watch,
    ) -> None:
        self._folder = folder
        self._problems = problems
        self._collected = collected
        self._rules = rules
        self._maker = maker
        self._skips = skips
        self._watch = watch

    def read(self, part: SourcePart, loc: Loc, wrong: frozenset[str] = frozenset()) -> None:
        """Every row of one entry. What is wrong with the entry, the file or a row is noted, but the keys in `wrong`."""
        templates = Templates(part, wrong, loc, self._problems, self._rules)
        suffix = PurePath(part.source).suffix.lower()
        is_table = suffix in (*_CSV, *_JSON)
        if "from" in wrong:
            return
        if problem := _no_source(part.source, is_table=is_table):
            templates.wrong("from", problem)
            return
        for field, message in _misuses(part, suffix, is_table=is_table):
            if field not in wrong:
                templates.wrong(field, message)
        if is_table:
            self._table(templates, suffix, can_split="delimiter" not in wrong)
        else:
            self._pictures(templates)

    # ------------------------------------------------------------------ tables

    def _table(self, templates: Templates, suffix: str, *, can_split: bool) -> None:
        source = templates.part.source
        shown = beside(self._problems.file, source)
        path = self._folder / source
        try:
            file = _open(path)
        except _SourceError as error:
            self._watch.add(path, shown, None)
            templates.wrong("from", f"{shown} {error}")
            return
        with file:
            self._watch.add(path, shown, facts_of_open(file))
            try:
                if can_split:
                    self._read_table(file, suffix, shown, templates)
            except TableError as error:
                self._problems.note(Problem(shown, error.line, error.column, "", str(error)))
            except DelimiterError as error:
                templates.wrong("from", f"{shown}: {error}")

    def _read_table(self, file: BinaryIO, suffix: str, shown: str, templates: Templates) -> None:
        table = _table_of(file, suffix, templates)
        templates.check_columns(shown, table.columns, table.index)
        if templates.are_filters_right:
            rows = ((shown, line, row) for line, row in table.rows())
            self._rows(RowReader(templates, table.index), rows, shown, templates)

    # ------------------------------------------------------------------ pictures

    def _pictures(self, templates: Templates) -> None:
        source = templates.part.source
        try:
            paths = find_files(str(self._folder), source)
        except GlobError as error:
            templates.wrong("from", f"{source[:80]!r}: {error}")
            return
        if not paths:
            templates.wrong("from", f"{source!r} matches no file; paths are relative to the manifest")
            return
        templates.take_image(_PATH)
        index = {name: at for at, name in enumerate((*_PICTURE_FIELDS, _PATH))}
        templates.check_columns(repr(source), _PICTURE_FIELDS, index)
        if templates.are_filters_right:
            rows = ((beside(self._problems.file, path), 0, _picture_row(path)) for path in paths)
            reader = RowReader(templates, index, self._rename(templates))
            self._rows(reader, rows, beside(self._problems.file, source), templates)

    def _rename(self, templates: Templates) -> str:
        """What helps against a file's name."""
        skip = "" if self._skips else ", or leave such pictures out with `on_invalid: skip`"
        return f"rename it{skip} ({templates.source_place})"

    # ------------------------------------------------------------------ rows

    def _rows(self, reader: RowReader, rows: Iterator[Located], shown: str, templates: Templates) -> None:
        place = RowPlace(shown, self._skips or self._problems)
        self._collected.begin(shown)
        count = 0
        for file, line, row in rows:
            count += 1
            if isinstance(row, BadRow):
                place.move(line, None, file)
                place.wrong("", row.message)
            elif reader.is_taken(row):
                self._row(reader, row, place, line, file)
            else:
                continue
            if place.is_wrong and self._skips:
                self._skips.count += 1
            if len(self._collected) > MAX_JOBS:
                templates.wrong("from", f"the manifest has more than {MAX_JOBS:,} jobs; split it")
                return
        if not count:
            templates.wrong("from", f"{shown} has no rows")

    def _row(self, reader: RowReader, row: Sequence[str], place: RowPlace, line: int, file: str) -> None:
        key = reader.key(row)
        place.move(line, key, file)
        entry = reader.entry(row, key, place)
        spec = self._maker.make(entry, len(self._collected), place, reader.rename or ADD_ID)
        # A row that is wrong is left out, or the whole manifest is refused: then it is looked at for its id alone.
        if spec is not None and not (place.is_wrong and self._skips):
            self._collected.add(spec, line)


def _no_source(source: str, *, is_table: bool) -> str | None:
    """Why nobody can tell what is meant."""
    if "\0" in source:
        return "cannot be a path"
    if not is_table and not is_pattern(source):
        return (
            f"{source!r} is neither a table (.csv, .tsv, .jsonl, .ndjson) nor a pattern of pictures such as "
            "images/*.png; one picture is written as `image:` without `from:`"
        )
    if is_table and ("*" in source or "?" in source):
        return f"{source!r}: a pattern stands for pictures; write an entry for each table"
    return None


def _misuses(part: SourcePart, suffix: str, *, is_table: bool) -> Iterator[tuple[str, str]]:
    """The keys that do not go with the kind of source, and what to do."""
    if is_table and part.image is None:
        yield "image", 'is missing; say which column holds the picture, such as image: "{image_url}"'
    if not is_table and part.image is not None:
        yield "image", "does not go with a pattern: the files that it matches are the pictures; take `image:` out"
    if part.delimiter is not None and suffix not in _CSV:
        yield "delimiter", "goes with .csv and .tsv only; take it out"


class _SourceError(Exception):
    """The file cannot be opened; the text goes after its name."""


def _open(path: Path) -> BinaryIO:
    """A regular file, not too large: opening a pipe would wait for ever."""
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise _SourceError("is a folder; write a file, or a pattern such as images/*.png")
        if not stat.S_ISREG(found.st_mode):
            raise _SourceError("is not a regular file")
        if found.st_size > MAX_FILE_BYTES:
            raise _SourceError(f"is larger than {MAX_FILE_BYTES // 2**30} GiB; split it")
        return path.open("rb")
    except FileNotFoundError:
        raise _SourceError("does not exist; paths are relative to the manifest") from None
    except OSError as error:
        raise _SourceError(f"cannot be read: {error.strerror or error}") from error


def _table_of(file: BinaryIO, suffix: str, templates: Templates) -> Table:
    if suffix in _JSON:
        return JsonLinesTable(file, templates.wanted)
    return CsvTable(file, templates.part.delimiter or ("\t" if suffix == ".tsv" else None))


def _picture_row(path: str) -> Row:
    try:
        path.encode()
    except UnicodeEncodeError:
        return BadRow("its name is not UTF-8; rename it")
    pure = PurePath(path)
    return (pure.stem, pure.name, pure.parent.name, path)
