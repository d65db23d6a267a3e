"""An account's transfers as they move its balance, for reading."""

from typing import Any

from django.db.models import Case, ExpressionWrapper, F, Q, QuerySet, When

from accounts.models import Account, Book, Transfer
from iss_billing.fields import WideIntegerField

WIDE: "WideIntegerField[Any, Any]" = WideIntegerField()
SIGNED = Case(
    When(credit=Book.BALANCE, then=F("amount")),
    default=ExpressionWrapper(-F("amount"), output_field=WIDE),
    output_field=WIDE,
)
"""`Transfer.signed_amount` of what moves the balance, as an expression: fen, above 0 in."""


def moving_balance(account: Account) -> QuerySet[Transfer]:
    """The transfers that moved the account's balance."""
    return Transfer.objects.filter(Q(debit=Book.BALANCE) | Q(credit=Book.BALANCE), account=account)
