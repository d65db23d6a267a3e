"""Ending packs: refunded by the customer while unused, by staff with a reason later (rules 4.7); or given up."""

from datetime import datetime

from django.db import transaction

from accounts.ledger import lock_account, post
from accounts.models import Account, Kind, User
from packs.events import pack_refunded
from packs.models import REFUND_WINDOW, Pack


class PackUnknown(Exception):
    """The account holds no such pack."""


class RefundRefused(Exception):
    """Nothing was refunded; `code` is already_refunded, pack_used or refund_window_over."""

    def __init__(self, code: str, message: str, pack: Pack) -> None:
        super().__init__(message)
        self.code = code
        self.pack = pack


def lock_pack(account_id: int, pack_id: int) -> tuple[Account, Pack]:
    """The pack, safe from other writers by its account's lock. Raises AccountUnknown, PackUnknown."""
    account = lock_account(account_id)
    pack = Pack.objects.select_related("pack_type", "sku").filter(pk=pack_id, account=account).first()
    if pack is None:
        raise PackUnknown(f"account {account_id} holds no pack {pack_id}")
    return account, pack


def refund_pack(*, account_id: int, pack_id: int, now: datetime) -> Pack:
    """Give the full price of an unused pack back to the balance, within 5 × 24 h of purchase, also in arrears.

    Raises PackUnknown, or RefundRefused with the first code that applies.
    """
    with transaction.atomic():
        account, pack = lock_pack(account_id, pack_id)
        if pack.refunded_at:
            raise RefundRefused("already_refunded", "the pack was refunded before", pack)
        if pack.drawn:
            raise RefundRefused("pack_used", "the pack has been drawn from; staff can refund what it is worth", pack)
        if now > pack.purchased_at + REFUND_WINDOW:
            raise RefundRefused("refund_window_over", "the 5 × 24 hours after the purchase are over", pack)
        close_pack(account, pack, amount=pack.price, now=now)
        return pack


def close_pack(
    account: Account, pack: Pack, *, amount: int, now: datetime, reason: str = "", made_by: User | None = None
) -> None:
    """End a locked pack: refund `amount` fen and recognise what is still deferred beside it (rules 4.7, 7.2)."""
    _end(account, pack, amount=amount, now=now, reason=reason, made_by=made_by)
    pack_refunded(pack.pk, account.pk, now)


def give_up(account: Account, pack: Pack, now: datetime) -> None:
    """End a locked pack that nothing is paid back for: what is deferred of its price is revenue now (rules 8.3)."""
    _end(account, pack, amount=0, now=now)


def _end(
    account: Account, pack: Pack, *, amount: int, now: datetime, reason: str = "", made_by: User | None = None
) -> None:
    rest = pack.price - pack.recognised - amount
    if rest < 0:
        raise ValueError(f"pack {pack.pk} has less deferred than {amount} fen")
    pack.refunded_quantity, pack.remaining = pack.remaining, 0
    pack.refunded, pack.recognised, pack.refunded_at = amount, pack.recognised + rest, now
    pack.save(update_fields=["refunded_quantity", "remaining", "refunded", "recognised", "refunded_at"])
    reference = f"pack:{pack.pk}"
    for kind, fen in ((Kind.REFUND, amount), (Kind.RECOGNITION, rest)):
        if fen:
            post(account, kind=kind, amount=fen, reference=reference, now=now, reason=reason, made_by=made_by)
