"""Staff: reports of the books, each to look at and to take away as CSV or Excel."""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.account_admin import STANDINGS
from accounts.models import Account, Transfer
from iss_billing.days import day_of
from iss_billing.desk import context_of, page
from iss_billing.tables import Cell, Column, decimal
from packs.models import PackType
from settlement import reports
from settlement.book_days import months
from settlement.report_files import FORMATS, download

READ = "accounts.read_books"
ROWS = 100
ROWS_AT_A_TIME = 2_000
TREND = 24
"""Months that the revenue page lists."""

TABS: list[tuple[str, Promise]] = [
    ("reports", gettext_lazy("Revenue")),
    ("report-receivables", gettext_lazy("Receivables")),
    ("report-movements", gettext_lazy("Top-ups, refunds, adjustments")),
    ("report-trial-balance", gettext_lazy("Trial balance")),
]


def _month(request: HttpRequest, today: date) -> date:
    """`?month=2026-03`; this month where nothing sensible is asked."""
    text, this = request.GET.get("month", ""), today.replace(day=1)
    try:
        month = date.fromisoformat(f"{text}-01") if len(text) == 7 and text.isascii() else this
    except ValueError:
        return this
    # no book has a month far from this one, and the last year that there is has no month after it
    return month if 2000 <= month.year <= today.year + 1 else this


def _format(request: HttpRequest) -> str | None:
    asked = request.GET.get("format", "")
    return asked if asked in FORMATS else None


def _page(request: HttpRequest, tab: str, context: dict[str, Any]) -> HttpResponse:
    query = request.GET.copy()
    for name in ("format", "page"):
        query.pop(name, None)
    base = context_of(request, str(dict(TABS)[tab])) | {"tabs": TABS, "tab": tab, "query": query.urlencode()}
    return render(request, f"admin/settlement/{tab.replace('-', '_')}.html", base | context)


@page("reports/", name="reports", title=gettext_lazy("Reports"), permission=READ)
def revenue_page(request: HttpRequest) -> HttpResponseBase:
    """Revenue recognised and deferred, by month, and of one month by pack type."""
    today = day_of(timezone.now())
    sums, _held = months()
    rows = reports.revenue(sums)
    types = {kind.pk: kind for kind in PackType.objects.order_by("position")}
    suffix = _format(request)
    if suffix:
        title = _("Revenue")
        return download(suffix, f"iss-revenue-{today}", title, _revenue_columns(), _revenue_rows(rows, types))
    chosen = _month(request, today)
    month = next((row for row in rows if row.month == chosen), reports.MonthRevenue(chosen))
    most = max((abs(row.revenue) for row in rows), default=0)
    return _page(
        request,
        "reports",
        {
            "month": month,
            "by_type": [(types[pk], month.types[pk]) for pk in types if pk in month.types],
            "trend": [(row, _bars(row, most)) for row in rows[: -TREND - 1 : -1]],
        },
    )


def _bars(row: reports.MonthRevenue, most: int) -> tuple[str, str]:
    """The lengths of a month's bar: packs, then usage with its adjustments; of the busiest month's."""
    packs, usage = max(0, row.packs.recognised), max(0, row.usage + row.adjusted)
    first = packs * 1000 // most if most else 0
    return f"{first / 10:.1f}%", f"{usage * 1000 // most / 10 if most else 0:.1f}%"


def _revenue_columns() -> list[Column]:
    titles = [_("deferred at the beginning"), _("sold"), _("refunded"), _("recognised"), _("deferred at the end")]
    return [Column(_("month"), 10), Column(_("what"), 28), *(Column(title, 18) for title in titles)]


def _revenue_rows(rows: Iterable[reports.MonthRevenue], types: dict[int, PackType]) -> Iterator[list[Cell]]:
    for row in rows:
        month = f"{row.month:%Y-%m}"
        for pk, kind in types.items():
            if one := row.types.get(pk):
                amounts = (one.opening, one.sold, one.refunded, one.recognised, one.closing)
                yield [month, kind.name, *(decimal(amount, 2) for amount in amounts)]
        for name, amount in ((_("usage, pay-as-you-go"), row.usage), (_("adjustments"), row.adjusted)):
            yield [month, name, None, None, None, decimal(amount, 2), None]


@page("reports/receivables/", name="report-receivables", permission=READ)
def receivables_page(request: HttpRequest) -> HttpResponseBase:
    """What customers owe, by the age of their arrears."""
    now = timezone.now()
    suffix = _format(request)
    if suffix:
        columns = [
            Column(_("account number"), 14),
            Column(_("account"), 28),
            Column(_("login"), 28),
            Column(_("owed"), 16),
            Column(_("in arrears since"), 20),
            Column(_("days"), 8),
            Column(_("standing"), 16),
        ]
        rows = reports.debtors().select_related("user").iterator(ROWS_AT_A_TIME)
        cells = (_debtor(account, now) for account in rows)
        return download(suffix, f"iss-receivables-{day_of(now)}", _("Receivables"), columns, cells)
    ages = reports.receivables(now)
    debtors = Paginator(reports.debtors().select_related("user"), ROWS).get_page(request.GET.get("page"))
    return _page(
        request,
        "report-receivables",
        {
            "ages": ages,
            "accounts": sum(age.accounts for age in ages),
            "owed": sum(age.owed for age in ages),
            "debtors": debtors,
            "named": [(account, -account.balance, STANDINGS[account.standing_at(now)]) for account in debtors],
            "now": now,
        },
    )


def _debtor(account: Account, now: Any) -> list[Cell]:
    since = account.arrears_since
    return [
        account.pk,
        account.name,
        account.user.email if account.user else None,
        decimal(-account.balance, 2),
        since,
        (now - since).days if since else None,
        str(STANDINGS[account.standing_at(now)]),
    ]


@page("reports/movements/", name="report-movements", permission=READ)
def movements_page(request: HttpRequest) -> HttpResponseBase:
    """Top-ups, refunds, adjustments and withdrawals of a month, with their reasons."""
    today = day_of(timezone.now())
    month, kind = _month(request, today), request.GET.get("kind", "")
    kind = kind if kind in {one.value for one in reports.BY_HAND} else ""
    rows = reports.by_hand(month, kind).select_related("account", "made_by")
    suffix = _format(request)
    if suffix:
        titles = {
            _("time"): 20,
            _("account number"): 14,
            _("account"): 28,
            _("kind"): 12,
            _("amount"): 16,
            _("balance after"): 16,
            _("reference"): 28,
            _("reason"): 40,
            _("made by"): 28,
        }
        columns = [Column(title, width) for title, width in titles.items()]
        cells = (_movement(row) for row in rows.iterator(ROWS_AT_A_TIME))
        return download(suffix, f"iss-movements-{month:%Y-%m}", _("Top-ups, refunds, adjustments"), columns, cells)
    return _page(
        request,
        "report-movements",
        {
            "month": month,
            "kind": kind,
            "kinds": reports.BY_HAND,
            "sums": reports.kind_sums(month),
            "rows": Paginator(rows, ROWS).get_page(request.GET.get("page")),
        },
    )


def _movement(row: Transfer) -> list[Cell]:
    return [
        row.time,
        row.account_id,
        row.account.name,
        row.get_kind_display(),
        decimal(row.signed_amount, 2),
        decimal(row.balance_after or 0, 2),
        row.reference,
        row.reason,
        row.made_by.email if row.made_by else None,
    ]


@page("reports/trial-balance/", name="report-trial-balance", permission=READ)
def trial_balance_page(request: HttpRequest) -> HttpResponseBase:
    """Every book at the end of a month, and whether all of them add up."""
    today = day_of(timezone.now())
    sums, held = months()
    month = _month(request, today)
    balance = reports.trial_balance(sums, held, month)
    suffix = _format(request)
    if suffix:
        titles = [_("opening"), _("debits"), _("credits"), _("closing")]
        columns = [Column(_("month"), 10), Column(_("book"), 24), *(Column(title, 20) for title in titles)]
        cells = (
            [f"{month:%Y-%m}", str(line.book.label)]
            + [decimal(amount, 2) for amount in (line.opening, line.debits, line.credits, line.closing)]
            for line in balance.lines
        )
        return download(suffix, f"iss-trial-balance-{month:%Y-%m}", _("Trial balance"), columns, cells)
    totals = {
        "debits": sum(line.debits for line in balance.lines),
        "credits": sum(line.credits for line in balance.lines),
        "debit": sum(max(0, line.closing) for line in balance.lines),
        "credit": sum(max(0, -line.closing) for line in balance.lines),
    }
    first = min((one.month for one in sums), default=today)
    return _page(
        request,
        "report-trial-balance",
        {
            "balance": balance,
            "lines": [(line, max(0, line.closing), max(0, -line.closing)) for line in balance.lines],
            "totals": totals,
            "held": held,
            "months": list(reports.months_back(first, today)),
        },
    )
