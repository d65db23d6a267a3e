"""Pages of those who are not signed in: opening an account, signing in, a new password, an address for bills.

What a form answers is the same whether the address is known here or not.
"""

from typing import Any, cast

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth import views as auth_views
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.translation import get_language
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods

from accounts import letters
from accounts.cookies import keep
from accounts.forms import AskPasswordForm, NewPasswordForm, PasswordForm, SignUpForm
from accounts.letter_models import Letter
from accounts.login_backend import BACKEND
from accounts.logins import LinkUsed, ask_sign_up, confirm_contact, sign_up
from accounts.models import Account
from accounts.opening import EmailTaken

ASKED = "sign-up"
"""Where the session remembers what was asked for, so that the mail can be sent again."""


@require_http_methods(["GET", "POST"])
def ask(request: HttpRequest) -> HttpResponse:
    """Ask for an account: a mail goes to the address, and nothing is opened yet."""
    if request.user.is_authenticated:
        return redirect("overview")
    form = SignUpForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        request.session[ASKED] = {"name": form.cleaned_data["name"], "email": form.cleaned_data["email"]}
        _ask(request)
        return redirect("sign-up-sent")
    return render(request, "accounts/sign_up.html", {"form": form})


def _ask(request: HttpRequest) -> None:
    language = get_language() or settings.LANGUAGE_CODE
    ask_sign_up(**request.session[ASKED], language=language, now=timezone.now())


@require_http_methods(["GET", "POST"])
def sent(request: HttpRequest) -> HttpResponse:
    """The mail is on its way; on POST it is sent again, at most once a minute."""
    if ASKED not in request.session:
        return redirect("sign-up")
    if request.method == "POST":
        _ask(request)
    context = {"email": request.session[ASKED]["email"], "again": request.method == "POST"}
    return render(request, "accounts/sign_up_sent.html", context | mail_hint())


def mail_hint() -> dict[str, Any]:
    """Whether this installation writes its mails into its log, which then has to be said."""
    return {"mails_to_log": settings.EMAIL_BACKEND == "iss_billing.mail.ConsoleBackend"}


@sensitive_post_parameters()
@never_cache
@require_http_methods(["GET", "POST"])
def confirm(request: HttpRequest, token: str) -> HttpResponse:
    """The link of the mail: the address is its owner's. A password is chosen, and the account is open."""
    letter = letters.find(Letter.Kind.SIGN_UP, token, timezone.now())
    if letter is None:
        return render(request, "accounts/link_over.html", {"again": "sign-up"}, status=410)
    form = PasswordForm(letter.to, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            account = sign_up(letter, password=form.cleaned_data["password"], now=timezone.now())
        except (EmailTaken, LinkUsed):
            return render(request, "accounts/link_over.html", {"again": "sign-up"}, status=410)
        request.session.pop(ASKED, None)
        login(request, cast("Any", account.user), backend=BACKEND)
        response = redirect("overview")
        keep(response, settings.LANGUAGE_COOKIE_NAME, account.language)
        return response
    return render(request, "accounts/sign_up_confirm.html", {"form": form, "letter": letter})


class SignIn(auth_views.LoginView):
    """Sign in; the page then speaks the account's language."""

    template_name = "accounts/sign_in.html"
    redirect_authenticated_user = True

    def form_valid(self, form: Any) -> HttpResponse:
        """Remember the language that the account has chosen."""
        response = super().form_valid(form)
        account: Account | None = getattr(form.get_user(), "account", None)
        if account is not None:
            keep(response, settings.LANGUAGE_COOKIE_NAME, account.language)
        return response


class PasswordReset(auth_views.PasswordResetView):
    """Ask for a mail with a link to a new password; the answer is the same whether the address is known or not."""

    template_name = "accounts/password_reset.html"
    form_class = AskPasswordForm
    success_url = reverse_lazy("password-reset-sent")


@require_GET
def password_sent(request: HttpRequest) -> HttpResponse:
    """The mail is on its way."""
    return render(request, "accounts/password_reset_sent.html", mail_hint())


class PasswordResetConfirm(auth_views.PasswordResetConfirmView):
    """Set the new password, and be signed in."""

    template_name = "accounts/password_reset_confirm.html"
    form_class = NewPasswordForm
    success_url = reverse_lazy("overview")
    post_reset_login = True
    post_reset_login_backend = BACKEND


@never_cache
@require_http_methods(["GET", "POST"])
def contact(request: HttpRequest, token: str) -> HttpResponse:
    """The link of the mail to an address for bills: whoever reads mail there agrees; no login is needed for it."""
    now = timezone.now()
    letter = letters.find(Letter.Kind.CONTACT, token, now)
    if letter is None:
        return render(request, "accounts/link_over.html", status=410)
    done = False
    if request.method == "POST":
        try:
            confirm_contact(letter, now)
        except LinkUsed:
            return render(request, "accounts/link_over.html", status=410)
        done = True
    return render(request, "accounts/confirm_contact.html", {"letter": letter, "done": done})
