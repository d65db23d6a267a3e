"""Model fields and conversions shared by the apps: wide integers, and `Money` at the edges."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.db import models
from djmoney.money import Money

from iss_billing.money import format_decimal

CURRENCY = "CNY"

if TYPE_CHECKING:
    IntegerField = models.Field[int, int]
else:
    IntegerField = models.Field  # only the stubs know its type parameters


class WideIntegerField(IntegerField):
    """An integer of up to 38 digits.

    One event may carry 10^15 calls at 0.1 CNY: 10^20 micro-yuan, which a bigint cannot hold. Quantities that
    add up and amounts that come of them use this; what a person enters stays a bigint.
    """

    description = "Integer (up to 38 digits)"

    def db_type(self, connection: Any) -> str:
        return "numeric(38, 0)"

    def from_db_value(self, value: Decimal | None, expression: Any, connection: Any) -> int | None:
        return None if value is None else int(value)

    def to_python(self, value: Any) -> int | None:
        return None if value is None else int(value)

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return int(value) if isinstance(value, (int, str)) else value


def fen_money(fen: int) -> Money:
    """Whole fen as `Money` with two decimals."""
    return Money(format_decimal(fen, 2), CURRENCY)


def micro_money(micro: int) -> Money:
    """Micro-yuan as `Money` with six decimals."""
    return Money(format_decimal(micro, 6), CURRENCY)
