"""Where the videos go: the `output:` template, checked once and filled for every job."""

import os
import re
import string
from pathlib import Path
from typing import NamedTuple

from batchrun.manifest.jobs import ID_MARK
from batchrun.manifest.problems import Problems
from batchrun.manifest.yamltext import Loc

_OUTPUT_FIELDS = ("batch", "id")
_MAX_BYTES = 255
"""Of one name, on every file system that is in common use."""
_LONGEST_ENDING = ".preview.json"
"""Previews and sidecars stand beside the videos, under names that end like this instead of in .mp4."""
_SHOWN_CHARS = 20


class _Name(NamedTuple):
    """One folder or file in the path of the videos."""

    is_file: bool
    own_bytes: int
    """Without the ids in it."""
    ids: int
    at_most_bytes: int

    def bytes_with(self, key: str) -> int:
        return self.own_bytes + self.ids * len(key.encode())


class OutputPattern(NamedTuple):
    """The absolute path of a video, with `ID_MARK` for its job's id, which is a safe file name."""

    text: str
    names: tuple[_Name, ...] = ()
    """Those that hold the id."""

    def problem_of(self, key: str) -> str | None:
        """Why no video can have this id in its name."""
        for name in self.names:
            if (found_bytes := name.bytes_with(key)) > name.at_most_bytes:
                what = "file" if name.is_file else "folder"
                return (
                    f"makes with `output` a {what}'s name of {found_bytes} bytes; at most {name.at_most_bytes} are "
                    "possible: shorten one of them"
                )
        return None


def output_pattern(template: str, folder: Path, batch: str, problems: Problems, *, previews: bool) -> OutputPattern:
    """Where the videos go. What is wrong with the template is noted."""
    if not _check(template, problems):
        return OutputPattern(ID_MARK)
    if previews:
        template = preview_template(template)
    path = template.format(batch=batch, id=ID_MARK)
    names = _names(path, previews=previews)
    too_long = [(part, name) for part, name in names if name.own_bytes + name.ids > name.at_most_bytes]
    for part, name in too_long:
        what = "the file's name" if name.is_file else f"the folder {part[:_SHOWN_CHARS] + '…'!r}"
        beside, at_most = (" beside {id}", name.at_most_bytes - name.ids) if name.ids else ("", name.at_most_bytes)
        problems.add(("output",), f"{what} has {name.own_bytes} bytes{beside}; at most {at_most} are possible")
    with_id = () if too_long else tuple(name for _, name in names if name.ids)
    return OutputPattern(os.path.normpath(folder / path), with_id)


def _names(path: str, *, previews: bool) -> list[tuple[str, _Name]]:
    """The folders and the file in a path. Of a paid clip's name so much is left that its preview has room too."""
    *folders, file = path.split("/")
    ending = ".json" if previews else _LONGEST_ENDING
    at_most_bytes = _MAX_BYTES - (len(ending) - len(".mp4"))
    found = [(one, _Name(False, _own_bytes(one), one.count(ID_MARK), _MAX_BYTES)) for one in folders]  # noqa: FBT003
    return [*found, (file, _Name(True, _own_bytes(file), file.count(ID_MARK), at_most_bytes))]  # noqa: FBT003


def _own_bytes(part: str) -> int:
    return len(os.fsencode(part.replace(ID_MARK, "")))


def _check(template: str, problems: Problems) -> bool:
    """Whether the template can be filled."""
    loc: Loc = ("output",)
    if re.match(r"[a-z][a-z0-9+]*://", template, re.IGNORECASE):
        problems.add(loc, f"{template!r}: videos are written to local folders; write a path")
    if template.startswith("~"):
        problems.add(
            loc, f"{template!r}: ~ is not a home folder here; write an absolute path such as /home/me/videos/…"
        )
    fields = _template_fields(template)
    if fields is None or not set(fields) <= set(_OUTPUT_FIELDS) or ID_MARK in template:
        problems.add(loc, f"{template!r} has fields that do not exist; known: {{batch}}, {{id}}")
        return False
    if "id" not in fields:
        problems.add(loc, f"{template!r} would write every video to one file; put {{id}} into it")
    if not template.lower().endswith(".mp4"):
        problems.add(loc, f"{template!r} does not end in .mp4, which is what the clips are")
    return True


def _template_fields(template: str) -> list[str] | None:
    """The names of the plain fields, or None when the template cannot be understood."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        return None
    if any(spec or conversion for _, name, spec, conversion in parts if name is not None):
        return None
    return [name for _, name, _, _ in parts if name is not None]


def preview_template(template: str) -> str:
    """Where previews of a template go: a folder beside the one for paid clips, and a name that says what it is.

    `../videos/{batch}/{id}.mp4` becomes `../videos-preview/{batch}/{id}.preview.mp4`, `{id}.mp4` becomes
    `preview/{id}.preview.mp4`.
    """
    *folders, name = template.split("/")
    fixed = next((at for at, step in enumerate(folders) if "{" in step), len(folders))
    if fixed and folders[fixed - 1].strip("."):
        folders[fixed - 1] += "-preview"
    else:
        folders.insert(fixed, "preview")
    return "/".join([*folders, f"{name[: -len('.mp4')]}.preview.mp4"])
