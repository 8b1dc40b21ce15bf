"""The jobs of one reading and where each of them stands: ids are unique, and what clashes names both places."""

import os
from array import array
from bisect import bisect_right
from dataclasses import replace
from pathlib import Path

from batchrun.errors import Problem
from batchrun.manifest.jobs import JobSpec, SkippedRows
from batchrun.manifest.names import fold
from batchrun.manifest.problems import MAX_LISTED, Problems, show_path
from batchrun.manifest.yamltext import Loc

MAX_JOBS = 2_000_000
_SHOWN_ID_CHARS = 60


def beside(manifest: str, path: str) -> str:
    """A path that is written in a manifest, shown as the manifest itself is shown."""
    return os.path.normpath(os.path.join(os.path.dirname(manifest), path))  # noqa: PTH118, PTH120  # text to text


class Skips:
    """Rows that are left out: all of them counted, what is wrong with them listed up to a bound."""

    def __init__(self) -> None:
        self.count = 0
        self._found: list[Problem] = []

    def note(self, problem: Problem) -> None:
        """One thing that is wrong with a row."""
        if len(self._found) < MAX_LISTED:
            self._found.append(problem)

    def rows(self) -> SkippedRows:
        """All of them, in the order of files and lines."""
        return SkippedRows(self.count, tuple(sorted(self._found)))


class EntryPlace:
    """See `entries.Place`: a mapping of the manifest."""

    def __init__(self, loc: Loc, problems: Problems) -> None:
        self.loc = loc
        self._problems = problems

    def wrong(self, field: str, message: str) -> None:
        """See `entries.Place`."""
        self._problems.add((*self.loc, field) if field else self.loc, message)

    def shown(self, field: str) -> str:
        """See `entries.Place`."""
        return show_path((*self.loc, field))


class RowPlace:
    """See `entries.Place`: the present row of a source. One object moves from row to row."""

    def __init__(self, file: str, sink: Problems | Skips) -> None:
        self.file = file
        self.line = 0
        self.key = ""
        self.is_wrong = False
        self.sink = sink

    def move(self, line: int, key: str | None, file: str | None = None) -> None:
        """To the next row."""
        self.line, self.key, self.is_wrong = line, (key or "")[:_SHOWN_ID_CHARS], False
        self.file = file or self.file

    def wrong(self, field: str, message: str) -> None:
        """See `entries.Place`."""
        self.is_wrong = True
        self.sink.note(Problem(self.file, self.line, 0, field, message, self.key))

    def shown(self, field: str) -> str:
        """See `entries.Place`."""
        return f"{self.file}:{self.line}: {field}" if self.line else f"{self.file}: {field}"


class Collected:
    """The jobs so far. A million of them: where a job stands takes four bytes and a look-up."""

    def __init__(self, folder: Path, problems: Problems, skips: Skips | None) -> None:
        self._folder = folder
        self._problems = problems
        self._skips = skips
        self._jobs: list[JobSpec] = []
        self._lines = array("I")
        self._starts: list[int] = []
        self._origins: list[str | Loc] = []
        self._by_name: dict[str, JobSpec] = {}
        self._dropped: set[int] = set()

    def __len__(self) -> int:
        return len(self._jobs)

    def begin(self, origin: str | Loc) -> None:
        """What is added next stands in this source, or is this entry of the manifest."""
        self._starts.append(len(self._jobs))
        self._origins.append(origin)

    def add(self, spec: JobSpec, line: int) -> None:
        """Take a job in whose `position` is the count so far; a clash of ids is noted."""
        self._jobs.append(spec)
        self._lines.append(line)
        name = fold(spec.key)
        first = self._by_name.setdefault(spec.key if name == spec.key else name, spec)  # a million texts less
        if first is not spec:
            self._clash(first, spec)

    def jobs(self) -> tuple[JobSpec, ...]:
        """Those that stay, in their order; their positions count from 0."""
        if not self._dropped:
            return tuple(self._jobs)
        left = [spec for spec in self._jobs if spec.position not in self._dropped]
        return tuple(replace(spec, position=at) for at, spec in enumerate(left))

    def _clash(self, first: JobSpec, second: JobSpec) -> None:
        """Of rows that may be left out, both are: which one is meant must not hang on their order."""
        leaves_out = [spec for spec in (first, second) if self._skips and isinstance(self._origin(spec), str)]
        for spec in leaves_out:
            if spec.position not in self._dropped:
                self._dropped.add(spec.position)
                self._skip(spec, first if spec is second else second)
        if not leaves_out:
            self._problem(second, first, self._problems)
        elif leaves_out == [first]:
            self._by_name[fold(second.key)] = second

    def _skip(self, spec: JobSpec, other: JobSpec) -> None:
        if self._skips:
            self._skips.count += 1
            self._problem(spec, other, self._skips)

    def _problem(self, spec: JobSpec, other: JobSpec, sink: Problems | Skips) -> None:
        same = "is taken" if other.key == spec.key else f"differs only in case from {other.key!r}"
        message = f"id {spec.key!r} {same}, see {self._shown(other, spec)}; give each job its own `id:`"
        origin = self._origin(spec)
        if isinstance(origin, tuple):
            self._problems.add(origin, message)
        else:
            line = self._lines[spec.position]
            sink.note(Problem(self._file(spec, origin), line, 0, "", message, spec.key[:_SHOWN_ID_CHARS]))

    def _origin(self, spec: JobSpec) -> str | Loc:
        return self._origins[bisect_right(self._starts, spec.position) - 1]

    def _shown(self, spec: JobSpec, seen_from: JobSpec) -> str:
        origin, line = self._origin(spec), self._lines[spec.position]
        if isinstance(origin, tuple):
            inside = isinstance(self._origin(seen_from), tuple)
            return f"line {line}" if inside else f"{self._problems.file}:{line}"
        return f"{self._file(spec, origin)}:{line}" if line else self._file(spec, origin)

    def _file(self, spec: JobSpec, origin: str) -> str:
        """The source; of a pattern the picture."""
        if self._lines[spec.position] or spec.image_path is None:
            return origin
        return beside(self._problems.file, os.path.relpath(spec.image_path, self._folder))
