"""Patterns such as `images/**/*.png` to files, in the order of their names.

Own matching instead of the library's, whose `**` follows links into circles in one version and not in another, and which
leaves out without a word what it cannot read. Here `**` does not follow links, hidden names are matched only by a pattern
with a dot, and a folder that cannot be read is an error.
"""

import os
import re
from collections.abc import Iterator
from fnmatch import translate

MAX_ENTRIES = 1_000_000
MAX_DEPTH = 64
_MAGIC = re.compile(r"[*?\[]")


class GlobError(ValueError):
    """The pattern cannot be followed; the text says why."""


def is_pattern(text: str) -> bool:
    """Whether it holds a wildcard."""
    return bool(_MAGIC.search(text))


def find_files(folder: str, pattern: str) -> list[str]:
    """Every file that the pattern matches, relative to `folder` when the pattern is, sorted.

    Raises:
        GlobError: a pattern without a file name, a folder that cannot be read, too many files.
    """
    steps = [step for step in pattern.split("/") if step not in ("", ".")]
    fixed = next(at for at, step in enumerate(steps) if _MAGIC.search(step))
    if "**" in steps[-1] or any("**" in step and step != "**" for step in steps):
        raise GlobError("`**` stands for folders, between slashes; end with the files, such as images/**/*.png")
    base = ("/" if pattern.startswith("/") else "") + "/".join(steps[:fixed])
    return sorted(_Walk(folder, steps[fixed:]).files(base))


class _Walk:
    def __init__(self, folder: str, steps: list[str]) -> None:
        self._folder = folder
        self._steps = steps
        self._matchers = [re.compile(translate(step)).match for step in steps]
        self._seen: set[tuple[str, int]] = set()
        self._looked_at = 0

    def files(self, base: str) -> set[str]:
        found: set[str] = set()
        todo = [(base, 0, 0)]
        while todo:
            place, at, depth = todo.pop()
            if (place, at) in self._seen:
                continue
            self._seen.add((place, at))
            for name, is_folder, is_link in self._entries(place):
                path = f"{place.rstrip('/')}/{name}" if place else name
                if self._steps[at] == "**":
                    if is_folder and not is_link and not name.startswith("."):
                        todo.append((path, at, self._deeper(depth)))
                elif self._fits(name, at):
                    if is_folder and at + 1 < len(self._steps):
                        todo.append((path, at + 1, self._deeper(depth)))
                    elif not is_folder and at + 1 == len(self._steps):
                        found.add(path)
            if self._steps[at] == "**":  # it also stands for no folder at all
                todo.append((place, at + 1, depth))
        return found

    def _fits(self, name: str, at: int) -> bool:
        hidden = name.startswith(".") and not self._steps[at].startswith(".")
        return not hidden and self._matchers[at](name) is not None

    def _deeper(self, depth: int) -> int:
        if depth >= MAX_DEPTH:
            raise GlobError(f"goes more than {MAX_DEPTH} folders deep")
        return depth + 1

    def _entries(self, place: str) -> Iterator[tuple[str, bool, bool]]:
        try:
            with os.scandir(os.path.join(self._folder, place)) as entries:  # noqa: PTH118  # a million of them
                for entry in entries:
                    self._looked_at += 1
                    if self._looked_at > MAX_ENTRIES:
                        raise GlobError(f"would look at more than {MAX_ENTRIES:,} files; name a folder more exactly")
                    yield entry.name, entry.is_dir(), entry.is_symlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise GlobError(f"{place[:80]!r} cannot be read: {reason}") from None
