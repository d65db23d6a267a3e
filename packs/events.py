"""The webhook events of orders and packs, for `accounts/outbox.py`."""

from datetime import datetime
from typing import Any

from accounts.outbox import Event, write_events
from accounts.webhook_models import EventType
from packs.models import Order, Pack
from packs.shapes import order_shapes, pack_shapes


def order_placed(order: Order, now: datetime) -> None:
    """Tell of a purchase."""

    def data() -> dict[str, Any]:
        return order_shapes([order], order.account_id, now)[0]

    write_events([Event(order.account_id, EventType.ORDER_PLACED, f"order:{order.pk}", data)], now)


def pack_refunded(pack_id: int, account_id: int, now: datetime) -> None:
    """Tell of a refund, by the customer or by staff."""

    def data() -> dict[str, Any]:
        packs = Pack.objects.filter(pk=pack_id).select_related("sku", "pack_type", "order_line")
        return pack_shapes(packs, account_id, now)[0]

    write_events([Event(account_id, EventType.PACK_REFUNDED, f"pack:{pack_id}", data)], now)
