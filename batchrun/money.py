"""Money is integer micro-dollars (1 USD = 1,000,000), never a float.

The provider writes JSON numbers; the JSON reader hands them over as `Decimal` (see `provider.wire`), people write
decimal text. Both come in through `parse_usd`.
"""

from decimal import Decimal, InvalidOperation

MICROS_PER_USD = 1_000_000
_LARGEST_USD = Decimal(1_000_000_000)


def parse_usd(text: str | int | Decimal) -> int:
    """Micro-dollars of a decimal amount such as `25`, `0.25` or `Decimal("0.25")`.

    Raises:
        ValueError: not a number, negative, finer than a micro-dollar, or absurdly large.
    """
    try:
        usd = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not an amount of money; write US dollars such as 25 or 0.25") from error
    if not usd.is_finite() or usd < 0:
        raise ValueError(f"{text!r} is not an amount of money; write US dollars of 0 or more")
    if usd > _LARGEST_USD:
        raise ValueError(f"{text!r} is more than any budget can be; write US dollars, not cents or micro-dollars")
    micros = usd * MICROS_PER_USD
    if micros != micros.to_integral_value():
        raise ValueError(f"{text!r} is finer than a micro-dollar; at most six decimals")
    return int(micros)


def decimal_usd(micros: int) -> str:
    """The amount as plain decimal text for machines: `0.25`, `12.00`, `0.001`. At least two decimals, no rounding."""
    sign = "-" if micros < 0 else ""
    whole, rest = divmod(abs(micros), MICROS_PER_USD)
    digits = f"{rest:06d}"
    return f"{sign}{whole}.{digits[:2]}{digits[2:].rstrip('0')}"


def format_usd(micros: int) -> str:
    """The amount for people, always with its currency: `$12.00`, `-$0.25`, `$1,250.00`."""
    sign = "-" if micros < 0 else ""
    whole, _, cents = decimal_usd(abs(micros)).partition(".")
    return f"{sign}${int(whole):,}.{cents}"
