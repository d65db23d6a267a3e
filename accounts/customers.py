"""Pages for customers: what they share."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

from django.contrib.auth.decorators import login_required
from django.core.paginator import Page, Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.context import account_of_login
from accounts.models import Account

P = ParamSpec("P")
CustomerView = Callable[Concatenate[HttpRequest, Account, P], HttpResponse]


def customer_page(view: CustomerView[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """A view for signed-in customers, given their account; a login without one is told so."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        account = account_of_login(request)
        if account is None:
            return render(request, "accounts/no_account.html", status=403)
        return view(request, account, *args, **kwargs)

    return cast("Callable[Concatenate[HttpRequest, P], HttpResponse]", login_required(wrapped))


def page_of(request: HttpRequest, rows: Any, size: int = 50) -> Page[Any]:
    """The page of `rows` that `?page=` names; the nearest one where it names none."""
    return Paginator(rows, size).get_page(request.GET.get("page"))
