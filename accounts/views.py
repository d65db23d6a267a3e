"""Pages of the accounts: signing up and in, the account itself, its ledger and messages."""

from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth import views as auth_views
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render, resolve_url
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.context import THEME_COOKIE, THEMES, account_of_login
from accounts.customers import customer_page, page_of
from accounts.forms import SignUpForm
from accounts.models import Account, Book, Kind, Notice, Transfer
from accounts.notice_texts import text_of
from accounts.opening import EmailTaken, open_account

YEAR_SECONDS = 365 * 24 * 3600


@require_http_methods(["GET", "POST"])
def sign_up(request: HttpRequest) -> HttpResponse:
    """Open an account and sign its login in."""
    if request.user.is_authenticated:
        return redirect("overview")
    form = SignUpForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        fields = form.cleaned_data
        try:
            account = open_account(
                name=fields["name"],
                email=fields["email"],
                password=fields["password"],
                language=get_language() or settings.LANGUAGE_CODE,
                now=timezone.now(),
            )
        except EmailTaken:
            form.add_error("email", _("There is an account with this address: sign in, or reset the password."))
        else:
            login(request, account.user, backend="django.contrib.auth.backends.ModelBackend")
            return redirect("overview")
    return render(request, "accounts/sign_up.html", {"form": form})


class SignIn(auth_views.LoginView):
    """Sign in; the page then speaks the account's language."""

    template_name = "accounts/sign_in.html"
    redirect_authenticated_user = True

    def form_valid(self, form: Any) -> HttpResponse:
        """Remember the language that the account has chosen."""
        response = super().form_valid(form)
        account: Account | None = getattr(form.get_user(), "account", None)
        if account is not None:
            _set_cookie(response, settings.LANGUAGE_COOKIE_NAME, account.language)
        return response


class PasswordReset(auth_views.PasswordResetView):
    """Ask for a mail with a link to a new password; the answer is the same whether the address is known or not."""

    template_name = "accounts/password_reset.html"
    email_template_name = "accounts/password_reset_mail.txt"
    subject_template_name = "accounts/password_reset_subject.txt"
    success_url = reverse_lazy("password-reset-sent")


class PasswordResetSent(auth_views.PasswordResetDoneView):
    """The mail is on its way."""

    template_name = "accounts/password_reset_sent.html"


class PasswordResetConfirm(auth_views.PasswordResetConfirmView):
    """Set the new password, and be signed in."""

    template_name = "accounts/password_reset_confirm.html"
    success_url = reverse_lazy("overview")
    post_reset_login = True
    post_reset_login_backend = "django.contrib.auth.backends.ModelBackend"


def _set_cookie(response: HttpResponse, name: str, value: str) -> None:
    response.set_cookie(name, value, max_age=YEAR_SECONDS, secure=not settings.DEBUG, httponly=True, samesite="Lax")


@require_POST
def preferences(request: HttpRequest) -> HttpResponse:
    """Keep the language and the theme; mails to the account speak the language too."""
    target = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure()):
        target = resolve_url("overview")
    response = HttpResponseRedirect(target)
    language, theme = request.POST.get("language"), request.POST.get("theme")
    if language in dict(settings.LANGUAGES):
        _set_cookie(response, settings.LANGUAGE_COOKIE_NAME, language)
        if account := account_of_login(request):
            Account.objects.filter(pk=account.pk).update(language=language)
    if theme in THEMES:
        _set_cookie(response, THEME_COOKIE, theme)
    elif theme is not None:
        response.delete_cookie(THEME_COOKIE)
    return response


@customer_page
@require_GET
def account_page(request: HttpRequest, account: Account) -> HttpResponse:
    """Who the account is, and how its pages look."""
    return render(request, "accounts/account.html", {"languages": settings.LANGUAGES})


@customer_page
@require_GET
def ledger(request: HttpRequest, account: Account) -> HttpResponse:
    """Every transfer that moved the balance, newest first."""
    rows = balance_transfers(account)
    kinds = [(kind.value, kind.label) for kind in Kind if kind != Kind.RECOGNITION]
    chosen = request.GET.get("kind", "")
    if chosen in dict(kinds):
        rows = rows.filter(kind=chosen)
    return render(request, "accounts/ledger.html", {"page": page_of(request, rows), "kinds": kinds, "kind": chosen})


def balance_transfers(account: Account) -> QuerySet[Transfer]:
    """The account's transfers that moved its balance, the latest posting first."""
    return account.transfers.filter(Q(debit=Book.BALANCE) | Q(credit=Book.BALANCE)).order_by("-id")


@customer_page
@require_GET
def inbox(request: HttpRequest, account: Account) -> HttpResponse:
    """Every notice of the account, newest first; what is shown counts as read from then on."""
    page = page_of(request, account.notices.order_by("-id"), 20)
    shown = [(notice, notice.read_at is None, *text_of(notice)) for notice in page]
    Notice.objects.filter(pk__in=[notice.pk for notice, *_rest in shown], read_at=None).update(read_at=timezone.now())
    return render(request, "accounts/inbox.html", {"page": page, "shown": shown})
