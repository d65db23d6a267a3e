"""Money as integers: micro-yuan where usage is rated, fen (0.01 CNY) on the ledger (rules 1.3, 1.4)."""

import re

MICRO_PER_FEN = 10_000
MICRO_PER_YUAN = 1_000_000
FEN_PER_YUAN = 100

_DECIMAL = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,12})?", re.ASCII)


def round_half_up(numerator: int, denominator: int) -> int:
    """The integer nearest to numerator / denominator, halves up; denominator > 0 (rules 1.4)."""
    return (2 * numerator + denominator) // (2 * denominator)


def parse_decimal(text: str, places: int) -> int:
    """A plain decimal string of at most `places` decimals as an integer of 10^-places.

    "12.5" with 2 places is 1250; trailing zeros beyond `places` are accepted, being the same value.
    Raises ValueError, with a sentence for the reader, on anything else: signs, exponents, NaN, other digits.
    """
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"“{text[:40]}” is not a plain decimal number such as 12.50")
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    if len(fraction) > places:
        raise ValueError(f"“{text}” has more than {places} decimals")
    return int(whole + fraction.ljust(places, "0"))


def format_decimal(value: int, places: int) -> str:
    """An integer of 10^-places as a decimal string with exactly `places` decimals: -7179, 2 is "-71.79"."""
    sign, digits = ("-" if value < 0 else ""), str(abs(value)).rjust(places + 1, "0")
    return f"{sign}{digits[:-places]}.{digits[-places:]}"
