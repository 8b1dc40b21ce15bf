"""What a file that is not there may have been meant to be. Nothing is guessed: this is for messages alone."""

import os
import unicodedata
from itertools import islice
from pathlib import Path

from batchrun.manifest.names import fold

MAX_NAMES = 1_000_000
"""Listed in one reading of a manifest, in all folders together; after that the message is said without a hint."""


class Neighbours:
    """The names in the folders in which something was missed, each listed once however many files are missed there."""

    def __init__(self) -> None:
        self._known: dict[Path, dict[str, str]] = {}
        self._names_left = MAX_NAMES

    def hint(self, path: Path) -> str:
        """What to add to the words that there is no such file; empty when nothing is known."""
        if str(path).startswith("//"):
            return "; for a picture on the web write https:// before it"
        folder, name = _first_missing(path)
        if name.casefold().startswith("www.") and folder != path.parent:  # the address of a host, taken for a folder
            return "; for a picture on the web write https:// before it"
        if "\\" in name:
            return "; write / between folders, not \\"
        there = self._names(folder).get(fold(name))
        if there is None:
            return ""
        if unicodedata.normalize("NFC", there) == unicodedata.normalize("NFC", name):
            return f"; there is {there!r} in other bytes, with accents as Macs write them or not; rename it"
        return f"; there is {there!r}, written otherwise"

    def _names(self, folder: Path) -> dict[str, str]:
        known = self._known.get(folder)
        if known is None:
            try:
                with os.scandir(folder) as entries:
                    names = [entry.name for entry in islice(entries, self._names_left)]
            except OSError:
                names = []
            self._names_left -= len(names)
            known = self._known[folder] = {fold(name): name for name in names}
        return known


def _first_missing(path: Path) -> tuple[Path, str]:
    """The nearest folder above that is there, and what is not there in it."""
    while not path.parent.exists() and path.parent != path:
        path = path.parent
    return path.parent, path.name
