"""Whom a published rise concerns, and what they are told: items that they use, packs that they hold or bought.

A rise is told when it is scheduled, against the price of the day before; who has heard of one also hears when it does
not come. A pack price that rises at once is told nobody: there is nothing left to do about it.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import F

from accounts import notices
from accounts.models import Account, Notice
from iss_billing.days import day_of, start_of
from iss_billing.money import MICRO_PER_FEN, round_half_up
from packs.models import SkuPrice, TariffPrice
from packs.proposal_models import PriceProposal
from packs.tariff import Price, sku_prices, tariff_on
from settlement.histories import window_rules
from settlement.replay import Window
from settlement.repricing import Key, NewPrices, Repriced, reprice

KIND = Notice.Type.PRICE_RISE.value

HOLDERS = """
SELECT account_id, array_agg(DISTINCT pack_type_id) FROM packs_pack
WHERE account_id BETWEEN %(low)s AND %(high)s AND pack_type_id = ANY(%(types)s) AND refunded_at IS NULL
  AND (purchased_at >= %(start)s OR remaining > 0 AND valid_until >= %(today)s)
GROUP BY account_id
"""


class ItemRise(NamedTuple):
    """An item that becomes dearer in a region, or is no longer sold there, from the row's day on."""

    row: TariffPrice
    before: Price
    """On the day before."""

    @property
    def entry(self) -> dict[str, Any]:
        """As a notice keeps it."""
        row = self.row
        return {
            "item": row.item.code,
            "name_zh": row.item.name_zh,
            "name_en": row.item.name_en,
            "region": row.region,
            "unit": row.item.unit,
            "day": row.effective_day.isoformat(),
            "before": [self.before.price, self.before.per],
            "after": None if row.withdraws else [row.price, row.per],
        }


class PackRise(NamedTuple):
    """A size of a pack that becomes dearer, or is no longer sold, from the row's day on; fen."""

    row: SkuPrice
    before: int

    @property
    def entry(self) -> dict[str, Any]:
        """As a notice keeps it."""
        sku = self.row.sku
        return {
            "sku": sku.code,
            "name_zh": sku.pack_type.name_zh,
            "name_en": sku.pack_type.name_en,
            "total": sku.quantity,
            "unit": sku.pack_type.unit,
            "day": day_of(self.row.effective_at).isoformat(),
            "before": self.before,
            "after": None if self.row.withdraws else self.row.price,
        }


class Rises(NamedTuple):
    """Items by id and region, SKUs by id."""

    items: Mapping[Key, ItemRise]
    packs: Mapping[int, PackRise]


def published_rises(proposal: PriceProposal) -> Rises:
    """What a published proposal makes dearer or ends, as far as it still comes; of several days the first."""
    items = TariffPrice.objects.filter(proposal=proposal, cancelled_at=None).select_related("item")
    packs = SkuPrice.objects.filter(proposal=proposal, cancelled_at=None, effective_at__gt=F("made_at"))
    packs = packs.select_related("sku__pack_type")
    return Rises(
        {(one.row.item_id, one.row.region): one for one in _item_rises(items.order_by("-effective_day", "-id"))},
        {one.row.sku_id: one for one in _pack_rises(packs.order_by("-effective_at", "-id"))},
    )


def _item_rises(rows: Iterable[TariffPrice]) -> Iterable[ItemRise]:
    tariff = cache(tariff_on)
    for row in rows:
        before = tariff(row.effective_day - timedelta(days=1)).get((row.item_id, row.region))
        if before and (row.withdraws or row.price * before.per > before.price * row.per):
            yield ItemRise(row, before)


def _pack_rises(rows: Iterable[SkuPrice]) -> Iterable[PackRise]:
    prices = cache(sku_prices)
    for row in rows:
        before = prices(row.effective_at - timedelta(microseconds=1)).get(row.sku_id)
        if before is not None and (row.withdraws or row.price > before):
            yield PackRise(row, before)


class CalledOff(NamedTuple):
    """What does not come, by its key in a notice: an item's or SKU's code, the region, the day. Prices as they stay."""

    stays: Mapping[tuple[str, str, str], Any]
    references: frozenset[str]
    """Of the notices that may tell of it."""


def called_off(proposal: PriceProposal) -> CalledOff:
    """The rises that a published proposal cancelled, or replaced by what is none."""
    decided = proposal.decided_at
    cells = {cell.key for cell in proposal.cells.all()}
    codes = [code for code, _region, _day in cells]
    if decided is None:
        return CalledOff({}, frozenset())
    items = TariffPrice.objects.filter(item__code__in=codes, effective_day__gt=day_of(decided)).select_related(
        "item", "proposal"
    )
    packs = SkuPrice.objects.filter(sku__code__in=codes, effective_at__gt=decided)
    packs = packs.select_related("sku__pack_type", "proposal")
    rows: list[TariffPrice | SkuPrice] = [*items.order_by("id"), *packs.order_by("id")]
    words: dict[tuple[str, str, date | None], list[TariffPrice | SkuPrice]] = {}
    for row in rows:
        if _key(row) in cells and _decided_before(row, proposal):
            words.setdefault(_key(row), []).append(row)
    # the last word is what counted until now
    last = [rows[-1] for rows in words.values() if rows[-1].cancelled_at in (None, decided)]
    wrong = {_key(row) for row in _rising(last)} - {_key(row) for row in _rising(_rows_of(proposal))}
    return CalledOff(
        {
            (code, region, day.isoformat()): _price_of(words[code, region, day][-1])
            for code, region, day in wrong
            if day
        },
        frozenset(f"proposal:{row.proposal_id}" for key in wrong for row in words[key]),
    )


def _decided_before(row: TariffPrice | SkuPrice, proposal: PriceProposal) -> bool:
    other = row.proposal
    if other is None or other.decided_at is None or proposal.decided_at is None:
        return False
    return other.pk != proposal.pk and other.decided_at <= proposal.decided_at


def _key(row: TariffPrice | SkuPrice) -> tuple[str, str, date | None]:
    if isinstance(row, TariffPrice):
        return row.item.code, row.region, row.effective_day
    return row.sku.code, "", day_of(row.effective_at)


def _rows_of(proposal: PriceProposal) -> list[TariffPrice | SkuPrice]:
    items = TariffPrice.objects.filter(proposal=proposal, cancelled_at=None).select_related("item")
    packs = SkuPrice.objects.filter(proposal=proposal, cancelled_at=None).select_related("sku__pack_type")
    return [*items, *packs]


def _rising(rows: Iterable[TariffPrice | SkuPrice]) -> Iterable[TariffPrice | SkuPrice]:
    rows = list(rows)
    for item in _item_rises(row for row in rows if isinstance(row, TariffPrice)):
        yield item.row
    for pack in _pack_rises(row for row in rows if isinstance(row, SkuPrice)):
        yield pack.row


def _price_of(row: TariffPrice | SkuPrice) -> Any:
    """What there is instead on a row's day, as a notice keeps prices; None: not on sale."""
    if isinstance(row, SkuPrice):
        return sku_prices(row.effective_at).get(row.sku_id)
    price = tariff_on(row.effective_day).get((row.item_id, row.region))
    return [price.price, price.per] if price else None


def tell(proposal: PriceProposal, low: int, high: int, window: Window, now: datetime) -> dict[str, int]:
    """Write to the customers from `low` to `high` whom a published proposal concerns; how many these are.

    A notice is unique by proposal: nobody hears of one twice.
    """
    rises = published_rises(proposal)
    # what is no longer sold costs nothing more: usage is rated at what was paid before
    tariff = {key: one.before if one.row.withdraws else _new(one.row) for key, one in rises.items.items()}
    packs = {sku: one.row.price for sku, one in rises.packs.items() if not one.row.withdraws}
    accounts = reprice(low, high, window, window_rules(window), NewPrices(tariff, packs))
    holders = _holders(low, high, window, rises, day_of(now))
    closed = set(Account.objects.filter(pk__range=(low, high), closed_at__isnull=False).values_list("pk", flat=True))
    reference = f"proposal:{proposal.pk}"
    entries: list[notices.Entry] = []
    users = {account for account, one in accounts.items() if one.items}
    for account in sorted((users | holders.keys()) - closed):
        one = accounts.get(account, Repriced(account))
        entries.append((account, KIND, reference, _notice(one, holders.get(account, set()), rises, window)))
    notices.write(entries, now)
    told_off = _tell_of_cancellation(proposal, low, high, closed, now)
    return {"accounts": len(accounts), "told": len(entries), "told_of_cancellation": told_off}


def _new(row: TariffPrice) -> Price:
    return Price(row.price, row.per, row.effective_day)


def _holders(low: int, high: int, window: Window, rises: Rises, today: date) -> dict[int, set[int]]:
    """The accounts that hold, or bought since the window began, packs of the types that rise: which types."""
    types = {one.row.sku.pack_type_id for one in rises.packs.values()}
    if not types:
        return {}
    ask: dict[str, Any] = {
        "low": low,
        "high": high,
        "types": list(types),
        "start": start_of(window.first),
        "today": today,
    }
    with connection.cursor() as cursor:
        cursor.execute(HOLDERS, ask)
        return {account: set(kinds) for account, kinds in cursor.fetchall()}


def _notice(one: Repriced, kinds: set[int], rises: Rises, window: Window) -> dict[str, Any]:
    used = sorted((rises.items[key] for key in one.items), key=lambda rise: (rise.row.item.position, rise.row.region))
    held = [rise for rise in rises.packs.values() if rise.row.sku.pack_type_id in kinds]
    data: dict[str, Any] = {
        "first_day": window.first.isoformat(),
        "last_day": window.last.isoformat(),
        "items": [rise.entry for rise in used],
        "packs": [rise.entry for rise in sorted(held, key=lambda rise: rise.row.sku.position)],
        "before": round_half_up(one.charged, MICRO_PER_FEN),
        "after": round_half_up(one.charged + one.rated_change, MICRO_PER_FEN),
    }
    if one.packs:
        sums = [sum(values[place] for values in one.packs.values()) for place in (1, 2)]
        data["bought"] = [round_half_up(value, MICRO_PER_FEN) for value in sums]
    return data


def _tell_of_cancellation(proposal: PriceProposal, low: int, high: int, closed: set[int], now: datetime) -> int:
    """Tell whoever has heard of a rise that it does not come, and how many these are."""
    off = called_off(proposal)
    if not off.stays:
        return 0
    heard = Notice.objects.filter(kind=KIND, account_id__gte=low, account_id__lte=high, reference__in=off.references)
    found: dict[int, dict[tuple[str, str, str], dict[str, Any]]] = {}
    for account, data in heard.order_by("id").values_list("account_id", "data"):
        for entry in [*data.get("items", ()), *data.get("packs", ())]:
            key = entry.get("item") or entry["sku"], entry.get("region", ""), entry["day"]
            if key in off.stays and account not in closed:
                found.setdefault(account, {})[key] = entry | {"after": off.stays[key]}
    reference = f"proposal:{proposal.pk}:cancelled"
    notices.write([(who, KIND, reference, {"cancelled": list(said.values())}) for who, said in found.items()], now)
    return len(found)
