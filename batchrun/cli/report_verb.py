"""`batchrun report MANIFEST…`: one page to look at, a table for a shop system, or a statement of money. Only looks."""

import argparse
import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

from batchrun import SCHEMA_VERSION
from batchrun.cli import common
from batchrun.cli.status_verb import batches_of, open_to_look
from batchrun.cli.terminal import json_text, say
from batchrun.clock import Clock, SystemClock
from batchrun.errors import QueueError, StorageError, UsageError
from batchrun.files import begins_as, is_folder
from batchrun.queue.states import JobState
from batchrun.report.page import Head, is_ours, write_page
from batchrun.report.source import Source, each_clip, look_at
from batchrun.report.statement import HEAD, statement_lines
from batchrun.report.table import CSV_HEAD, JSON_HEAD, write_csv, write_json
from batchrun.video.place import replacing

_PAGE = "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    common.add_manifests(parser)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE",
        help=f"write to this file, or {_PAGE} in this folder (default: {_PAGE} in the folder of the clips; "
        "--csv, --json and --statement go to standard output)",
    )  # fmt: skip
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="one line a job instead of the page, for a shop system")
    form.add_argument("--json", action="store_true", help="the same as exactly one JSON object, with the statements")
    form.add_argument("--statement", action="store_true", help="only where the money of each batch and campaign went")


def main(parsed: argparse.Namespace) -> int:
    """Write what was asked for; print the path of what was written to a file."""
    asyncio.run(_main(parsed, SystemClock()))
    return 0


async def _main(parsed: argparse.Namespace, clock: Clock) -> None:
    async with _sources(parsed, clock) as sources:
        if parsed.csv or parsed.json or parsed.statement:
            with _output(parsed) as out:
                await _write_table(parsed, out, sources)
        else:
            await _write_page(parsed, sources, clock)


@asynccontextmanager
async def _sources(parsed: argparse.Namespace, clock: Clock) -> AsyncIterator[list[Source]]:
    async with AsyncExitStack() as stack:
        found: list[Source] = []
        for path, manifests in common.queue_paths(parsed).items():
            queue = await open_to_look(path, clock, preview=parsed.preview)
            stack.push_async_callback(queue.close)
            found.append(await look_at(queue, batches_of(await queue.batch_views(), manifests, queue)))
        yield found


async def _write_table(parsed: argparse.Namespace, out: TextIO, sources: Sequence[Source]) -> None:
    statements = [one for source in sources for one in source.statements]
    if parsed.csv:
        await write_csv(out, each_clip(sources))
    elif parsed.json:
        await write_json(out, statements, each_clip(sources))
    else:
        out.write("\n\n".join("\n".join(statement_lines(one)) for one in statements) + "\n")


async def _write_page(parsed: argparse.Namespace, sources: Sequence[Source], clock: Clock) -> None:
    names = dict.fromkeys(view.name for source in sources for view in source.views)
    head = Head(", ".join(names), made_ms=clock.now_ms(), preview=parsed.preview)
    is_made = parsed.output is None and not parsed.preview
    page = _page(parsed.output, await _folder_of_clips(sources, is_made=is_made))
    _check_ours(page, is_ours)
    with _written(page) as out:
        await write_page(out, page, sources, each_clip(sources), head)
    say(common.shown_path(page))


def _check_ours(path: Path, is_ours: Callable[[Path], bool]) -> None:
    """Whatever else stands under the name stays: nobody can have it back. Raises UsageError."""
    # pathlib would raise here where a name is too long or a folder closed, and writing says it better.
    is_blank = os.path.isfile(path) and not os.path.getsize(path)  # noqa: PTH113, PTH202  # as `mktemp` makes it
    if os.path.exists(path) and not (is_blank or is_ours(path)):  # noqa: PTH110
        raise UsageError(f"{path} exists and is no report of this kind; move it away, or name another file with -o")


def _in_folder(output: Path) -> Path:
    return output / _PAGE if is_folder(output) else output


async def _folder_of_clips(sources: Sequence[Source], *, is_made: bool) -> Path:
    """The innermost folder that holds all clips: it can be handed on as it is, clips and page together.

    Raises:
        QueueError: it is to be made, and finished clips were in it. Made anew it would pass for the one of a disk that is
            not mounted, and the next run would fetch all clips once more.
    """
    folders, done = set[str](), 0
    async for clip in each_clip(sources):
        folders.add(str(clip.output.parent))
        done += clip.state is JobState.DONE
    folder = Path(os.path.commonpath(folders))
    if is_made and done and not is_folder(folder):
        raise QueueError(
            f"the folder {folder} is gone, and {done:,} finished clips were in it. Mount the disk again, or name the "
            "page's file with -o"
        )
    return folder


def _page(output: Path | None, clips: Path) -> Path:
    """The page's file, by the one of its names from which the way to the clips is shorter.

    A browser takes `..` off the name by which a page was opened, wherever links lead: so the addresses begin at the name that
    is printed, and the clips' folder keeps the name that the manifest gives it, also where that is a link to a larger disk.

    Raises:
        UsageError: the clips have no folder in common, and none was named.
    """
    if output is None:
        if clips == Path(clips.anchor):
            raise UsageError(f"the clips have no folder in common but {clips}; name the page's file with -o")
        return clips / _PAGE
    typed = _in_folder(output).absolute()
    real = common.real_path(typed)
    if ".." in typed.parts or os.path.islink(typed):  # noqa: PTH114  # pathlib's own raises for a name that is too long
        return real
    return min(typed, real, key=lambda page: Path(os.path.relpath(clips, page.parent)).parts.count(os.pardir))


@contextmanager
def _output(parsed: argparse.Namespace) -> Iterator[TextIO]:
    """The file, or standard output in UTF-8 whatever the terminal's own encoding is."""
    path: Path | None = parsed.output
    if path is not None:
        head = CSV_HEAD if parsed.csv else JSON_HEAD if parsed.json else HEAD
        _check_ours(path, partial(begins_as, pattern=head))
        with _written(path) as out:
            yield out
        if parsed.json:
            print(json_text({"schema_version": SCHEMA_VERSION, "file": str(path.absolute())}))
        else:
            say(common.shown_path(path))
        return
    out = io.TextIOWrapper(sys.stdout.buffer, "utf-8", errors="surrogateescape", newline="")
    try:
        yield out
        out.flush()
    finally:
        out.detach()


@contextmanager
def _written(path: Path) -> Iterator[TextIO]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as out:
            yield out
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}; name another file with -o") from error
