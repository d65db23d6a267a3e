"""Loading the launch catalogue: what is missing is added, what is there is left as it is."""

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction

from iss_billing.days import start_of
from iss_billing.money import parse_decimal
from packs.models import Item, PackType, Sku, SkuPrice, TariffPrice

LAUNCH_CATALOGUE = Path(__file__).with_name("catalogue.json")
REASON = "launch catalogue"


class CatalogueFaulty(Exception):
    """The file is not a catalogue; the message says where."""


def load_catalogue(path: Path, now: datetime) -> dict[str, int]:
    """Add the items, tariff, pack types, SKUs and prices that are not there yet; how many of each were added.

    Prices are appended only where there is none, so a price edited since survives. Raises CatalogueFaulty.
    """
    try:
        catalogue = json.loads(path.read_text(encoding="utf-8"))
        with transaction.atomic():
            return _load(catalogue, now)
    except OSError as error:
        raise CatalogueFaulty(f"{path}: {error.strerror}") from error
    except IntegrityError as error:
        raise CatalogueFaulty(f"{path} clashes with what is there: {str(error).splitlines()[0]}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CatalogueFaulty(f"{path} is no catalogue: {error!r}") from error


def _load(catalogue: dict[str, Any], now: datetime) -> dict[str, int]:
    since = date.fromisoformat(catalogue["effective_from"])
    region, until = catalogue["region"], date.fromisoformat(catalogue["packs_valid_until"])
    before = _counts()
    items: dict[str, Item] = {}
    for position, entry in enumerate(catalogue["items"], start=1):
        fields = ("name_zh", "name_en", "unit", "aggregation", "requires_billing_mode")
        item, _ = Item.objects.get_or_create(
            code=entry["code"], defaults={"position": position, **{field: entry[field] for field in fields}}
        )
        items[item.code] = item
        TariffPrice.objects.get_or_create(
            item=item,
            region=region,
            effective_day=since,
            defaults={
                "price": parse_decimal(entry["price"], 6),
                "per": entry["per"],
                "made_at": now,
                "reason": REASON,
            },
        )
    types: dict[str, PackType] = {}
    for position, entry in enumerate(catalogue["pack_types"], start=1):
        fields = ("name_zh", "name_en", "unit", "region", "requires_billing_mode")
        pack_type, new = PackType.objects.get_or_create(
            code=entry["code"], defaults={"position": position, **{field: entry[field] for field in fields}}
        )
        if new:
            pack_type.covers.set(items[code] for code in entry["covers"])
        types[pack_type.code] = pack_type
    for position, entry in enumerate(catalogue["packs"], start=1):
        sku, _ = Sku.objects.get_or_create(
            code=entry["sku"],
            defaults={
                "pack_type": types[entry["pack_type"]],
                "quantity": entry["quantity"],
                "valid_until": until,
                "position": position,
            },
        )
        SkuPrice.objects.get_or_create(
            sku=sku,
            effective_at=start_of(since),
            defaults={"price": parse_decimal(entry["price"], 2), "made_at": now, "reason": REASON},
        )
    return {name: count - before[name] for name, count in _counts().items()}


def _counts() -> dict[str, int]:
    tables = {"items": Item, "tariff": TariffPrice, "pack_types": PackType, "packs": Sku, "prices": SkuPrice}
    return {name: model._default_manager.count() for name, model in tables.items()}
