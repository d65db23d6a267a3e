"""Pages for customers: what they share."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.paginator import Page, Paginator
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone

from accounts.auth import may_use
from accounts.context import account_of_login
from accounts.ledger import AccountClosed
from accounts.models import Account

P = ParamSpec("P")
CustomerView = Callable[Concatenate[HttpRequest, Account, P], HttpResponseBase]


def customer_page(view: CustomerView[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """A view for signed-in customers, given their account; a login without one is told so.

    The login of a closed account is shown pages, for a while; forms it can send only to views `also_when_closed`.
    """

    @wraps(view)
    def wrapped(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        account = account_of_login(request)
        if account is None:
            return render(request, "accounts/no_account.html", status=403)
        method = "GET" if getattr(view, "also_when_closed", False) else request.method or ""
        if not may_use(account, method, timezone.now()):
            return _closed(request)
        try:
            return view(request, account, *args, **kwargs)
        except AccountClosed:  # at this very moment, in another window
            account.refresh_from_db()
            return _closed(request)

    return cast("Callable[Concatenate[HttpRequest, P], HttpResponseBase]", login_required(wrapped))


def _closed(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/closed.html", {"contact": settings.DEFAULT_FROM_EMAIL}, status=403)


V = TypeVar("V", bound=Callable[..., HttpResponse])


def also_when_closed(view: V) -> V:
    """Below `customer_page`: a form that a closed account may still send, while it may read."""
    view.also_when_closed = True  # type: ignore[attr-defined]
    return view


def page_of(request: HttpRequest, rows: Any, size: int = 50, *, count: int | None = None) -> Page[Any]:
    """The page of `rows` that `?page=` names; the nearest one where it names none. A known `count` is not asked for."""
    paginator: Paginator[Any] = Paginator(rows, size)
    if count is not None:
        paginator.__dict__["count"] = count
    return paginator.get_page(request.GET.get("page"))
