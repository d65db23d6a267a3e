"""The pages on which staff give their second factor, enrol it at their first sign-in, and make new codes on paper.

They stand in front of the admin: who comes here has given the password and nothing else.
"""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods
from django_otp import login as mark_verified
from django_otp.plugins.otp_static.models import StaticDevice

from accounts import audit_log, second_factor
from accounts.models import User
from iss_billing.desk import context_of, front_page

KEY = "second_factor_key"
"""Of the session: the secret that is offered, until a code of it was entered."""

audit_log.WORDS |= {
    "login.second_factor": gettext_lazy("set a second factor up"),
    "login.new_codes": gettext_lazy("made new codes on paper"),
}


class CodeForm(forms.Form):
    """A code of the telephone, or one on paper."""

    code = forms.CharField(
        label=pgettext_lazy("second factor", "code"),
        max_length=20,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false"}),
    )


def _member(request: HttpRequest) -> User | None:
    """Who has given the password of a member of staff."""
    user = request.user
    return user if isinstance(user, User) and user.is_active and user.is_staff else None


def _next(request: HttpRequest) -> str:
    """Where the admin was entered."""
    target = request.POST.get("next") or request.GET.get("next") or ""
    safe = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return target if safe else reverse("admin:index")


@front_page("second-factor/", name="second-factor")
@sensitive_post_parameters("code")
@never_cache
@require_http_methods(["GET", "POST"])
def second_factor_page(request: HttpRequest) -> HttpResponse:
    """Ask for the code; of who has no second factor yet, set it up."""
    user = _member(request)
    if user is None:
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))
    if not settings.REQUIRE_2FA or user.is_verified():  # type: ignore[attr-defined]  # of django-otp's middleware
        return HttpResponseRedirect(_next(request))
    return _ask(request, user) if second_factor.device_of(user) else _enrol(request, user)


def _ask(request: HttpRequest, user: User) -> HttpResponse:
    form = CodeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            device = second_factor.verify(user, form.cleaned_data["code"])
        except second_factor.WrongCode as wrong:
            form.add_error("code", complaint(wrong))
        else:
            request.session.cycle_key()
            mark_verified(request, device)
            left = second_factor.codes_left(user)
            if isinstance(device, StaticDevice):
                messages.info(
                    request,
                    _(
                        "A code on paper let you in, and is used up. Where the telephone is lost, ask an administrator "
                        "to reset your second factor: then a new telephone is set up."
                    ),
                )
            if left <= 3:
                messages.warning(request, _("Codes on paper left: %(number)s. Make new ones.") % {"number": left})
            return HttpResponseRedirect(_next(request))
    return _show(request, _("Second factor"), {"form": form})


def complaint(wrong: second_factor.WrongCode) -> ValidationError:
    """What is wrong with a code."""
    if wrong.wait:
        return ValidationError(_("Too many wrong codes. Try again in %(seconds)s seconds.") % {"seconds": wrong.wait})
    return ValidationError(_("This code is not right, or was used before."))


def _enrol(request: HttpRequest, user: User) -> HttpResponse:
    form = CodeForm(request.POST or None)
    key = request.session.get(KEY)
    if key is None:
        key = request.session[KEY] = second_factor.new_key()
    elif request.method == "POST" and form.is_valid():
        try:
            with transaction.atomic():
                device, codes = second_factor.enrol(user, key, form.cleaned_data["code"].replace(" ", ""))
                audit_log.record("login.second_factor", by=user, now=timezone.now(), subject=user)
        except second_factor.Enrolled:
            return HttpResponseRedirect(request.get_full_path())
        except second_factor.WrongCode as wrong:
            form.add_error("code", complaint(wrong))
        else:
            del request.session[KEY]
            request.session.cycle_key()
            mark_verified(request, device)
            return _show(request, _("Codes on paper"), {"codes": codes, "next": _next(request)})
    context = {"form": form, "offer": second_factor.offer(user, key)}
    return _show(request, _("Set the second factor up"), context)


@front_page("second-factor/codes/", name="second-factor-codes")
@sensitive_post_parameters("code")
@never_cache
@require_http_methods(["GET", "POST"])
def new_codes_page(request: HttpRequest) -> HttpResponse:
    """Ten new codes on paper, against a code of the telephone."""
    user = _member(request)
    if user is None:
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))
    if not user.is_verified():  # type: ignore[attr-defined]  # as above
        return redirect("admin:second-factor")
    form = CodeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            second_factor.verify(user, form.cleaned_data["code"])
        except second_factor.WrongCode as wrong:
            form.add_error("code", complaint(wrong))
        else:
            with transaction.atomic():
                codes = second_factor.new_codes(user)
                audit_log.record("login.new_codes", by=user, now=timezone.now(), subject=user)
            return _show(request, _("Codes on paper"), {"codes": codes, "next": reverse("admin:index")})
    left = second_factor.codes_left(user)
    return _show(request, _("New codes on paper"), {"form": form, "left": left})


def _show(request: HttpRequest, title: str, context: dict[str, Any]) -> HttpResponse:
    base = context_of(request, title) | {"next": _next(request), "is_nav_sidebar_enabled": False}
    return render(request, "admin/second_factor.html", base | context)
