"""Staff's pages of keys: every account's and the platform's, made and revoked, never shown again."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import audit_log
from accounts.acting import Doing, act_page, require
from accounts.keys import TooManyKeys, make_key, revoke_key
from accounts.ledger import AccountClosed, find_account
from accounts.models import Account, ApiKey
from iss_billing.staff import LookOnly


class ApiKeyForm(forms.Form):
    """A key to make, of an account or of the platform."""

    account = forms.CharField(
        label=gettext_lazy("account number"),
        required=False,
        max_length=18,
        help_text=gettext_lazy("Without one it is a key of the platform, which acts for every account."),
    )
    name = forms.CharField(label=gettext_lazy("name"), max_length=120)
    expires_at = forms.SplitDateTimeField(
        label=gettext_lazy("expires"), required=False, widget=AdminSplitDateTime, help_text=gettext_lazy("Or never.")
    )

    reason = forms.CharField(label=gettext_lazy("reason"), max_length=500, widget=forms.Textarea(attrs={"rows": 2}))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for part, label in zip(self.fields["expires_at"].widget.widgets, (_("date"), _("time")), strict=True):
            part.attrs["aria-label"] = label

    def clean_account(self) -> Account | None:
        """The account of the number."""
        text = self.cleaned_data["account"].strip()
        account = find_account(text) if text else None
        if text and account is None:
            raise forms.ValidationError(_("There is no such account."))
        return account

    def clean_expires_at(self) -> Any:
        """A key that has expired already would open nothing."""
        expires_at = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at <= timezone.now():
            raise forms.ValidationError(_("This moment has passed."))
        return expires_at


@admin.register(ApiKey)
class ApiKeyAdmin(LookOnly):
    """Keys, without their secret."""

    change_form_template = "admin/accounts/apikey/change_form.html"
    list_display = ("prefix", "account", "name", "created_at", "expires_at", "last_used_at", "revoked_at")
    list_filter = (("account", admin.EmptyFieldListFilter), ("revoked_at", admin.EmptyFieldListFilter))
    search_fields = ("prefix", "name", "account__name", "=account__id")
    list_select_related = ("account",)
    ordering = ("-id",)
    exclude = ("digest",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Staff who may."""
        return bool(request.user.has_perm("accounts.add_apikey"))

    def get_urls(self) -> list[URLPattern]:
        """With revoking."""
        revoke = self.admin_site.admin_view(self.revoke)
        return [path("<int:pk>/revoke/", revoke, name="accounts_apikey_revoke"), *super().get_urls()]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Make a key; its text stands in the answer to the form, and nowhere else."""
        user = require(request, "accounts.add_apikey")
        form = ApiKeyForm(request.POST or None)
        context = {**self.admin_site.each_context(request), "title": _("Make a key"), "opts": self.opts}
        if request.method == "POST" and form.is_valid():
            account: Account | None = form.cleaned_data.pop("account")
            reason = form.cleaned_data.pop("reason")
            now = timezone.now()
            try:
                with transaction.atomic():
                    key, plain = make_key(account_id=account.pk if account else None, now=now, **form.cleaned_data)
                    audit_log.record("key.make", by=user, now=now, subject=key, reason=reason)
            except (TooManyKeys, AccountClosed) as error:
                form.add_error("account", str(error))
            else:
                context |= {"made": key, "plain": plain}
        response = render(
            request, "admin/accounts/apikey/add.html", context | {"form": form, "media": self.media + form.media}
        )
        add_never_cache_headers(response)
        return response

    def revoke(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask why, and revoke."""
        require(request, "accounts.change_apikey")
        key = get_object_or_404(ApiKey.objects.select_related("account"), pk=pk)

        def do(doing: Doing) -> str:
            if key.revoked_at is None:
                revoke_key(key, doing.now)
                audit_log.record("key.revoke", by=doing.by, now=doing.now, subject=key, reason=doing.reason)
            return _("The key %(key)s is revoked.") % {"key": key.prefix}

        return act_page(
            request,
            permission="accounts.change_apikey",
            original=key,
            title=_("Revoke the key"),
            facts=[
                (_("account"), key.account or _("the platform")),
                (_("name"), key.name),
                (_("key begins"), key.prefix),
            ],
            do=do,
            back=reverse("admin:accounts_apikey_change", args=[pk]),
        )
