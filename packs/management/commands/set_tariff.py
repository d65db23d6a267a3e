"""Change a pay-as-you-go price from a coming day."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from iss_billing.commands import ClockCommand, WrongArguments, day, micro
from packs.models import Item
from packs.proposal_models import ProposedPrice
from packs.proposals import change_prices
from packs.tariff import PriceRefused, check_tariff


class Command(ClockCommand):
    """`set_tariff ITEM REGION PRICE --per N --from DAY --reason R`"""

    help = "Sets a tariff price from a coming 00:00 on; also opens a region for an item. FOUR_EYES=1: proposes it."

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
        """Append the price; propose it where a second person must publish."""
        if not Item.objects.filter(code=options["item"]).exists():
            raise CommandError(f"there is no item {options['item']}")
        region, price, per = options["region"], options["price"], options["per"]
        cell = ProposedPrice(code=options["item"], region=region, price=price, per=per, day=options["effective_day"])
        try:
            check_tariff(region, price, per)
            proposal = change_prices(cells=[cell], reason=options["reason"], now=now)
        except PriceRefused as error:
            raise WrongArguments(error) from error
        return {"proposal_id": str(proposal.pk)} if proposal.is_open else {}
