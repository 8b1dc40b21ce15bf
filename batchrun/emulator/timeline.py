"""Things in the order of their moments."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Timeline(Generic[T]):
    """A list ordered by moments: adding the newest and finding a span cost the same at any length.

    A moment before the last one (a clock that stepped back) is put where it belongs.
    """

    _moments_ms: list[int] = field(default_factory=list)
    _items: list[T] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __getitem__(self, index: int) -> T:
        return self._items[index]

    def add(self, at_ms: int, item: T) -> None:
        """Put in, after all of the same moment."""
        index = len(self._items)
        if index and at_ms < self._moments_ms[-1]:
            index = bisect_right(self._moments_ms, at_ms)
        self._moments_ms.insert(index, at_ms)
        self._items.insert(index, item)

    def span(self, first_ms: int | None, last_ms: int | None) -> range:
        """The places of what lies between two moments, both included; None is open."""
        start = 0 if first_ms is None else bisect_left(self._moments_ms, first_ms)
        end = len(self._items) if last_ms is None else bisect_right(self._moments_ms, last_ms)
        return range(start, max(start, end))


def page_of(places: Sequence[int], number: int, size: int) -> Sequence[int]:
    """One page, counted from 1; of a `range` without walking it."""
    return places[(number - 1) * size : number * size]
