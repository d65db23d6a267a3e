"""The customer's page of API keys: made, shown once, and revoked."""

from datetime import timedelta
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.customers import customer_page
from accounts.keys import MOST_KEYS, TooManyKeys, make_key, revoke_key
from accounts.models import Account

LIFETIMES = (
    ("", gettext_lazy("until it is revoked")),
    ("30", gettext_lazy("30 days")),
    ("90", gettext_lazy("90 days")),
    ("365", gettext_lazy("one year")),
)


class KeyForm(forms.Form):
    """A key to make."""

    name = forms.CharField(
        label=gettext_lazy("Name"), max_length=120, help_text=gettext_lazy("What uses it, such as: cost report.")
    )
    days = forms.ChoiceField(label=gettext_lazy("Valid"), choices=LIFETIMES, required=False)

    @property
    def lifetime(self) -> timedelta | None:
        """How long the key is in force; None for ever."""
        days = self.cleaned_data["days"]
        return timedelta(days=int(days)) if days else None


@never_cache
@customer_page
@require_http_methods(["GET", "POST"])
def keys(request: HttpRequest, account: Account) -> HttpResponse:
    """The account's keys; a new one is shown in the answer to the form, and never again."""
    form, now, shown = KeyForm(request.POST or None), timezone.now(), {}
    if request.method == "POST" and form.is_valid():
        lifetime = form.lifetime
        try:
            key, plain = make_key(
                account_id=account.pk,
                name=form.cleaned_data["name"],
                now=now,
                expires_at=now + lifetime if lifetime else None,
            )
        except TooManyKeys:
            form.add_error(None, _("An account has at most %(most)s keys: revoke one first.") % {"most": MOST_KEYS})
        else:
            shown, form = {"made": key, "plain": plain}, KeyForm()
    return render(request, "accounts/keys.html", _lists(account) | shown | {"form": form})


def _lists(account: Account) -> dict[str, Any]:
    now = timezone.now()
    rows = list(account.api_keys.order_by("-id"))
    live = [key for key in rows if key.in_force_at(now)]
    return {"live": live, "ended": [key for key in rows if key not in live]}


@customer_page
@require_http_methods(["GET", "POST"])
def revoke(request: HttpRequest, account: Account, pk: int) -> HttpResponse:
    """Ask, and revoke."""
    key = get_object_or_404(account.api_keys, pk=pk)
    if request.method == "POST":
        revoke_key(key, timezone.now())
        return redirect("keys")
    return render(request, "accounts/revoke_key.html", {"key": key})
