"""Named SQL: the statement files as a dictionary, and the migrations in their order."""

import re
from functools import cache
from importlib import resources

_SQL = resources.files("batchrun.queue").joinpath("sql")
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def statements() -> dict[str, str]:
    """Every shared statement by its name."""
    return parse_statements(_SQL.joinpath("queries.sql").read_text("utf-8"))


def parse_statements(text: str) -> dict[str, str]:
    """The statements of a file in which each stands under `-- name: …`."""
    pieces = _NAME.split(text)[1:]
    found: dict[str, str] = {}
    for name, body in zip(pieces[::2], pieces[1::2], strict=True):
        if name in found:
            raise ValueError(f"statement {name} stands twice")
        found[name] = "\n".join(line for line in body.splitlines() if line.strip() and not line.startswith("--"))
    return found


@cache
def migrations(engine: str) -> tuple[tuple[int, str], ...]:
    """(version, SQL text) of every migration of an engine, ascending and without gaps from 1."""
    files = sorted(entry.name for entry in _SQL.joinpath(engine).iterdir() if entry.name.endswith(".sql"))
    numbered = tuple((int(name.split("_")[0]), _SQL.joinpath(engine, name).read_text("utf-8")) for name in files)
    if [version for version, _ in numbered] != list(range(1, len(numbered) + 1)):
        raise ValueError(f"the migrations of {engine} are not numbered 1, 2, 3 …: {files}")
    return numbered
