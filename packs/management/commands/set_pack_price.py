"""Change a pack's price at once."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from iss_billing.commands import ClockCommand, WrongArguments, fen
from packs.models import Sku
from packs.proposal_models import ProposedPrice
from packs.proposals import change_prices
from packs.tariff import PriceRefused


class Command(ClockCommand):
    """`set_pack_price SKU PRICE --reason R`"""

    help = "Sells a pack at another price from now on; orders, packs and bills keep theirs. FOUR_EYES=1: proposes it."

    def add_arguments(self, parser: CommandParser) -> None:
        """SKU, price in CNY, and why."""
        parser.add_argument("sku")
        parser.add_argument("price", type=fen)
        parser.add_argument("--reason", required=True)
        super().add_arguments(parser)

    def work(self, now: datetime, options: dict[str, Any]) -> dict[str, Any]:
        """Append the price; propose it where a second person must publish."""
        if not Sku.objects.filter(code=options["sku"]).exists():
            raise CommandError(f"there is no SKU {options['sku']}")
        cell = ProposedPrice(code=options["sku"], price=options["price"])
        try:
            proposal = change_prices(cells=[cell], reason=options["reason"], now=now)
        except PriceRefused as error:
            raise WrongArguments(error) from error
        return {"proposal_id": str(proposal.pk)} if proposal.is_open else {}
