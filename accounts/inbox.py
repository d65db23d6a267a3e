"""The console's messages: every notice with its text, what it is about, whether it was mailed and read."""

from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.models import Account, Notice
from accounts.notice_texts import text_of
from accounts.notice_topics import OTHERS, TOPICS

PAGE = 20
MOST_COUNTED = 99


class Message(NamedTuple):
    """A notice as the inbox shows it."""

    notice: Notice
    subject: str
    body: str
    link: tuple[str, str] | None
    """Where what it is about is shown, and what that is called."""

    @property
    def is_new(self) -> bool:
        """Whether it was not read yet."""
        return self.notice.read_at is None


class Page(NamedTuple):
    """A page of the inbox, newest first, and whether there are newer and older ones."""

    messages: list[Message]
    newer: bool
    older: bool


def unread(account: Account) -> int:
    """How many messages are new, up to 99 and one more: found by an index of the new ones alone."""
    new = Notice.objects.filter(account=account, read_at=None).order_by()
    return new.values("pk")[: MOST_COUNTED + 1].count()


def page(account: Account, *, topic: str = "", new: bool = False, before: int | None, after: int | None) -> Page:
    """The messages before an id, or after one, or the latest; of a topic, or those that are new."""
    rows = _of_topic(account.notices.all(), topic)
    if new:
        rows = rows.filter(read_at=None)
    if after is not None:
        found = list(rows.filter(pk__gt=after).order_by("pk")[: PAGE + 1])
        more, found = len(found) > PAGE, found[:PAGE][::-1]
        return Page([message_of(notice) for notice in found], newer=more, older=True)
    if before is not None:
        rows = rows.filter(pk__lt=before)
    found = list(rows.order_by("-pk")[: PAGE + 1])
    return Page([message_of(notice) for notice in found[:PAGE]], newer=before is not None, older=len(found) > PAGE)


def _of_topic(rows: QuerySet[Notice], topic: str) -> QuerySet[Notice]:
    if topic == OTHERS:
        return rows.exclude(kind__in=[kind for one in TOPICS for kind in one.kinds])
    kinds = next((one.kinds for one in TOPICS if one.code == topic), None)
    return rows.filter(kind__in=kinds) if kinds else rows


def mark_read(account: Account, *, upto: int, now: datetime, ids: list[int] | None = None) -> int:
    """Count messages as read: those of `ids`, or all up to an id; how many were new."""
    rows = Notice.objects.filter(account=account, read_at=None, pk__lte=upto)
    if ids is not None:
        rows = rows.filter(pk__in=ids)
    return rows.update(read_at=now)


def message_of(notice: Notice) -> Message:
    """A notice with its words and its link, in the active language."""
    return Message(notice, *text_of(notice), link_of(notice))


def link_of(notice: Notice) -> tuple[str, str] | None:
    """The page of what a notice is about, and what it is called."""
    data: dict[str, Any] = notice.data
    kind = Notice.Type(notice.kind) if notice.kind in Notice.Type.values else None
    if kind in (Notice.Type.ARREARS, Notice.Type.SUSPENDED, Notice.Type.RECLAIMED, Notice.Type.BALANCE_LOW):
        return reverse("top-up"), _("Top up")
    if kind in (Notice.Type.PACK_LOW, Notice.Type.PACK_EXHAUSTED):
        return reverse("pack", args=[data["pack_id"]]), _("The pack")
    if kind == Notice.Type.BILL_READY:
        return reverse("bill", args=[data["bill"]]), _("The bill")
    if kind == Notice.Type.CHECKOUT:
        if data.get("order"):
            return reverse("order", args=[data["order"]]), _("The order")
        return reverse("checkout", args=[notice.reference.partition(":")[0]]), _("The purchase")
    if kind == Notice.Type.PRICE_RISE:
        told = data.get("cancelled") or data["items"] or data["packs"]
        return (reverse("buy"), _("Packs")) if "sku" in told[0] else (reverse("tariff"), _("Price list"))
    if kind == Notice.Type.ENDPOINT_DISABLED:
        return reverse("webhooks"), _("Webhooks")
    if kind in (Notice.Type.RESUMED, Notice.Type.PAID_OUT):
        return reverse("ledger"), _("Ledger")
    if kind in (Notice.Type.EMAIL_ASKED, Notice.Type.EMAIL_CHANGED, Notice.Type.PASSWORD_CHANGED):
        return reverse("account"), _("Account")
    return None
