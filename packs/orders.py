"""Buying packs: checked, paid from the balance and handed over in one transaction (rules 4)."""

import hashlib
import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import transaction

from accounts.ledger import lock_account, post
from accounts.models import Account, Kind
from iss_billing.days import day_of
from iss_billing.money import format_decimal
from packs.events import order_placed
from packs.models import Order, OrderLine, Pack, Sku
from packs.tariff import sku_prices

MOST_LINES = 50
MOST_PER_LINE = 1000


class LineRequest(NamedTuple):
    """So many packs of a SKU; `expected_price` is the fen for one that the buyer was shown, if any."""

    sku: str
    quantity: int
    expected_price: int | None = None


class OrderRefused(Exception):
    """Nothing was bought and nothing taken; `code` is stable, `extra` the figures that explain it."""

    def __init__(self, code: str, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.code = code
        self.extra = extra


def fingerprint(lines: Sequence[LineRequest]) -> str:
    """A digest of what is asked for, by value: the same key with another one is refused."""
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def place_order(*, account_id: int, lines: Sequence[LineRequest], key: str, now: datetime) -> tuple[Order, bool]:
    """Buy packs and pay them from the balance; the order, and False where the key had bought it before.

    The caller has checked the form (1-50 lines of 1-1000). Raises AccountUnknown, or OrderRefused with the first of
    idempotency_key_reused, account_closed, unknown_sku, account_in_arrears, price_changed, insufficient_balance.
    """
    digest = fingerprint(lines)
    with transaction.atomic():
        account = lock_account(account_id)
        known = Order.objects.filter(account=account, key=key).first()
        if known is not None:
            if known.fingerprint != digest:
                raise OrderRefused("idempotency_key_reused", "the key was used for an order with another body")
            return known, False
        return _buy(account, lines, key, digest, now), True


def _buy(account: Account, lines: Sequence[LineRequest], key: str, digest: str, now: datetime) -> Order:
    if account.closed_at is not None:
        raise OrderRefused("account_closed", "the account is closed")
    # what is withdrawn from sale has no price, and one statement reads all: never a part of a change of prices
    in_force = sku_prices(now)
    skus = _on_sale(lines, in_force)
    if account.balance < 0:
        raise OrderRefused("account_in_arrears", "an account in arrears cannot buy packs")
    prices = {code: in_force[sku.pk] for code, sku in skus.items()}
    if any(line.expected_price not in (None, prices[line.sku]) for line in lines):
        raise OrderRefused("price_changed", "a price is not what was expected", prices=prices)
    total = sum(prices[line.sku] * line.quantity for line in lines)
    if total > account.balance:
        missing = total - account.balance
        raise OrderRefused(
            "insufficient_balance", f"the balance is {format_decimal(missing, 2)} CNY short", missing=missing
        )
    order = Order.objects.create(account=account, placed_at=now, total=total, key=key, fingerprint=digest)
    rows = OrderLine.objects.bulk_create(
        OrderLine(order=order, position=place, sku=skus[line.sku], quantity=line.quantity, price=prices[line.sku])
        for place, line in enumerate(lines, start=1)
    )
    # the ids rise in this order, and with them the drawing order: order, line, unit (rules 4.3)
    Pack.objects.bulk_create((_pack(account, row, now) for row in rows for _ in range(row.quantity)), batch_size=2000)
    post(account, kind=Kind.PURCHASE, amount=total, reference=f"order:{order.pk}", now=now)
    order_placed(order, now)
    return order


def _on_sale(lines: Sequence[LineRequest], prices: Collection[int]) -> dict[str, Sku]:
    asked = {line.sku for line in lines}
    found = Sku.objects.filter(code__in=asked, pk__in=prices).select_related("pack_type")
    skus = {sku.code: sku for sku in found}
    if missing := sorted(asked - skus.keys()):
        raise OrderRefused("unknown_sku", f"not on sale: {', '.join(missing)}", skus=missing)
    return skus


def _pack(account: Account, line: OrderLine, now: datetime) -> Pack:
    return Pack(
        account=account,
        order_line=line,
        sku=line.sku,
        pack_type_id=line.sku.pack_type_id,
        total=line.sku.quantity,
        remaining=line.sku.quantity,
        price=line.price,
        purchased_at=now,
        effective_day=day_of(now),
        valid_until=line.sku.valid_until,
    )
