"""What several verbs share: arguments, the queue's place, the key."""

import argparse
import json
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from batchrun.cli.terminal import json_text
from batchrun.errors import KeyRefusedError, UsageError
from batchrun.files import is_folder
from batchrun.money import parse_usd
from batchrun.provider.urls import DEFAULT_BASE_URL, check_base_url

PREVIEW_ORIGIN = "emulator"
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
"""What `init` writes a manifest for, besides a folder."""
_MINUTE_S, _HOUR_S = 60, 3600


def add_manifests(parser: argparse.ArgumentParser) -> None:
    """One or more manifests, and which of their queues is meant."""
    parser.add_argument("manifests", nargs="+", type=Path, metavar="MANIFEST", help="a YAML file")
    parser.add_argument("--preview", action="store_true", help="the previews' queue and folder: free, no key")
    parser.add_argument(
        "--db", metavar="PATH", help="the queue's file (default: .batchrun/queue.db beside the manifest)"
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """How much is said, and in which form."""
    parser.add_argument("--json", action="store_true", help="print exactly one JSON object on standard output")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but the summary")
    parser.add_argument("-v", "--verbose", action="store_true", help="say every step of every job")


class JsonStream:
    """One JSON object whose last value is a long list, printed as it comes: a million jobs as one text take gigabytes."""

    def __init__(self, head: Mapping[str, object], name: str) -> None:
        text = json_text(head).removesuffix("\n}")
        self._before = f"{text},\n  {json.dumps(name)}: [\n"

    def add(self, item: Mapping[str, object]) -> None:
        """Print one item of the list."""
        print(f"{self._before}    {json_text(item, indent=None)}", end="")
        self._before = ",\n"

    def end(self) -> None:
        """Close the list and the object."""
        print("\n  ]\n}" if self._before == ",\n" else f"{self._before}  ]\n}}")


def queue_paths(parsed: argparse.Namespace, *, preview: bool | None = None) -> dict[Path, tuple[Path, ...]]:
    """The queue of each manifest: manifests of one folder share one, `--db` and BATCHRUN_DB put all into one.

    Args:
        parsed: the command line.
        preview: whether the previews' queues are meant, where that is not what was typed.

    Raises:
        UsageError: a database that this version cannot use, or a table or folder where a manifest belongs.
    """
    is_preview = parsed.preview if preview is None else preview
    for path in parsed.manifests:
        if path.suffix.lower() in TABLES or is_folder(path):
            raise UsageError(f"{path} is no manifest; batchrun init {path} writes one for it")
    asked = parsed.db or os.environ.get("BATCHRUN_DB")
    if asked and "://" in asked:
        raise UsageError(
            f"--db {asked.split('://', 1)[0]}://… is not supported by this version; give the path of a file"
        )
    found: dict[Path, list[Path]] = {}
    for manifest in parsed.manifests:
        path = _preview_of(Path(asked), is_preview) if asked else default_queue(manifest, preview=is_preview)
        found.setdefault(path, []).append(manifest)
    return {path: tuple(manifests) for path, manifests in found.items()}


def command_of(parsed: argparse.Namespace) -> str:
    """What names the same queue again on a command line: the manifests, and where the queue is."""
    words = [shown_path(path) for path in parsed.manifests]
    words += ["--preview"] if parsed.preview else []
    return shlex.join(words + (["--db", parsed.db] if parsed.db else []))


def default_queue(manifest: Path, *, preview: bool) -> Path:
    """Beside the manifest, whatever the working directory."""
    return manifest.resolve().parent / ".batchrun" / ("preview.db" if preview else "queue.db")


def digests_path(queue: Path) -> Path:
    """What is remembered of pictures, beside the queue; previews and paid clips look at the same pictures."""
    return queue.parent / "digests.cache"


def _preview_of(path: Path, preview: bool) -> Path:  # noqa: FBT001
    return path.with_name(f"{path.stem}-preview{path.suffix}") if preview else path


def read_key(key_file: Path | None) -> str:
    """The provider's key, from the environment or a file.

    Raises:
        KeyRefusedError: there is none, or it cannot be one.
    """
    source = f"--api-key-file {key_file}" if key_file else "WAVESPEED_API_KEY"
    try:
        key = key_file.read_text("utf-8") if key_file else os.environ.get("WAVESPEED_API_KEY", "")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyRefusedError(f"{source} cannot be read: {getattr(error, 'strerror', None) or 'not text'}") from error
    key = key.strip()
    if not key:
        raise KeyRefusedError(
            f"{source} is empty or not set: a paid run needs the provider's key. "
            "To try everything without a key and for free, add --preview"
        )
    if not re.fullmatch(r"[\x21-\x7e]{1,512}", key):
        raise KeyRefusedError(f"{source} does not hold a key: it has blanks or control characters in it")
    return key


def base_url() -> str:
    """The API's address. Raises UsageError."""
    return check_base_url(os.environ.get("WAVESPEED_BASE_URL") or DEFAULT_BASE_URL)


def count_argument(text: str) -> int:
    """A number on the command line, 1 or more."""
    if not re.fullmatch(r"[1-9]\d{0,8}", text.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def time_argument(text: str) -> tuple[int, int]:
    """A time of the day on the command line, `06:00`: hour and minute."""
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time of the day; write for example 06:00")
    return int(match[1]), int(match[2])


def real_path(path: Path) -> Path:
    """Without links, as far as that can be told: pathlib's own raises at a loop of them."""
    return Path(os.path.realpath(path))


def shown_path(path: Path) -> str:
    """Relative below the working directory; else as a mail from cron must say it, which nobody reads from there."""
    try:
        here, there = Path.cwd(), path.absolute()
    except OSError:  # the working directory is gone
        return str(path)
    below = here != Path(here.anchor) and there.is_relative_to(here)
    return str(there.relative_to(here)) if below else os.path.normpath(there)


def shown_time(seconds: float) -> str:
    """As a person says it: `40 s`, `14 min`, `3.5 h`."""
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE_S:.0f} min" if seconds < 2 * _HOUR_S else f"{seconds / _HOUR_S:.1f} h"


def usd_argument(text: str) -> int:
    """An amount on the command line, in micro-dollars."""
    try:
        return parse_usd(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def seconds_argument(text: str) -> float:
    """A time on the command line: `90`, `90s`, `5m`, `2h`; in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write seconds, or for example 5m or 2h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
