"""Record money received."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.ledger import ReferenceReused, find_account, record_top_up
from accounts.models import Account
from iss_billing.commands import ClockCommand, WrongArguments, fen
from iss_billing.money import format_decimal


class Command(ClockCommand):
    """`top_up ACCOUNT_ID AMOUNT --reference R`"""

    help = "Records money received; the same reference with the same account and amount again changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        """To whom, how much in CNY, and the payment's reference."""
        parser.add_argument("account_id")
        parser.add_argument("amount", type=fen)
        parser.add_argument("--reference", required=True)
        super().add_arguments(parser)

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Post it."""
        reference = options["reference"].strip()
        if not 1 <= len(reference) <= 255:
            raise WrongArguments("a reference has 1 to 255 characters")
        account = find_account(options["account_id"])
        if account is None:
            raise CommandError(f"there is no account {options['account_id']}")
        try:
            transfer = record_top_up(account_id=account.pk, amount=options["amount"], reference=reference, now=now)
        except ReferenceReused as error:
            raise CommandError(str(error)) from error
        balance = Account.objects.values_list("balance", flat=True).get(pk=account.pk)
        return {"transfer_id": str(transfer.pk), "balance": format_decimal(balance, 2)}
