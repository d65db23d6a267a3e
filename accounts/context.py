"""What every page of the console knows."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from accounts.inbox import unread
from accounts.models import Account

THEMES = ("light", "dark")
THEME_COOKIE = "theme"
SECTIONS = {
    "": "overview",
    "packs": "packs",
    "buy": "packs",
    "orders": "packs",
    "checkout": "packs",
    "bills": "bills",
    "export": "bills",
    "statements": "bills",
    "usage": "usage",
    "inbox": "inbox",
    "messages": "inbox",
}
"""The part of the navigation that a page stands in, by the first word of its path; the others stand beside it."""


def console(request: HttpRequest) -> dict[str, Any]:
    """The clock, the account of the login (None without), its unread messages, the chosen theme; asked when used."""
    account = SimpleLazyObject(lambda: account_of_login(request))
    return {
        "section": SECTIONS.get(request.path.strip("/").partition("/")[0], ""),
        "current": "page" if request.path in ("/", *(f"/{name}/" for name in SECTIONS.values())) else "true",
        "now": timezone.now(),
        "account": account,
        "unread": SimpleLazyObject(lambda: _unread(account_of_login(request))),
        "theme": SimpleLazyObject(lambda: _theme(request)),
    }


def account_of_login(request: HttpRequest) -> Account | None:
    """The account that the signed-in login owns; None for nobody and for staff without one."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    account: Account | None = getattr(user, "account", None)
    return account


def _theme(request: HttpRequest) -> str:
    """What the account has chosen; before signing in, what this browser chose last."""
    account = account_of_login(request)
    chosen = account.theme if account else request.COOKIES.get(THEME_COOKIE)
    return chosen if chosen and chosen in THEMES else ""


def _unread(account: Account | None) -> int:
    return unread(account) if account else 0
