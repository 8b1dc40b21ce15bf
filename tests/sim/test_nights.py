"""Whole nights with everything that hurts; after each the books are compared and nothing may be paid twice or lost."""

import pytest

from batchrun.emulator.faults import Fault
from tests.sim.night import Figures, Scenario, play
from tests.sim.storms import HOUR_MS, LATE, LOST, WEATHER, bad_storage, storm


def clean(figures: Figures) -> None:
    assert figures.violations == []
    print(figures)


def settled(figures: Figures) -> None:
    """Every job ended, every cent is where the provider says it is."""
    clean(figures)
    assert (figures.queued, figures.parked, figures.held_usd_micros) == (0, 0, 0)
    assert figures.done + figures.failed == figures.jobs
    assert figures.spent_usd_micros == figures.billed_usd_micros


@pytest.mark.parametrize("seed", range(4))
def test_a_stormy_night_with_kills(seed: int) -> None:
    figures = play(storm(seed, 250))
    settled(figures)
    assert figures.kills > 0
    assert figures.late == 0


@pytest.mark.parametrize("seed", range(2))
def test_a_night_in_which_most_downloads_go_wrong(seed: int) -> None:
    figures = play(bad_storage(seed, 150))
    settled(figures)
    assert (figures.done, figures.submits) == (figures.jobs, figures.jobs)
    assert figures.faulty_downloads > 100


@pytest.mark.parametrize("processes", [2, 4, 8])
def test_many_processes_on_one_queue(processes: int) -> None:
    scenario = Scenario(
        seed=processes,
        jobs=120,
        processes=processes,
        concurrency=10,
        faults=LOST | WEATHER,
        kill_every=3000,
        kills=8,
        freeze_every_s=200,
    )
    settled(play(scenario))


def test_the_cap_holds_and_is_used() -> None:
    """100 jobs, 50 slots, $5.00, failures that are refunded late, kills."""
    for seed in range(3):
        figures = play(
            Scenario(
                seed=seed,
                jobs=100,
                concurrency=50,
                budget_usd_micros=5_000_000,
                nights=4,
                faults={Fault.TASK_FAILED: 0.2, Fault.TASK_UNAVAILABLE: 0.1} | LOST,
                kill_every=1500,
                kills=5,
                account={"refund_after_ms": 2 * HOUR_MS},
            )
        )
        clean(figures)
        assert 4_500_000 <= figures.spent_usd_micros + figures.held_usd_micros <= 5_000_000
        assert figures.queued > 0


def test_every_answer_is_lost_and_every_submit_is_found() -> None:
    figures = play(Scenario(seed=1, jobs=100, per_minute=60, faults={Fault.SUBMIT_DROP_AFTER: 1.0}))
    settled(figures)
    assert figures.peak_unknown <= 5


def test_submits_in_a_row_that_never_left_get_a_witness_in_time() -> None:
    """Nothing can prove that they were not taken but a later one that was."""
    cut = [None, *[Fault.SUBMIT_DROP_BEFORE] * 4, None]
    figures = play(Scenario(seed=12, jobs=40, submits=cut, nights=1))
    clean(figures)
    assert (figures.done, figures.voided, figures.parked, figures.held_usd_micros) == (40, 4, 0, 0)


def test_every_answer_is_lost_and_inputs_are_hidden() -> None:
    """Nothing can be told: a few are open, nothing is adopted, nothing is void, and the rest is not even tried."""
    figures = play(Scenario(seed=1, jobs=100, faults={Fault.SUBMIT_DROP_AFTER: 1.0}, show_inputs=False, nights=2))
    clean(figures)
    assert figures.submits == figures.parked <= 5 + 1
    assert (figures.done, figures.voided, figures.held_usd_micros) == (0, 0, figures.billed_usd_micros)


def test_strangers_and_hidden_inputs_decide_nothing_wrongly() -> None:
    for seed in range(3):
        figures = play(
            Scenario(
                seed=seed,
                jobs=60,
                max_unknown=20,
                show_inputs=False,
                nights=3,
                faults=LOST | {Fault.STRANGER: 0.5},
            )
        )
        clean(figures)
        assert figures.late == 0


@pytest.mark.parametrize("lag_ms", [60_000, 20 * 60_000, 24 * HOUR_MS])
def test_a_list_that_lags(lag_ms: int) -> None:
    figures = play(
        Scenario(seed=3, jobs=80, faults=LOST, kill_every=3000, kills=4, account={"list_lag_ms": lag_ms}, nights=5)
    )
    clean(figures)
    assert figures.late == 0
    assert figures.held_usd_micros + figures.spent_usd_micros >= figures.billed_usd_micros


def test_a_list_that_is_empty_frees_nothing() -> None:
    figures = play(Scenario(seed=4, jobs=60, faults=LOST | {Fault.LIST_EMPTY: 1.0}, kill_every=2000, kills=3, nights=3))
    clean(figures)
    assert (figures.voided, figures.late) == (0, 0)


def test_acceptances_that_come_within_the_settle_time() -> None:
    figures = play(Scenario(seed=5, jobs=150, faults=LOST | LATE, kill_every=4000, kills=4))
    settled(figures)
    assert figures.late == 0


def test_acceptances_that_come_after_it_are_charged_late_and_kept() -> None:
    figures = play(
        Scenario(
            seed=6, jobs=100, faults={Fault.SUBMIT_DROP_LATE: 0.05}, account={"late_ms": (1200_000, 3000_000)}, nights=8
        )
    )
    assert figures.late > 0
    assert figures.spent_usd_micros + figures.held_usd_micros >= figures.billed_usd_micros
    assert [text for text in figures.violations if "paid" not in text and "billed" not in text] == []


@pytest.mark.parametrize("wrong_ms", [-6 * HOUR_MS, 47_000, 3 * HOUR_MS])
def test_a_clock_that_is_wrong(wrong_ms: int) -> None:
    """The provider's Date tells by how much; nothing is found later or void sooner for it."""
    settled(play(Scenario(seed=7, jobs=80, faults=LOST, wrong_ms=wrong_ms, kill_every=3000, kills=3)))


def test_charges_that_differ_from_the_quote_end_up_in_the_ledger() -> None:
    figures = play(
        Scenario(seed=8, jobs=30, account={"charge_usd_micros": {5: 230_000, 10: 510_000}}, kill_every=1000, kills=2)
    )
    assert [text for text in figures.violations if not text.startswith("billed")] == []
    assert figures.spent_usd_micros == figures.billed_usd_micros


def test_refunds_that_never_come_count_as_spent() -> None:
    figures = play(Scenario(seed=9, jobs=60, faults={Fault.TASK_FAILED: 0.2, Fault.REFUND_NEVER: 0.5}))
    settled(figures)


def test_a_closed_billing_keeps_the_money_of_failed_tasks() -> None:
    figures = play(
        Scenario(seed=10, jobs=60, faults={Fault.TASK_FAILED: 0.2} | LOST, account={"billing_open": False}, nights=3)
    )
    clean(figures)
    assert figures.held_usd_micros > 0
    assert figures.held_usd_micros + figures.spent_usd_micros >= figures.billed_usd_micros


def test_a_closed_list_parks_what_cannot_be_told() -> None:
    figures = play(Scenario(seed=11, jobs=40, faults=LOST, account={"list_open": False}, nights=2))
    clean(figures)
    assert (figures.voided, figures.late) == (0, 0)
    assert figures.parked > 0


def test_the_same_seed_is_the_same_night() -> None:
    assert play(storm(3, 60)) == play(storm(3, 60))
