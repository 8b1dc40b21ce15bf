"""Every movement of money, where it stands now, and whether one more price fits under every cap.

A movement is a row; which way the price goes, between held and spent, is what its kind means. Nothing else in the
package writes to the ledger, and every script that moves money moves the state that it belongs to as well.

The rows only ever grow, so a sum is kept in memory together with the last row it includes, and brought up to date with
the rows since: exact at every moment, for any number of processes, and as cheap with a million rows as with ten. No
counter is stored anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from batchrun.queue.records import Balance, Cap, CapReached, Scope
from batchrun.queue.script import Row, Script, ask

_Key = tuple[int, str | None, str, str]


class Move(StrEnum):
    """One kind of ledger row. `adjust` is apart: its amount is not the price."""

    RESERVE = "reserve"
    """Before the submit leaves."""
    UNKNOWN = "unknown"
    """Nobody knows what became of the submit; the price stays held."""
    SETTLE = "settle"
    """The clip exists: what was held is spent."""
    VOID = "void"
    """Nothing was created: what was held is free."""
    REFUND_DUE = "refund_due"
    """The task failed; until the provider's refund is seen the price stays held."""
    REFUNDED = "refunded"
    REFUND_DENIED = "refund_denied"
    LATE_CHARGE = "late_charge"
    """A void submit was created after all: spent, beside whatever was bought meanwhile."""


MOVES: dict[Move, tuple[int, int]] = {
    Move.RESERVE: (1, 0),
    Move.UNKNOWN: (0, 0),
    Move.SETTLE: (-1, 1),
    Move.VOID: (-1, 0),
    Move.REFUND_DUE: (0, 0),
    Move.REFUNDED: (-1, 0),
    Move.REFUND_DENIED: (-1, 1),
    Move.LATE_CHARGE: (0, 1),
}
"""How often the price is added to what is held, and to what is spent."""

SETTLEMENTS = frozenset({Move.SETTLE, Move.VOID, Move.REFUNDED, Move.REFUND_DENIED})
"""One of these ends a reservation, once: the database refuses a second one."""


def move(attempt_id: str, kind: Move, now_ms: int) -> Script[None]:
    """Add one row about the attempt's price."""
    held, spent = MOVES[kind]
    yield from ask("ledger_move", attempt_id=attempt_id, kind=kind, held=held, spent=spent, now_ms=now_ms)


def adjust(attempt_id: str, charged_usd_micros: int, now_ms: int) -> Script[int]:
    """Make what the attempt has cost equal to what the provider's billing says.

    Returns:
        By how much it differed, in micro-dollars.
    """
    rows = yield from ask("ledger_of", attempt_id=attempt_id)
    more: int = charged_usd_micros - sum(row["spent_usd_micros"] for row in rows)
    if more:
        yield from ask("ledger_adjust", attempt_id=attempt_id, more_usd_micros=more, now_ms=now_ms)
    return more


def is_settled(attempt_id: str) -> Script[bool]:
    """Whether the reservation has ended already."""
    rows = yield from ask("ledger_of", attempt_id=attempt_id)
    return any(row["kind"] in SETTLEMENTS for row in rows)


@dataclass(frozen=True, slots=True)
class Books:
    """The ledger summed by batch, campaign, day and run, up to `last_row_id`."""

    last_row_id: int = 0
    balances: dict[_Key, Balance] = field(default_factory=dict)

    def with_rows(self, rows: Sequence[Row]) -> "Books":
        """New books that include the sums of the rows since."""
        if not rows:
            return self
        balances = dict(self.balances)
        for row in rows:
            key = (row["batch_id"], row["campaign"], row["day"], row["run_id"])
            before = balances.get(key, Balance())
            balances[key] = Balance(
                held_usd_micros=before.held_usd_micros + row["held_usd_micros"],
                spent_usd_micros=before.spent_usd_micros + row["spent_usd_micros"],
            )
        return Books(max(row["last_row_id"] for row in rows), balances)

    def balance(self, scope: Scope) -> Balance:
        """What is held and spent in a scope."""
        inside = [balance for key, balance in self.balances.items() if _inside(key, scope)]
        return Balance(
            held_usd_micros=sum(balance.held_usd_micros for balance in inside),
            spent_usd_micros=sum(balance.spent_usd_micros for balance in inside),
        )


def _inside(key: _Key, scope: Scope) -> bool:
    batch_id, campaign, day, run_id = key
    return (
        scope.batch_id in (None, batch_id)
        and scope.campaign in (None, campaign)
        and scope.day in (None, day)
        and scope.run_id in (None, run_id)
    )


def up_to_date(books: Books) -> Script[Books]:
    """The books with every row that stands in the ledger now."""
    rows = yield from ask("ledger_since", row_id=books.last_row_id)
    return books.with_rows(rows)


class CapCheck:
    """Whether prices fit, one after another within one transaction: what was let through counts for the next."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._committed: dict[Scope, int] = {}

    def refusal(self, caps: Sequence[Cap], price_usd_micros: int) -> CapReached | None:
        """The first cap that the price would pass, or None."""
        for cap in caps:
            left = cap.limit_usd_micros - self._committed_in(cap.scope)
            if price_usd_micros > left:
                return CapReached(cap, left)
        return None

    def count(self, caps: Sequence[Cap], price_usd_micros: int) -> None:
        """The price was reserved under these caps."""
        for scope in {cap.scope for cap in caps}:
            self._committed[scope] = self._committed_in(scope) + price_usd_micros

    def _committed_in(self, scope: Scope) -> int:
        if scope not in self._committed:
            self._committed[scope] = self._books.balance(scope).committed_usd_micros
        return self._committed[scope]
