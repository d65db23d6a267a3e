"""Staff's page of an account: what a support call asks, on one page, whatever the account's size."""

from datetime import date, datetime
from typing import Any, NamedTuple

from django.contrib import admin
from django.db.models import BooleanField, Count, Exists, ExpressionWrapper, OuterRef, Q, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy

from accounts import audit_log, standing
from accounts.account_admin import ACTS, STANDINGS, AccountAdmin, Act, acts_for
from accounts.models import MODES, Account, AuditEntry, Notice, Payment, Transfer
from accounts.modes import mode_on, pending_mode
from accounts.notice_texts import text_of
from accounts.webhook_models import Delivery, Endpoint
from iss_billing.days import day_of
from packs.models import Order, Pack, PackType
from settlement.metering import pending_days
from settlement.models import Bill, SettlementFailure

ACTS += [
    Act(
        "admin:settlement_closedaccount_pay-out",
        gettext_lazy("Pay the balance out"),
        "accounts.add_transfer",
        lambda account: account.closed_at is not None and account.balance > 0,
    ),
    Act(
        "admin:settlement_closedaccount_reopen",
        gettext_lazy("Open the account again"),
        "settlement.change_closedaccount",
        lambda account: account.closed_at is not None,
    ),
]

FIRST = 8
"""Rows of each kind; the rest is a click away."""
LANGUAGES = {"zh-hans": "中文", "en": "English"}


@admin.register(Account)
class AccountPage(AccountAdmin):
    """Accounts, each with everything about it."""

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Account | None = None,
    ) -> HttpResponse:
        """The page of an account."""
        if obj is not None:  # nobody may add one
            context |= page_of(obj, timezone.now()) | {"acts": acts_for(request, obj)}
        return super().render_change_form(request, context, add, change, form_url, obj)


def page_of(account: Account, now: datetime) -> dict[str, Any]:
    """What the page shows: a fixed number of queries, each of a few rows or one sum."""
    today = day_of(now)
    mode, switch = mode_on(account.pk, today), pending_mode(account.pk, today)
    days = pending_days(account.pk)
    return {
        "title": account.name,
        "subtitle": None,
        "account": account,
        "now": now,
        "standing": account.standing_at(now),
        "suspends_at": standing.suspends_at(account.arrears_since),
        "reclaims_at": standing.reclaims_at(account.arrears_since),
        "standing_name": STANDINGS[account.standing_at(now)],
        "mode": dict(MODES)[mode],
        "pending_mode": switch,
        "pending_name": dict(MODES)[switch.mode] if switch else "",
        "language": LANGUAGES.get(account.language, account.language),
        "held": held(account.pk, today, mode),
        "packs": [
            (pack, pack.status_on(today, mode))
            for pack in Pack.objects.filter(account=account)
            .select_related("sku", "pack_type")
            .order_by(ExpressionWrapper(Q(remaining=0), BooleanField()), "-pk")[:FIRST]
        ],
        "waiting": days,
        "failures": SettlementFailure.objects.filter(account=account, day__in=days).order_by("-pk")[:FIRST],
        "bills": Bill.objects.filter(account=account).order_by("-day", "-sequence")[:FIRST],
        "orders": Order.objects.filter(account=account).annotate(number=Sum("lines__quantity")).order_by("-pk")[:FIRST],
        "transfers": Transfer.objects.filter(account=account, balance_after__isnull=False)
        .select_related("made_by")
        .order_by("-pk")[:FIRST],
        "payments": Payment.objects.filter(account=account).order_by("-pk")[:FIRST],
        "messages_sent": [(notice, text_of(notice)[0]) for notice in _notices(account)],
        "keys": account.api_keys.order_by("-pk")[:FIRST],
        "endpoints": _endpoints(account),
        "audit": [
            (entry, audit_log.word(entry.action))
            for entry in AuditEntry.objects.filter(account=account).order_by("-pk")[:FIRST]
        ],
    }


class Held(NamedTuple):
    """The packs of one type that still have units: how many, what is left of what they had, and whether frozen."""

    pack_type: PackType
    packs: int
    remaining: int
    total: int
    frozen: bool


def held(account_id: int, today: date, mode: str) -> list[Held]:
    """What can be drawn from, by type, in catalogue order: two queries, with however many packs."""
    rows = (
        Pack.objects.filter(account=account_id, refunded_at=None, remaining__gt=0, valid_until__gte=today)
        .order_by()
        .values_list("pack_type")
        .annotate(Count("pk"), Sum("remaining"), Sum("total"))
    )
    types = {kind.pk: kind for kind in PackType.objects.all()}
    found = [
        Held(types[pk], packs, int(remaining), int(total), types[pk].requires_billing_mode not in (None, mode))
        for pk, packs, remaining, total in rows
    ]
    return sorted(found, key=lambda one: one.pack_type.position)


def _notices(account: Account) -> QuerySet[Notice]:
    return Notice.objects.filter(account=account).order_by("-pk")[:FIRST]


def _endpoints(account: Account) -> QuerySet[Endpoint]:
    """The endpoints that are not deleted, with whether a message of theirs waits."""
    waits = Delivery.objects.filter(endpoint=OuterRef("pk"), next_attempt_at__isnull=False)
    return (
        Endpoint.objects.filter(account=account, deleted_at=None).annotate(waits=Exists(waits)).order_by("-pk")[:FIRST]
    )
