"""Change a pay-as-you-go price from a coming day."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from iss_billing.commands import ClockCommand, WrongArguments, day, micro
from packs.models import Item
from packs.tariff import PriceRefused, set_tariff


class Command(ClockCommand):
    """`set_tariff ITEM REGION PRICE --per N --from DAY --reason R`"""

    help = "Sets a tariff price from a coming 00:00 on; also opens a region for an item."

    def add_arguments(self, parser: CommandParser) -> None:
        """Item, region, price in CNY per N base units, from which day, and why."""
        parser.add_argument("item")
        parser.add_argument("region")
        parser.add_argument("price", type=micro)
        parser.add_argument("--per", type=int, required=True)
        parser.add_argument("--from", type=day, required=True, dest="effective_day", metavar="DAY")
        parser.add_argument("--reason", required=True)
        super().add_arguments(parser)

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Append the price."""
        item = Item.objects.filter(code=options["item"]).first()
        if item is None:
            raise CommandError(f"there is no item {options['item']}")
        fields = ("region", "price", "per", "effective_day", "reason")
        try:
            set_tariff(item=item, now=now, **{field: options[field] for field in fields})
        except PriceRefused as error:
            raise WrongArguments(error) from error
        return {}
