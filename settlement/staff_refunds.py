"""Staff refunds of packs that are used, or past the customer's own window (rules 4.7)."""

from datetime import datetime

from django.db import transaction
from django.db.models import Sum

from accounts.models import User
from iss_billing.days import day_of
from packs.models import Pack
from packs.refunds import RefundRefused, close_pack, lock_pack
from packs.revenue import DrawnItem, refund_of_used
from packs.tariff import tariff_on
from settlement.models import Drawdown


def staff_refund_amount(pack: Pack) -> int:
    """Fen that a refund gives now: paid, less what was drawn at the tariff of the purchase day; 0 once refunded."""
    if pack.refunded_at:
        return 0
    tariff = tariff_on(day_of(pack.purchased_at))
    drawn = Drawdown.objects.filter(pack=pack).order_by().values("line__item_id", "line__region")
    items = [
        DrawnItem(quantity, tariff[item, region].price, tariff[item, region].per)
        for item, region, quantity in drawn.annotate(total=Sum("quantity")).values_list(
            "line__item_id", "line__region", "total"
        )
    ]
    return refund_of_used(pack.price, pack.recognised, items)


def refund_used_pack(*, pack_id: int, reason: str, now: datetime, made_by: User | None = None) -> Pack:
    """Refund what a pack is still worth, with a reason; the rest of its price is recognised.

    Raises RefundRefused (already_refunded), ValueError without a reason, Pack.DoesNotExist.
    """
    if not reason.strip():
        raise ValueError("a staff refund needs a reason")
    account_id = Pack.objects.values_list("account_id", flat=True).get(pk=pack_id)
    with transaction.atomic():
        account, pack = lock_pack(account_id, pack_id)
        if pack.refunded_at:
            raise RefundRefused("already_refunded", "the pack was refunded before", pack)
        amount = staff_refund_amount(pack)
        close_pack(account, pack, amount=amount, now=now, reason=reason.strip(), made_by=made_by)
        return pack
