"""The rules of the proofs notice what they are there for: each is tried with books that break it, and it alone."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.proof.books import Attempt, Bill, Job, Standing, Violation, check_always, check_end

_PRICE = 250_000
_CAP = 2 * _PRICE


def bill(**changes: object) -> Bill:
    whole = Bill(["a"], {"a": _PRICE}, {}, frozenset(), _PRICE)
    return replace(whole, **changes)  # type: ignore[arg-type]  # options by their names


def standing(output: Path = Path("none.mp4"), **changes: object) -> Standing:
    sha256 = hashlib.sha256(b"clip of a1").hexdigest()
    job = Job(1, "shop/mug", "done", "f1", output, sha256, sha256, None)
    whole = Standing({"a": Attempt("a1", 1, "f1", "completed", _PRICE)}, (job,), _PRICE, _PRICE)
    return replace(whole, **changes)  # type: ignore[arg-type]  # options by their names


TWO = {"a": Attempt("a1", 1, "f1", "completed", _PRICE), "b": Attempt("b1", 1, "f1", "running", _PRICE)}


@pytest.mark.parametrize(
    ("before", "books", "said"),
    [
        (bill(submits=["a", "a"]), standing(), "submitted twice"),
        (bill(submits=["a", "x"]), standing(), "does not know"),
        (bill(charged={"a": 2 * _PRICE}), standing(), "less than was charged"),
        (bill(peak_usd_micros=_CAP + 1), standing(), "cap was passed"),
        (bill(), standing(peak_usd_micros=_CAP + 1), "cap was passed"),
        (bill(charged={"a": _PRICE, "b": _PRICE}), standing(attempts=TWO), "bought twice"),
    ],
)
def test_what_must_hold_at_any_moment(before: Bill, books: Standing, said: str) -> None:
    check_always(bill(), standing(), bill(), _CAP)
    with pytest.raises(Violation, match=said):
        check_always(before, books, before, _CAP)


def test_a_failed_task_may_be_bought_again_before_its_refund() -> None:
    both = bill(charged={"a": _PRICE, "b": _PRICE}, failed=frozenset({"a"}))
    check_always(both, standing(attempts=TWO), both, _CAP)


def _end_with(change: Callable[[Standing], Standing], output: Path) -> None:
    check_end(bill(), change(standing(output)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: replace(one, jobs=(replace(one.jobs[0], state="unknown"),)), "jobs are left"),
        (lambda one: replace(one, total_usd_micros=0), "sums differ"),
        (
            lambda one: replace(one, attempts={"a": replace(one.attempts["a"], net_usd_micros=0)}),
            "differs from the bill",
        ),
        (lambda one: replace(one, jobs=(replace(one.jobs[0], state="failed"),)), "paid without a clip"),
        (lambda one: replace(one, jobs=(replace(one.jobs[0], placed_sha256=None),)), "not on disk"),
        (lambda one: replace(one, attempts={"a": replace(one.attempts["a"], attempt_id="z9")}), "another job"),
    ],
)
def test_what_must_hold_at_the_end(change: Callable[[Standing], Standing], said: str, tmp_path: Path) -> None:
    output = tmp_path / "mug.mp4"
    with pytest.raises(Violation, match="not on disk"):
        check_end(bill(), standing(output))
    output.write_bytes(b"clip of a1")
    check_end(bill(), standing(output))
    with pytest.raises(Violation, match=said):
        _end_with(change, output)
