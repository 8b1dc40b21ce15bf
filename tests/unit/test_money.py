"""Micro-dollars in and out."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrun.money import decimal_usd, format_usd, parse_usd

micros = st.integers(0, 10**15)


@given(micros)
def test_what_is_written_is_read_back(amount: int) -> None:
    assert parse_usd(decimal_usd(amount)) == amount


@given(micros)
def test_text_for_machines_is_exact(amount: int) -> None:
    assert Decimal(decimal_usd(amount)) * 1_000_000 == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [("0.25", 250_000), ("25", 25_000_000), (" 1.5 ", 1_500_000), ("0.000001", 1), ("1e2", 100_000_000), ("0", 0)],
)
def test_amounts(text: str, amount: int) -> None:
    assert parse_usd(text) == amount


@pytest.mark.parametrize("text", ["", "abc", "-1", "nan", "inf", "0.0000001", "1e12", "$5", "1,000"])
def test_what_is_no_amount_is_refused_with_the_value(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|decimals") as caught:
        parse_usd(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(250_000, "$0.25"), (0, "$0.00"), (1_250_000_000, "$1,250.00"), (-500_000, "-$0.50"), (1_000, "$0.001")],
)
def test_amounts_for_people_carry_their_currency(amount: int, shown: str) -> None:
    assert format_usd(amount) == shown
