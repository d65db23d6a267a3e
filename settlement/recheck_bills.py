"""The bills of a day for a recheck file: each with the bill, the packs and the balance that it began with."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Prefetch

from accounts.models import Kind
from accounts.shapes import fen, moment
from settlement.models import Bill, BillLine, Drawdown
from settlement.shapes import bill_head, line_shape

Held = dict[int, list[dict[str, Any]]]
"""By bill: the packs that it could draw from, each with what it had left before and after."""

PACKS = """
SELECT bill.id, pack.id, pack.pack_type_id, pack.total, pack.purchased_at, pack.effective_day, pack.valid_until,
       coalesce(drawn.before, 0), coalesce(drawn.by_it, 0), pack.refunded_at
FROM unnest(%(bills)s::bigint[]) AS bill (id)
CROSS JOIN packs_pack AS pack
LEFT JOIN LATERAL (
    SELECT sum(one.quantity) FILTER (WHERE line.bill_id < bill.id) AS before,
           sum(one.quantity) FILTER (WHERE line.bill_id = bill.id) AS by_it
    FROM settlement_drawdown AS one JOIN settlement_billline AS line ON line.id = one.line_id
    WHERE one.pack_id = pack.id
) AS drawn ON true
WHERE pack.account_id = %(account)s AND pack.pack_type_id = ANY(%(types)s::smallint[])
  AND %(day)s BETWEEN pack.effective_day AND pack.valid_until
  AND coalesce(drawn.before, 0) < pack.total
ORDER BY pack.id, bill.id
"""
# an account's transfers and bills are made under its lock: their ids rise in the order in which they were made
POSTED = """
SELECT reference, min(id) FROM accounts_transfer
WHERE account_id = %(account)s AND kind = ANY(%(kinds)s::text[]) AND reference = ANY(%(references)s::text[])
GROUP BY reference
"""


def packs_of_day(bill: Bill, bills: Sequence[Bill], kinds: dict[int, str]) -> tuple[list[dict[str, Any]], Held]:
    """The packs in force on a day that had units left for a bill of it, in drawing order; and what was left for each.

    `kinds` are the codes of the pack types that matter, by id.
    """
    ask: dict[str, Any] = {
        "account": bill.account_id,
        "bills": [one.pk for one in bills],
        "types": list(kinds),
        "day": bill.day,
    }
    with connection.cursor() as cursor:
        cursor.execute(PACKS, ask)
        rows = cursor.fetchall()
    gone = _refunded_before(bill.account_id, bills, {row[1]: row[9] for row in rows if row[9]})
    packs: dict[int, dict[str, Any]] = {}
    held: Held = defaultdict(list)
    for bill_id, pack_id, kind, total, bought, since, until, before, by_it, _ in rows:
        if (pack_id, bill_id) in gone:
            continue
        packs[pack_id] = {
            "pack_id": str(pack_id),
            "pack_type": kinds[kind],
            "total": total,
            "purchased_at": moment(bought),
            "effective_day": since.isoformat(),
            "valid_until": until.isoformat(),
        }
        left = total - int(before)
        held[bill_id].append(
            {
                "pack_id": str(pack_id),
                "drawn_before": int(before),
                "remaining_before": left,
                "remaining_after": left - int(by_it),
            }
        )
    return list(packs.values()), held


def _refunded_before(account_id: int, bills: Sequence[Bill], refunded: dict[int, datetime]) -> set[tuple[int, int]]:
    """(pack, bill) where the refund came first, so that the bill found nothing in the pack.

    The ledger tells, for a run's clock stands still while it works. A bill that posted nothing drew nothing and cost
    less than half a fen: there the two clocks must do.
    """
    if not refunded:
        return set()
    of_pack, of_bill = {pack: f"pack:{pack}" for pack in refunded}, {one.pk: f"bill:{one.pk}" for one in bills}
    kinds = [Kind.REFUND.value, Kind.RECOGNITION.value, Kind.USAGE.value]
    with connection.cursor() as cursor:
        ask: dict[str, Any] = {
            "account": account_id,
            "kinds": kinds,
            "references": [*of_pack.values(), *of_bill.values()],
        }
        cursor.execute(POSTED, ask)
        posted = dict(cursor.fetchall())
    before = set()
    for pack, at in refunded.items():
        for bill in bills:
            ours, theirs = posted.get(of_bill[bill.pk]), posted.get(of_pack[pack])
            if theirs < ours if ours and theirs else at <= bill.settled_at:
                before.add((pack, bill.pk))
    return before


PREVIOUS = """
SELECT DISTINCT ON (bill.id) bill.id, before.id FROM unnest(%(bills)s::bigint[]) AS bill (id)
JOIN settlement_bill AS before ON before.account_id = %(account)s AND before.id < bill.id
ORDER BY bill.id, before.id DESC
"""
LEDGER = """
SELECT own.reference, own.id, own.amount, own.balance_after, coalesce(before.balance_after, 0)
FROM accounts_transfer AS own
LEFT JOIN LATERAL (
    SELECT balance_after FROM accounts_transfer AS earlier
    WHERE earlier.account_id = %(account)s AND earlier.id < own.id AND earlier.balance_after IS NOT NULL
    ORDER BY earlier.id DESC LIMIT 1
) AS before ON true
WHERE own.kind = %(kind)s AND own.reference = ANY(%(references)s::text[]) AND own.account_id = %(account)s
"""


def bills_of_day(bill: Bill, bills: Sequence[Bill], held: Held) -> list[dict[str, Any]]:
    """Every bill of the day in full, oldest first, with the carry and the balance that it came upon."""
    ids = [one.pk for one in bills]
    with connection.cursor() as cursor:
        cursor.execute(PREVIOUS, {"bills": ids, "account": bill.account_id})
        before = dict(cursor.fetchall())
        references = [f"bill:{id}" for id in ids]
        cursor.execute(LEDGER, {"account": bill.account_id, "kind": Kind.USAGE, "references": references})
        ledger = {reference: row for reference, *row in cursor.fetchall()}
    previous = Bill.objects.in_bulk(before.values())
    lines: dict[int, list[BillLine]] = defaultdict(list)
    drawdowns = Prefetch("drawdowns", Drawdown.objects.order_by("id"))
    for line in BillLine.objects.filter(bill__in=ids).select_related("item").prefetch_related(drawdowns):
        lines[line.bill_id].append(line)
    return [
        bill_head(one)
        | {
            "billing_mode": one.billing_mode,
            "lines": [_line(line) for line in lines[one.pk]],
            "previous": bill_head(previous[before[one.pk]]) if one.pk in before else None,
            "packs": held.get(one.pk, []),
        }
        | _balance(one, ledger.get(f"bill:{one.pk}"))
        for one in bills
    ]


def _line(line: BillLine) -> dict[str, Any]:
    drawdowns = [
        {"pack_id": str(drawn.pack_id), "quantity": drawn.quantity, "remaining_after": drawn.remaining_after}
        for drawn in line.drawdowns.all()
    ]
    return line_shape(line.item.code, line, ()) | {"drawdowns": drawdowns}


def _balance(bill: Bill, posted: list[Any] | None) -> dict[str, Any]:
    """What the balance was before and after, by the ledger where the bill moved it."""
    if posted is None:
        return {"balance_before": fen(bill.balance_after), "balance_after": fen(bill.balance_after), "transfer": None}
    id, amount, after, before = posted
    transfer = {"transfer_id": str(id), "amount": fen(-int(amount)), "balance_after": fen(int(after))}
    return {"balance_before": fen(int(before)), "balance_after": fen(bill.balance_after), "transfer": transfer}
