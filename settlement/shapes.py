"""What the API shows of bills, estimates, usage and entitlements."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from accounts.shapes import fen, micro, moment
from accounts.standing import suspends_at
from packs.models import Item
from settlement.entitlements import Entitlement
from settlement.estimate import Estimate, EstimatedBill
from settlement.models import Bill, BillLine
from settlement.rating import Statement
from settlement.used import Used


def bill_head(bill: Bill) -> dict[str, Any]:
    """A row of `GET bills/`."""
    return {
        "bill_id": str(bill.pk),
        "day": bill.day.isoformat(),
        "sequence": bill.sequence,
        "rated_total": micro(bill.rated_total),
        "carry_in": micro(bill.carry_in),
        "amount_due": fen(bill.amount_due),
        "carry_out": micro(bill.carry_out),
        "settled_at": moment(bill.settled_at),
    }


def line_shape(item: str, line: Any, drawdowns: Iterable[tuple[int, int]]) -> dict[str, Any]:
    """One line of a stored or estimated bill; `drawdowns` as (pack id, quantity)."""
    return {
        "item": item,
        "region": line.region,
        "quantity": line.quantity,
        "drawn": line.drawn,
        "charged": line.charged,
        "price": micro(line.price),
        "per": line.per,
        "amount": micro(line.amount),
        "drawdowns": [{"pack_id": str(pack_id), "quantity": quantity} for pack_id, quantity in drawdowns],
    }


def bill_shape(bill: Bill) -> dict[str, Any]:
    """`GET bills/ID/`: lines in the order rated."""
    lines = BillLine.objects.filter(bill=bill).select_related("item").prefetch_related("drawdowns").order_by("position")
    return bill_head(bill) | {
        "lines": [
            line_shape(line.item.code, line, [(drawn.pack_id, drawn.quantity) for drawn in line.drawdowns.all()])
            for line in lines
        ]
    }


def estimate_shape(estimate: Estimate) -> dict[str, Any]:
    """`GET estimate/`."""
    codes = dict(Item.objects.values_list("id", "code"))
    return {
        "as_of": moment(estimate.as_of),
        "pending_days": [_estimated(bill, codes) for bill in estimate.pending],
        "today": estimate.today and _estimated(estimate.today, codes),
        "balance_after": fen(estimate.balance_after),
    }


def _estimated(bill: EstimatedBill, codes: Mapping[int, str]) -> dict[str, Any]:
    """A bill that is not written: without ids."""
    return rated_shape(bill.day, bill.sequence, bill.statement, codes)


def rated_shape(day: date, sequence: int, statement: Statement, codes: Mapping[int, str]) -> dict[str, Any]:
    """A bill out of what was rated, as `bill_shape` shows the stored one, without its id and moment."""
    return {
        "day": day.isoformat(),
        "sequence": sequence,
        "rated_total": micro(statement.rated_total),
        "carry_in": micro(statement.carry_in),
        "amount_due": fen(statement.amount_due),
        "carry_out": micro(statement.carry_out),
        "lines": [
            line_shape(codes[line.item_id], line, [(drawn.pack_id, drawn.quantity) for drawn in line.draws])
            for line in statement.lines
        ],
    }


def usage_shape(row: Used) -> dict[str, Any]:
    """A row of `GET usage/`."""
    return {
        "day": row.day.isoformat(),
        "item": row.item.code,
        "region": row.region,
        "quantity": row.quantity,
        "unit": row.item.unit,
        "state": row.state,
    }


def entitlement_shape(entitlement: Entitlement) -> dict[str, Any]:
    """`GET entitlements/ACCOUNT_ID/`."""
    return {
        "account_id": str(entitlement.account_id),
        "allowed": entitlement.allowed,
        "reason": entitlement.reason,
        "status": entitlement.standing,
        "suspends_at": moment(suspends_at(entitlement.arrears_since)),
        "amount_to_clear": fen(max(-entitlement.balance, 0)),
        "balance": fen(entitlement.balance),
        "billing_mode": entitlement.mode,
        "items": [
            {"item": held.item, "pack_remaining": held.remaining, "pack_frozen": held.frozen}
            for held in entitlement.items
        ],
        "as_of_day": entitlement.as_of_day.isoformat(),
    }
