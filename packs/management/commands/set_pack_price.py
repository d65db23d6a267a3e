"""Change a pack's price at once."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from iss_billing.commands import ClockCommand, WrongArguments, fen
from packs.models import Sku
from packs.tariff import PriceRefused, set_pack_price


class Command(ClockCommand):
    """`set_pack_price SKU PRICE --reason R`"""

    help = "Sells a pack at another price from now on; orders, packs and bills keep theirs."

    def add_arguments(self, parser: CommandParser) -> None:
        """SKU, price in CNY, and why."""
        parser.add_argument("sku")
        parser.add_argument("price", type=fen)
        parser.add_argument("--reason", required=True)
        super().add_arguments(parser)

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Append the price."""
        sku = Sku.objects.filter(code=options["sku"]).first()
        if sku is None:
            raise CommandError(f"there is no SKU {options['sku']}")
        try:
            set_pack_price(sku=sku, price=options["price"], reason=options["reason"], now=now)
        except PriceRefused as error:
            raise WrongArguments(error) from error
        return {}
