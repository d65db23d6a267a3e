"""The page on which staff do something: it shows what it is about, asks for a reason, does it, and keeps it.

`act_page` is the edge of every such action: the writer and its audit entry run in one transaction, so that neither is
without the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext_lazy

from accounts.models import User


class Refused(Exception):
    """The act cannot be done, and why, in words for the page; `field` of the form is at fault, or none."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class ReasonForm(forms.Form):
    """Why staff do something."""

    reason = forms.CharField(label=gettext_lazy("reason"), max_length=500, widget=forms.Textarea(attrs={"rows": 2}))


class Done(NamedTuple):
    """What was done, in words for the page, and where it leads to."""

    said: str
    to: str


@dataclass(frozen=True)
class Doing:
    """Who does it, when, with what was entered."""

    by: User
    now: datetime
    data: dict[str, Any]

    @property
    def reason(self) -> str:
        """Why."""
        return str(self.data.get("reason", "")).strip()


def require(request: HttpRequest, permission: str) -> User:
    """The member of staff who asks, who has this permission. Raises PermissionDenied."""
    user = request.user
    if not isinstance(user, User) or not user.has_perm(permission):
        raise PermissionDenied
    return user


def act_page(
    request: HttpRequest,
    *,
    permission: str,
    original: Model,
    title: str,
    facts: Sequence[tuple[str, Any]],
    do: Callable[[Doing], str | Done],
    back: str,
    form: type[forms.Form] = ReasonForm,
    warning: str = "",
) -> HttpResponse:
    """Ask, and on POST do it: `do` calls the writer and `audit_log.record`, and says what was done.

    `do` runs in one transaction and may raise Refused; then nothing is done. `back` is where it leads to,
    unless `do` says another way with Done. A caller without `permission` is refused before anything is shown.
    """
    user = require(request, permission)
    filled = form(request.POST or None)
    if request.method == "POST" and filled.is_valid():
        try:
            with transaction.atomic():
                done = do(Doing(user, timezone.now(), filled.cleaned_data))
        except Refused as refusal:
            filled.add_error(refusal.field if refusal.field in filled.fields else None, str(refusal))
        else:
            said, to = done if isinstance(done, Done) else (done, back)
            messages.success(request, said)
            return redirect(to)
    context = {
        **admin.site.each_context(request),
        "title": title,
        "opts": original._meta,
        "original": original,
        "form": filled,
        "facts": facts,
        "warning": warning,
        "back": back,
    }
    return render(request, "admin/act.html", context)
