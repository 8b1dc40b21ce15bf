"""The emulator's own bill: balance, deductions, refunds. Integer micro-dollars; knows nothing of batchrun's ledger."""

from dataclasses import dataclass, field

PRICE_USD_MICROS = {5: 250_000, 10: 500_000}


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the bill."""

    number: int
    kind: str
    """`deduct` or `refund`."""
    prediction_id: str
    amount_usd_micros: int
    at_ms: int


@dataclass(slots=True)
class Books:
    """The account."""

    balance_usd_micros: int
    entries: list[Entry] = field(default_factory=list)

    def deduct(self, prediction_id: str, amount_usd_micros: int, now_ms: int) -> bool:
        """Charge, when the balance allows it."""
        if amount_usd_micros > self.balance_usd_micros:
            return False
        self.balance_usd_micros -= amount_usd_micros
        self.entries.append(Entry(len(self.entries), "deduct", prediction_id, amount_usd_micros, now_ms))
        return True

    def refund(self, prediction_id: str, now_ms: int) -> None:
        """Give back what was charged for a prediction, once."""
        charged = sum(entry.amount_usd_micros for entry in self.of(prediction_id, "deduct"))
        if charged and not self.of(prediction_id, "refund"):
            self.balance_usd_micros += charged
            self.entries.append(Entry(len(self.entries), "refund", prediction_id, charged, now_ms))

    def of(self, prediction_id: str, kind: str) -> list[Entry]:
        """The rows of one prediction."""
        return [entry for entry in self.entries if entry.prediction_id == prediction_id and entry.kind == kind]

    @property
    def billed_usd_micros(self) -> int:
        """Everything charged less everything refunded."""
        signs = {"deduct": 1, "refund": -1}
        return sum(signs[entry.kind] * entry.amount_usd_micros for entry in self.entries)
