"""Pages of the account itself: its name, its login, the address for bills, what it is told."""

from typing import Any, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render, resolve_url
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import letters, logins
from accounts.context import THEME_COOKIE, THEMES, account_of_login
from accounts.cookies import keep
from accounts.customers import also_when_closed, customer_page
from accounts.forms import AddressForm, ChangeEmailForm, ChangePasswordForm, NameForm, WishesForm
from accounts.keys import keys_in_force
from accounts.letter_models import Letter
from accounts.models import Account, User
from accounts.notice_topics import CHOICES
from accounts.opening import EmailTaken
from accounts.preferences import Wishes, keep_wishes, rename
from accounts.sign_up_pages import mail_hint
from accounts.webhooks import endpoints_of


def _user(request: HttpRequest) -> User:
    return cast("User", request.user)


@customer_page
@require_GET
def account_page(request: HttpRequest, account: Account) -> HttpResponse:
    """Who the account is, how one signs in, where its mails go, what acts for it, and how it is closed."""
    now, user = timezone.now(), _user(request)
    context = {
        "languages": settings.LANGUAGES,
        "pending_email": logins.pending_email(user, now),
        "pending_contact": letters.open_letters([Letter.Kind.CONTACT], now).filter(user=user).first(),
        "keys": keys_in_force(now).filter(account=account).count(),
        "endpoints": endpoints_of(account).count(),
        "muted": [choice.name for choice in CHOICES if set(choice.kinds) <= set(account.muted)],
    }
    return render(request, "accounts/account.html", context | mail_hint())


@require_POST
def preferences(request: HttpRequest) -> HttpResponse:
    """Keep the language and the theme; mails to the account speak the language too."""
    target = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure()):
        target = resolve_url("overview")
    response = HttpResponseRedirect(target)
    language, theme = request.POST.get("language"), request.POST.get("theme")
    if language in dict(settings.LANGUAGES):
        keep(response, settings.LANGUAGE_COOKIE_NAME, language)
        if account := account_of_login(request):
            Account.objects.filter(pk=account.pk).update(language=language)
    if theme is not None and (account := account_of_login(request)):
        Account.objects.filter(pk=account.pk).update(theme=theme if theme in THEMES else "")
    if theme in THEMES:
        keep(response, THEME_COOKIE, theme)
    elif theme is not None:
        response.delete_cookie(THEME_COOKIE)
    return response


@customer_page
@require_http_methods(["GET", "POST"])
def name(request: HttpRequest, account: Account) -> HttpResponse:
    """Call the account otherwise."""
    form = NameForm(request.POST or None, initial={"name": account.name})
    if request.method == "POST" and form.is_valid():
        rename(account.pk, form.cleaned_data["name"])
        messages.success(request, _("The account is called %(name)s.") % form.cleaned_data)
        return redirect("account")
    return render(request, "accounts/rename.html", {"form": form})


@sensitive_post_parameters()
@never_cache
@customer_page
@also_when_closed
@require_http_methods(["GET", "POST"])
def email(request: HttpRequest, account: Account) -> HttpResponse:
    """A new address for the login: mailed a link, and nothing changes until it is followed."""
    user = _user(request)
    form = ChangeEmailForm(request, request.POST or None)
    if request.method == "POST" and form.is_valid():
        asked = logins.ask_email(
            user=user, email=form.cleaned_data["email"], language=account.language, now=timezone.now()
        )
        if asked:
            return redirect("account")
        form.add_error("email", _just_mailed())
    return render(request, "accounts/change_email.html", {"form": form})


def _just_mailed() -> str:
    return _("A mail went to this address a moment ago. Wait a minute before the next.")


@customer_page
@also_when_closed
@require_POST
def cancel_email(request: HttpRequest, account: Account) -> HttpResponse:
    """Leave the address as it is."""
    logins.cancel_email(_user(request), timezone.now())
    return redirect("account")


@never_cache
@customer_page
@also_when_closed
@require_http_methods(["GET", "POST"])
def confirm_email(request: HttpRequest, account: Account, token: str) -> HttpResponse:
    """The link of the mail, for the login that asked: whoever else has it changes nothing."""
    now = timezone.now()
    letter = letters.find(Letter.Kind.ADDRESS, token, now)
    if letter is not None and letter.user_id != request.user.pk:
        raise Http404
    over = letter is None
    if letter is not None and not over and request.method == "POST":
        try:
            logins.change_email(letter, now)
        except logins.LinkUsed:
            over = True
        except EmailTaken:
            logins.cancel_email(_user(request), now)
            messages.error(request, _("This address belongs to another login by now. Nothing was changed."))
            return redirect("account")
        else:
            messages.success(request, _("You sign in with %(email)s from now on.") % {"email": letter.to})
            return redirect("account")
    if over:
        return render(request, "accounts/link_over.html", {"again": "change-email"}, status=410)
    return render(request, "accounts/confirm_email.html", {"letter": letter})


@sensitive_post_parameters()
@never_cache
@customer_page
@also_when_closed
@require_http_methods(["GET", "POST"])
def password(request: HttpRequest, account: Account) -> HttpResponse:
    """A new password: whoever is signed in elsewhere is signed out there."""
    user = _user(request)
    form = ChangePasswordForm(request, request.POST or None)
    if request.method == "POST" and form.is_valid():
        logins.set_password(user, form.cleaned_data["new_password"], timezone.now())
        update_session_auth_hash(request, user)
        messages.success(request, _("The password is changed. All other sessions of the login are signed out."))
        return redirect("account")
    return render(request, "accounts/change_password.html", {"form": form})


@customer_page
@require_http_methods(["GET", "POST"])
def contact(request: HttpRequest, account: Account) -> HttpResponse:
    """Where bills are mailed: asked there first, or to the login's address again."""
    user, now = _user(request), timezone.now()
    if request.method == "POST" and "remove" in request.POST:
        logins.remove_contact(user, now)
        return redirect("account")
    form = AddressForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        address = form.cleaned_data["email"]
        if logins.ask_contact(user=user, email=address, language=account.language, now=now):
            return redirect("account")
        form.add_error("email", _just_mailed())
    return render(request, "accounts/contact.html", {"form": form})


@customer_page
@require_http_methods(["GET", "POST"])
def wishes(request: HttpRequest, account: Account) -> HttpResponse:
    """Thresholds, what is mailed, and in which language."""
    form = WishesForm(request.POST or None, initial=WishesForm.of(account))
    if request.method == "POST" and form.is_valid():
        fields: dict[str, Any] = form.cleaned_data
        keep_wishes(account.pk, Wishes(**fields))
        messages.success(request, _("Kept. It counts from the next movement on."))
        response = redirect("notice-settings")
        keep(response, settings.LANGUAGE_COOKIE_NAME, fields["language"])
        return response
    return render(request, "accounts/notice_settings.html", {"form": form})
