"""A bill as one file with all that it was made from, for a customer to recompute offline ([docs](../docs/recheck.md)).

The file holds the whole day: every bill of it, for late usage is billed as the difference to the earlier bills, and
every report that has arrived. It is written member by member, the reports as the database hands them out; `digests`
close it. `static/recheck/recheck.py` reads it and shares no code with this product.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db import connection

from accounts.shapes import micro, moment
from packs.models import Item, PackType, TariffPrice
from settlement.estimate import one_snapshot
from settlement.metering import pending_days
from settlement.models import Bill, ExpiredDay
from settlement.recheck_bills import bills_of_day, packs_of_day
from settlement.usage import DayQuantity, day_of_account

FORMAT = "iss-billing-recheck-1"
COLUMNS = ["source", "id", "item", "region", "resource", "quantity", "time", "received"]
MOST_EVENTS = 200_000
"""With more reports than this the file starts from the day's aggregates, as it does for an expired day: some 40 MB."""
ROWS_AT_A_TIME = 2_000


def recheck_file(bill: Bill, *, language: str, script_url: str, now: datetime) -> Iterator[str]:
    """The recheck file of a bill, in pieces; one snapshot, which is open until the last piece has been taken."""
    with one_snapshot():
        items = {item.pk: item for item in Item.objects.all()}
        used = day_of_account(bill.account_id, bill.day)
        digests: dict[str, str] = {}
        yield "{\n"
        for name, value in _before_usage(bill, used, items, language, script_url, now).items():
            digests[name] = hashlib.sha256(canonical(value).encode()).hexdigest()
            yield f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False, indent=1)},\n"
        yield from _usage(bill, used, items, digests)
        yield f',\n"digests": {json.dumps(digests, indent=1)}\n}}\n'


def canonical(value: Any) -> str:
    """The one text of a value that its digest is of, whatever its layout in the file."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _before_usage(
    bill: Bill, used: list[DayQuantity], items: dict[int, Item], language: str, script_url: str, now: datetime
) -> dict[str, Any]:
    """Every member but the usage: who and when, rules, prices, packs, and the bills of the day."""
    bills = list(Bill.objects.filter(account=bill.account_id, day=bill.day).order_by("sequence"))
    types = _pack_types(used)
    packs, held = packs_of_day(bill, bills, {kind.pk: kind.code for kind in types})
    known = {row["pack_type"] for row in packs}
    return {
        "format": FORMAT,
        "how": f"Download {script_url} and run it beside this file: python3 recheck.py FILE",
        "language": language,
        "made_at": moment(now),
        "account_id": str(bill.account_id),
        "bill_id": str(bill.pk),
        "day": bill.day.isoformat(),
        "billing_mode": bill.billing_mode,
        "items": [_item(items[id]) for id in sorted({one.item_id for one in used}, key=lambda id: items[id].position)],
        "tariff": _tariff(bill, used, items),
        "pack_types": [_pack_type(kind) for kind in types if kind.code in known],
        "packs": packs,
        "waiting": _waiting(bill, used, items),
        "bills": bills_of_day(bill, bills, held),
    }


def _item(item: Item) -> dict[str, Any]:
    return {
        "item": item.code,
        "position": item.position,
        "unit": item.unit,
        "aggregation": item.aggregation,
        "requires_billing_mode": item.requires_billing_mode,
    }


def _tariff(bill: Bill, used: list[DayQuantity], items: dict[int, Item]) -> list[dict[str, Any]]:
    """Every price up to the day of what was used, as they were appended: the last of a pair is in force."""
    pairs = {(one.item_id, one.region) for one in used}
    kept = TariffPrice.objects.filter(cancelled_at=None, withdraws=False)
    prices = kept.filter(effective_day__lte=bill.day, item_id__in={item for item, _ in pairs})
    return [
        {
            "item": items[price.item_id].code,
            "region": price.region,
            "price": micro(price.price),
            "per": price.per,
            "effective_from": price.effective_day.isoformat(),
        }
        for price in prices.order_by("item__position", "region", "effective_day", "id")
        if (price.item_id, price.region) in pairs
    ]


def _pack_types(used: list[DayQuantity]) -> list[PackType]:
    """The kinds of pack that cover something of what was used."""
    pairs = {(one.item_id, one.region) for one in used}
    return [
        kind
        for kind in PackType.objects.prefetch_related("covers")
        if any((item.pk, kind.region) in pairs for item in kind.covers.all())
    ]


def _pack_type(kind: PackType) -> dict[str, Any]:
    covers = sorted(kind.covers.all(), key=lambda item: item.position)
    return {"pack_type": kind.code, "region": kind.region, "covers": [item.code for item in covers]}


BILLED = """
SELECT line.item_id, line.region, sum(line.quantity)
FROM settlement_bill AS bill JOIN settlement_billline AS line ON line.bill_id = bill.id
WHERE bill.account_id = %s AND bill.day = %s GROUP BY 1, 2
"""


def _waiting(bill: Bill, used: list[DayQuantity], items: dict[int, Item]) -> list[dict[str, Any]]:
    """What was reported since the latest bill and is marked to be settled; without a mark nothing is owed an answer."""
    if bill.day not in pending_days(bill.account_id):
        return []
    with connection.cursor() as cursor:
        cursor.execute(BILLED, [bill.account_id, bill.day])
        billed = {(item, region): int(quantity) for item, region, quantity in cursor.fetchall()}
    return [
        {"item": items[one.item_id].code, "region": one.region, "quantity": rest}
        for one in sorted(used, key=lambda one: (items[one.item_id].position, one.region))
        if items[one.item_id].requires_billing_mode in (None, bill.billing_mode)
        and (rest := one.quantity - billed.get((one.item_id, one.region), 0)) > 0
    ]


# ── the usage ────────────────────────────────────────────────────────────────────────────────────────

EVENTS = """
SELECT source, event_id, item_id, region, resource, quantity, occurred_at, received_at
FROM settlement_usageevent WHERE day = %s AND account_id = %s
ORDER BY occurred_at, source, event_id
"""
COUNT = "SELECT count(*) FROM (SELECT FROM settlement_usageevent WHERE day = %s AND account_id = %s LIMIT %s) AS event"


def _usage(bill: Bill, used: list[DayQuantity], items: dict[int, Item], digests: dict[str, str]) -> Iterator[str]:
    """The member `usage`: the reports, one a line, or why there are none and what stands for them."""
    because = _no_events(bill)
    if because is None:
        digest = hashlib.sha256(f'{{"columns":{canonical(COLUMNS)},"events":['.encode())
        yield f'"usage": {{"columns": {json.dumps(COLUMNS)}, "events": ['
        comma = ""
        for rows in _events(bill):
            texts = [canonical(_event(row, items)) for row in rows]
            digest.update((comma + ",".join(texts)).encode())
            yield comma + "\n" + ",\n".join(texts)
            comma = ","
        digest.update(b'],"from":"events"}')
        yield '\n], "from": "events"}'
        digests["usage"] = digest.hexdigest()
        return
    kept = [
        {"item": items[one.item_id].code, "region": one.region, "quantity": one.quantity, "slots": one.slots}
        for one in sorted(used, key=lambda one: (items[one.item_id].position, one.region))
    ]
    member = {"because": because, "from": "kept", "quantities": kept}
    digests["usage"] = hashlib.sha256(canonical(member).encode()).hexdigest()
    yield f'"usage": {canonical(member)}'


def _no_events(bill: Bill) -> str | None:
    """Why the file cannot list the day's events; None when it can."""
    if ExpiredDay.objects.filter(day=bill.day).exists():
        return "expired"
    with connection.cursor() as cursor:
        cursor.execute(COUNT, [bill.day, bill.account_id, MOST_EVENTS + 1])
        [number] = cursor.fetchone()
    return "too_many" if number > MOST_EVENTS else None


def _events(bill: Bill) -> Iterator[list[tuple[Any, ...]]]:
    """The day's events, some at a time, by a cursor of the server's."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(EVENTS, [bill.day, bill.account_id])
        while rows := cursor.fetchmany(ROWS_AT_A_TIME):
            yield rows


def _event(row: tuple[Any, ...], items: dict[int, Item]) -> list[Any]:
    source, id, item, region, resource, quantity, occurred, received = row
    return [source, id, items[item].code, region, resource, quantity, moment(occurred), moment(received)]
