"""What a question comes back with: rows for the table, figures for the JSON, and what cannot be right."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.bench.local import Local


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    rounds: int
    jobs: int
    """Of a contestant without latency; a slow one gets a tenth."""
    slow_jobs: int
    """With latencies."""
    night_jobs: int
    """Of the simulated makespan."""
    crowd: int
    """Predictions that run at once."""
    starts_a_minute: int
    steady_s: float
    """How long the crowd is watched."""
    growth_jobs: tuple[int, ...]
    growth_slots: tuple[int, ...]
    rows: int
    """Of the queue beside bare sqlite3."""
    watched: int
    """Clips a way of polling."""


QUICK = Sizes(1, 200, 64, 300, 500, 5000, 5.0, (100, 300), (1, 10, 100), 5_000, 100)
USUAL = Sizes(3, 2000, 256, 2000, 10_000, 5000, 60.0, (100, 1000, 10_000), (1, 10, 100, 1000), 50_000, 1000)
FULL = Sizes(
    5, 2000, 256, 5000, 10_000, 5000, 60.0, (100, 1000, 10_000, 100_000, 1_000_000), (1, 10, 100, 1000, 10_000), 50_000, 1000
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What every question gets."""

    local: Local
    folder: Path
    """Its own, empty."""
    sizes: Sizes


@dataclass(frozen=True, slots=True)
class Table:
    """A question that needs more columns than a `Line` has."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Line:
    """One measure, and what stands beside it."""

    measure: str
    figure: str
    beside: str = ""
    ratio: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        return self.measure, self.figure, self.beside, self.ratio


@dataclass(slots=True)
class Answer:
    """Of one question."""

    lines: list[Line] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    absurd: list[str] = field(default_factory=list)
    """Why `make bench` fails: not slow, but broken."""

    def expect(self, what: str, figure: float, *, at_least: float = 0.0, at_most: float = float("inf")) -> None:
        """Bounds far outside of what any machine should show."""
        if not at_least <= figure <= at_most:
            self.absurd.append(f"{what} is {figure:.3g}, far from what it should be ({at_least:g} to {at_most:g})")


class Question(Protocol):
    """A module of this folder."""

    __name__: str

    def ask(self, setting: Setting) -> Answer:
        """Measure."""


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """For a terminal: the first column to the left, the others to the right."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in (head, *rows)
    )  # fmt: skip


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """For the README."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))
