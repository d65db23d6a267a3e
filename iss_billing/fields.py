"""Model fields and conversions shared by the apps: wide integers, and `Money` at the edges."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import models
from djmoney.money import Money

from iss_billing.money import format_decimal

CURRENCY = "CNY"

_ST = TypeVar("_ST", contravariant=True)
_GT = TypeVar("_GT", covariant=True)

if TYPE_CHECKING:
    IntegerField = models.IntegerField  # whose stub knows what null=True makes of the types
else:

    class IntegerField(models.Field):
        """A field that takes the stubs' type parameters."""

        def __class_getitem__(cls, _):
            return cls


class WideIntegerField(IntegerField[_ST, _GT]):
    """An integer of up to 38 digits.

    One event may carry 10^15 calls at 0.1 CNY: 10^20 micro-yuan, which a bigint cannot hold. Quantities that
    add up and amounts that come of them use this; what a person enters stays a bigint.
    """

    description = "Integer (up to 38 digits)"

    def db_type(self, connection: Any) -> str:
        """The column's type."""
        return "numeric(38, 0)"

    def from_db_value(self, value: Decimal | None, expression: Any, connection: Any) -> int | None:
        """An int, out of the driver's Decimal."""
        return None if value is None else int(value)

    def to_python(self, value: Any) -> int | None:
        """An int."""
        return None if value is None else int(value)

    def get_prep_value(self, value: Any) -> Any:
        """What the driver is given."""
        value = super().get_prep_value(value)
        return int(value) if isinstance(value, (int, str)) else value


def fen_money(fen: int) -> Money:
    """Whole fen as `Money` with two decimals."""
    return Money(format_decimal(fen, 2), CURRENCY)


def micro_money(micro: int) -> Money:
    """Micro-yuan as `Money` with six decimals."""
    return Money(format_decimal(micro, 6), CURRENCY)
