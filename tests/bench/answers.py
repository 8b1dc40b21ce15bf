"""What a question comes back with: rows for the table, figures for the JSON, and what cannot be right."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from tests.bench.local import Local


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured."""

    rounds: int = 3
    jobs: int = 2000
    """Of a contestant without latency; a slow one gets a part."""
    slow_jobs: int = 256
    """With latencies."""
    night_jobs: int = 2000
    """Of the simulated makespan."""
    crowd: int = 10_000
    """Predictions that run at once."""
    starts_a_minute: int = 5000
    steady_s: float = 60.0
    """How long the crowd is watched."""
    growth_jobs: tuple[int, ...] = (100, 1000, 10_000)
    growth_queue: tuple[int, int] | None = None
    """So many jobs in a queue, and so many of them bought: to buy a million takes hours."""
    growth_slots: tuple[int, ...] = (1, 10, 100, 1000)
    rows: int = 50_000
    """Of the queue beside bare sqlite3."""
    watched: int = 1000
    """Clips a way of polling."""
    catalog_rows: tuple[int, ...] = (1_000, 100_000)
    night_pictures: int = 10_000


USUAL = Sizes()
QUICK = Sizes(
    rounds=1,
    jobs=200,
    slow_jobs=64,
    night_jobs=300,
    crowd=500,
    steady_s=5.0,
    growth_jobs=(100, 300),
    growth_slots=(1, 10, 100),
    rows=5_000,
    watched=100,
    catalog_rows=(1_000,),
    night_pictures=500,
)
FULL = replace(
    USUAL,
    rounds=5,
    growth_jobs=(100, 1000, 10_000, 100_000),
    growth_queue=(1_000_000, 20_000),
    growth_slots=(1, 10, 100, 1000, 10_000),
    catalog_rows=(1_000, 100_000, 1_000_000),
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
