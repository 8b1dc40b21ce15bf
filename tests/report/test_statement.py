"""A statement is the ledger in other words: its lines hold every attempt once, and its sums are the ledger's."""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant

from batchrun.clock import SystemClock
from batchrun.emulator.faults import Fault
from batchrun.queue.clips import MoneyOutcome, money
from batchrun.queue.records import Balance, Scope
from batchrun.queue.store import Queue
from batchrun.report.statement import Statement, by_day, statement_json, statement_lines, statements
from tests.conftest import Shop, emulated, run_shop
from tests.store.stores import new_id
from tests.store.test_machine import PRICE, Machine


class Books(Machine):
    """Every ledger that the queue's own machine can make: submits, doubts, refunds, audits, crashes, in any order."""

    @invariant()
    def the_statement_is_the_ledger(self) -> None:
        if not hasattr(self, "queues"):
            return
        queue = self.queues[0]
        views, found = self.run(queue.batch_views()), self.run(queue.read(money))
        (statement,) = statements(views, found)
        balance = self.run(queue.balance(Scope(batch_id=self.scope.batch_id)))
        total = statement.total
        assert (total.held_usd_micros, total.spent_usd_micros) == (balance.held_usd_micros, balance.spent_usd_micros)
        assert total.attempts == len(self.model)
        assert total.price_usd_micros == PRICE * len(self.model)
        days = by_day(views, found).values()
        assert sum(day.spent_usd_micros for day in days) == balance.spent_usd_micros
        assert sum(day.held_usd_micros for day in days) == balance.held_usd_micros
        self._lines(statement)

    def _lines(self, statement: Statement) -> None:
        lines, model = statement.by_outcome, list(self.model.values())
        doubtful = [one for one in model if one.state in ("unknown", "left")]
        waits = [one for one in model if one.state == "failed" and not one.settled]
        assert lines[MoneyOutcome.UNKNOWN].held_usd_micros == sum(one.held for one in doubtful)
        assert lines[MoneyOutcome.UNKNOWN].attempts == len(doubtful)
        assert lines[MoneyOutcome.REFUND_DUE].held_usd_micros == sum(one.held for one in waits)
        assert lines[MoneyOutcome.REFUND_DUE].attempts == len(waits)
        for outcome in (MoneyOutcome.REFUNDED, MoneyOutcome.NOTHING_CREATED):
            assert (lines[outcome].held_usd_micros, lines[outcome].spent_usd_micros) == (0, 0)
        for outcome in (MoneyOutcome.REFUND_DENIED, MoneyOutcome.DELIVERED, MoneyOutcome.COLLECTING, MoneyOutcome.LATE):
            assert lines[outcome].held_usd_micros == 0
        assert lines[MoneyOutcome.DELIVERED].attempts == statement.clips == list(self.jobs.values()).count("done")
        assert lines[MoneyOutcome.COLLECTING].attempts == list(self.jobs.values()).count("downloading")


TestBooks = Books.TestCase
TestBooks.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


async def told(shop: Shop) -> tuple[list[Statement], Balance]:
    queue = await Queue.open(shop.queue_path, SystemClock(), kind="paid", origin=None, create=False, new_id=new_id)
    try:
        found = statements(await queue.batch_views(), await queue.read(money))
        return found, await queue.balance(Scope())
    finally:
        await queue.close()


async def test_a_campaign_is_told_over_all_its_manifests(shop: Shop) -> None:
    shop.head = "campaign: {name: spring, budget: 50.00}"
    shop.add_many(2).add("same", seed=0)  # the same picture and prompt as job-00: copied
    second = shop.folder / "other.yaml"
    second.write_text(shop.manifest.read_text().replace("It turns", "It falls"))
    async with emulated() as emulator:
        await run_shop(shop, emulator, manifests=[shop.manifest, second])
    found, balance = await told(shop)
    assert [(one.scope, one.name, one.clips, one.copied, one.total.spent_usd_micros) for one in found] == [
        ("batch", "other", 3, 1, 500_000),
        ("batch", "shop", 3, 1, 500_000),
        ("campaign", "spring", 6, 2, 1_000_000),
    ]
    assert balance.spent_usd_micros == 1_000_000
    assert statement_lines(found[2])[2].split() == ["Copied", "from", "another", "job,", "free", "2", "$0.00"]


async def test_in_words_and_for_scripts(shop: Shop) -> None:
    shop.add("good").add("bad")
    async with emulated({Fault.TASK_MODERATION: 0.5}, seed=3) as emulator:
        await run_shop(shop, emulator)
    (statement,), balance = await told(shop)
    words = statement_json(statement)
    lines = words["lines"]
    assert set(lines) == {outcome.value for outcome in MoneyOutcome}
    assert (
        (words["net_cost_usd"], words["held_usd"])
        == ("0.25", "0.25")
        == (lines["delivered"]["spent_usd"], lines["refund_due"]["held_usd"])
    )
    assert balance.committed_usd_micros == 500_000
    assert [line.split() for line in statement_lines(statement)] == [
        ["batch", "shop", "number", "held", "cost"],
        ["Clips", "delivered", "1", "$0.25"],
        ["Failed,", "refund", "awaited", "1", "$0.25", "$0.00"],
        ["Net", "cost", "$0.25", "$0.25"],
    ]
