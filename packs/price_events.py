"""A tariff price as the API shows it, and the webhook event that announces one."""

from datetime import date, datetime
from typing import Any

from accounts.outbox import write_to_all
from accounts.shapes import micro
from accounts.webhook_models import EventType
from packs.models import Item, TariffPrice
from packs.tariff import Price


def tariff_shape(item: Item, region: str, price: int, per: int, since: date) -> dict[str, Any]:
    """An entry of the tariff in `GET catalogue/`; `price` in micro-yuan per `per` base units."""
    return {
        "item": item.code,
        "name": item.name,
        "region": region,
        "price": micro(price),
        "per": per,
        "unit": item.unit,
        "aggregation": item.aggregation,
        "requires_billing_mode": item.requires_billing_mode,
        "effective_from": since.isoformat(),
    }


def price_announced(price: TariffPrice, now: datetime) -> None:
    """Tell every endpoint that listens of a price that will come into force, as the catalogue will show it."""
    shown = tariff_shape(price.item, price.region, price.price, price.per, price.effective_day)
    write_to_all(EventType.PRICE_ANNOUNCED, f"tariff:{price.pk}", shown, now)


def price_restored(item: Item, region: str, price: Price, cancelled_id: int, now: datetime) -> None:
    """Tell every endpoint that listens of the price that stays in force on a day whose change was cancelled."""
    shown = tariff_shape(item, region, price.price, price.per, price.effective_day)
    write_to_all(EventType.PRICE_ANNOUNCED, f"tariff:{cancelled_id}:cancelled", shown, now)
