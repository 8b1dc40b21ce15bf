"""The emulator's own bill: balance, deductions, refunds. Integer micro-dollars; knows nothing of batchrun's ledger."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from batchrun.emulator.timeline import Timeline, page_of

PRICE_USD_MICROS = {5: 250_000, 10: 500_000}
"""By duration in seconds."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the bill."""

    number: int
    kind: str
    """`deduct` or `refund`."""
    prediction_id: str
    amount_usd_micros: int
    at_ms: int
    stranger: bool = False
    """Of somebody else of the account."""
    model: str | None = None
    """Another model than ours."""


@dataclass(slots=True)
class Books:
    """The account. Sums are kept as they change: a night of hundreds of thousands of rows is asked at every step."""

    balance_usd_micros: int
    entries: Timeline[Entry] = field(default_factory=Timeline)
    billed_usd_micros: int = 0
    """Everything charged less everything refunded."""
    strangers_usd_micros: int = 0
    """What of it is other people's."""
    _of_kind: dict[str, Timeline[Entry]] = field(default_factory=lambda: {"deduct": Timeline(), "refund": Timeline()})
    _of_prediction: dict[str, list[Entry]] = field(default_factory=dict)

    @property
    def ours_usd_micros(self) -> int:
        """Everything charged less everything refunded, without what strangers bought."""
        return self.billed_usd_micros - self.strangers_usd_micros

    def deduct(
        self,
        prediction_id: str,
        amount_usd_micros: int,
        at_ms: int,
        *,
        stranger: bool = False,
        model: str | None = None,
    ) -> bool:
        """Charge, when the balance allows it."""
        if amount_usd_micros > self.balance_usd_micros:
            return False
        self._book(Entry(len(self.entries), "deduct", prediction_id, amount_usd_micros, at_ms, stranger, model))
        return True

    def refund(self, prediction_id: str, at_ms: int) -> None:
        """Give back what was charged for a prediction, once."""
        charges = self.of(prediction_id, "deduct")
        charged = sum(entry.amount_usd_micros for entry in charges)
        if charged and not self.of(prediction_id, "refund"):
            self._book(Entry(len(self.entries), "refund", prediction_id, charged, at_ms, charges[0].stranger))

    def _book(self, entry: Entry) -> None:
        amount = entry.amount_usd_micros if entry.kind == "deduct" else -entry.amount_usd_micros
        self.balance_usd_micros -= amount
        self.billed_usd_micros += amount
        self.strangers_usd_micros += amount if entry.stranger else 0
        self.entries.add(entry.at_ms, entry)
        self._of_kind[entry.kind].add(entry.at_ms, entry)
        self._of_prediction.setdefault(entry.prediction_id, []).append(entry)

    def of(self, prediction_id: str, kind: str) -> list[Entry]:
        """The rows of one prediction."""
        return [entry for entry in self._of_prediction.get(prediction_id, ()) if entry.kind == kind]

    def search(
        self,
        *,
        predictions: Collection[str] = (),
        kind: str | None = None,
        first_ms: int | None = None,
        last_ms: int | None = None,
        newest_first: bool = False,
        page: int = 1,
        size: int = 100,
    ) -> tuple[int, list[Entry]]:
        """How many rows there are, and one page of them.

        Args:
            predictions: only rows of these; empty: of all.
            kind: `deduct`, `refund` or None for both.
            first_ms: the first moment, included.
            last_ms: the last moment, included.
            newest_first: the order.
            page: from 1 on.
            size: rows a page.
        """
        rows = self.entries if kind is None else self._of_kind.get(kind, Timeline[Entry]())
        if predictions:
            rows = self._only(predictions, kind)
        places: Sequence[int] = rows.span(first_ms, last_ms)
        if newest_first:
            places = places[::-1]
        return len(places), [rows[place] for place in page_of(places, page, size)]

    def _only(self, predictions: Collection[str], kind: str | None) -> Timeline[Entry]:
        found = [entry for one in dict.fromkeys(predictions) for entry in self._of_prediction.get(one, ())]
        rows = Timeline[Entry]()
        for entry in sorted(found, key=lambda entry: (entry.at_ms, entry.number)):
            if kind in (None, entry.kind):
                rows.add(entry.at_ms, entry)
        return rows
