"""The jobs of one reading and where each of them stands: ids are unique, and what clashes names both places."""

import os
from array import array
from bisect import bisect_right
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from batchrun.errors import Problem
from batchrun.manifest.jobs import JobSpec, SkippedRows
from batchrun.manifest.names import fold
from batchrun.manifest.problems import MAX_LISTED, Problems, show_path
from batchrun.manifest.spool import Spool
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


class _Named(NamedTuple):
    """A job whose id may clash: what a message about it needs."""

    key: str
    position: int
    image_path: Path | None


class Collected:
    """The jobs so far. A million of them: each takes four bytes for where it stands and eight for its name."""

    def __init__(self, folder: Path, problems: Problems, skips: Skips | None) -> None:
        self._folder = folder
        self._problems = problems
        self._skips = skips
        self._jobs: Spool[JobSpec] = Spool()
        self._lines = array("I")
        self._names = array("q")
        self._starts: list[int] = []
        self._origins: list[str | Loc] = []
        self._by_name: dict[str, _Named] = {}
        self._dropped: set[int] = set()

    def __len__(self) -> int:
        return len(self._lines)

    def begin(self, origin: str | Loc) -> None:
        """What is added next stands in this source, or is this entry of the manifest."""
        self._starts.append(len(self))
        self._origins.append(origin)

    def add(self, spec: JobSpec, line: int) -> None:
        """Take a job in whose `position` is the count so far."""
        self._jobs.append(spec)
        self._lines.append(line)
        self._names.append(hash(fold(spec.key)))

    def jobs(self) -> Spool[JobSpec]:
        """Those that stay, in their order, their positions counting from 0. Clashes of ids are noted: ask once."""
        self._find_clashes()
        if not self._dropped:
            return self._jobs
        left = (spec for spec in self._jobs if spec.position not in self._dropped)
        return Spool(spec._replace(position=at) for at, spec in enumerate(left))

    def _find_clashes(self) -> None:
        """Names are told apart by their hashes; only where two are equal are the jobs themselves looked at again."""
        ordered = sorted(self._names)
        twice = {one for one, other in pairwise(ordered) if one == other}
        del ordered
        for spec, name in zip(self._jobs if twice else (), self._names, strict=False):
            if name in twice:
                self._compare(_Named(spec.key, spec.position, spec.image_path))

    def _compare(self, named: _Named) -> None:
        first = self._by_name.setdefault(fold(named.key), named)
        if first is not named:
            self._clash(first, named)

    def _clash(self, first: _Named, second: _Named) -> None:
        """Of rows that may be left out, both are: which one is meant must not hang on their order."""
        leaves_out = [named for named in (first, second) if self._skips and isinstance(self._origin(named), str)]
        for named in leaves_out:
            if named.position not in self._dropped:
                self._dropped.add(named.position)
                self._skip(named, first if named is second else second)
        if not leaves_out:
            self._problem(second, first, self._problems)
        elif leaves_out == [first]:
            self._by_name[fold(second.key)] = second

    def _skip(self, named: _Named, other: _Named) -> None:
        if self._skips:
            self._skips.count += 1
            self._problem(named, other, self._skips)

    def _problem(self, named: _Named, other: _Named, sink: Problems | Skips) -> None:
        same = "is taken" if other.key == named.key else f"differs only in case from {other.key!r}"
        message = f"id {named.key!r} {same}, see {self._shown(other, named)}; give each job its own `id:`"
        origin = self._origin(named)
        if isinstance(origin, tuple):
            self._problems.add(origin, message)
        else:
            line = self._lines[named.position]
            sink.note(Problem(self._file(named, origin), line, 0, "", message, named.key[:_SHOWN_ID_CHARS]))

    def _origin(self, named: _Named) -> str | Loc:
        return self._origins[bisect_right(self._starts, named.position) - 1]

    def _shown(self, named: _Named, seen_from: _Named) -> str:
        origin, line = self._origin(named), self._lines[named.position]
        if isinstance(origin, tuple):
            inside = isinstance(self._origin(seen_from), tuple)
            return f"line {line}" if inside else f"{self._problems.file}:{line}"
        return f"{self._file(named, origin)}:{line}" if line else self._file(named, origin)

    def _file(self, named: _Named, origin: str) -> str:
        """The source; of a pattern the picture."""
        if self._lines[named.position] or named.image_path is None:
            return origin
        return beside(self._problems.file, os.path.relpath(named.image_path, self._folder))
