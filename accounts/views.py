"""The page of the ledger."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from accounts.customers import customer_page, page_of
from accounts.models import Account, Kind
from accounts.transfers import moving_balance


@customer_page
@require_GET
def ledger(request: HttpRequest, account: Account) -> HttpResponse:
    """Every transfer that moved the balance, newest first."""
    rows = moving_balance(account).order_by("-id")
    kinds = [(kind.value, kind.label) for kind in Kind if kind != Kind.RECOGNITION]
    chosen = request.GET.get("kind", "")
    if chosen in dict(kinds):
        rows = rows.filter(kind=chosen)
    return render(request, "accounts/ledger.html", {"page": page_of(request, rows), "kinds": kinds, "kind": chosen})
