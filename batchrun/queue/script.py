"""Transactions as scripts: generators that ask for named statements and get rows back.

A script holds the rule once; a database adapter drives it (SQLite's does so in a thread of its own; another one could with
awaits), and may put many scripts into one transaction. A script must do nothing but ask and compute: it can be run again.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

T = TypeVar("T")


class Row(Protocol):
    """One row: a value by its column's name."""

    def __getitem__(self, column: str, /) -> Any:  # noqa: ANN401  # a column's type is the statement's business
        """The value in a column."""


Params: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Call:
    """Please run the statement of this name. A sequence of parameters runs it once for each, without rows."""

    name: str
    params: Params | Sequence[Params]


Rows: TypeAlias = Sequence[Row]
Script: TypeAlias = Generator[Call, Rows, T]
ScriptFactory: TypeAlias = Callable[[], Script[T]]


Outcome: TypeAlias = tuple[Any, BaseException | None]


class Database(Protocol):
    """What an adapter offers: many scripts in one transaction, and one script that only looks."""

    async def transact(self, scripts: Sequence[ScriptFactory[Any]]) -> list[Outcome]:
        """All scripts in one transaction; one that raises changes nothing and sinks no other. Raises StorageError."""

    async def read(self, script: ScriptFactory[Any]) -> Any:  # noqa: ANN401  # the script's own value
        """One script on one snapshot. Raises StorageError."""

    async def close(self) -> None:
        """Close the connection."""


def ask(name: str, /, **params: object) -> Script[Rows]:
    """All rows of a statement."""
    rows = yield Call(name, params)
    return rows


def ask_one(name: str, /, **params: object) -> Script[Row | None]:
    """The first row of a statement, or None."""
    rows = yield Call(name, params)
    return rows[0] if rows else None


def run_all(name: str, params: Sequence[Params]) -> Script[None]:
    """The statement once for each set of parameters."""
    if params:
        yield Call(name, params)
