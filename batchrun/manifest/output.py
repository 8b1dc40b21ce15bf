"""Where the videos go: the `output:` template, checked once and filled for every job."""

import os
import re
import string
from pathlib import Path

from batchrun.manifest.jobs import ID_MARK
from batchrun.manifest.problems import Problems
from batchrun.manifest.yamltext import Loc

_OUTPUT_FIELDS = ("batch", "id")


def output_pattern(template: str, folder: Path, batch: str, problems: Problems, *, previews: bool) -> str:
    """The absolute path of a video, with `ID_MARK` for its job's id, which is a safe file name.

    What is wrong with the template is noted.
    """
    if not _check(template, problems):
        return ID_MARK
    if previews:
        template = preview_template(template)
    return os.path.normpath(folder / template.format(batch=batch, id=ID_MARK))


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
