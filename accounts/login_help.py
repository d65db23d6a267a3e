"""Staff help a customer on a support call: unlock the login, mail a link to a new password, send a message again."""

from axes.models import AccessAttempt
from axes.utils import reset as forget_attempts
from django.http import HttpRequest, HttpResponse
from django.http.response import Http404
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import audit_log
from accounts.account_admin import ACTS, Act
from accounts.acting import Doing, Refused, act_page
from accounts.logins import ask_password
from accounts.models import Account, Notice, User
from accounts.notice_texts import text_of
from accounts.notices import send_again
from iss_billing.desk import page

HELP = "accounts.help_account"

audit_log.WORDS |= {
    "login.unlock": gettext_lazy("let a locked-out login in again"),
    "login.reset_mail": gettext_lazy("sent a mail for a new password"),
    "message.resend": gettext_lazy("sent a message again"),
}
ACTS += [
    Act("admin:accounts_account_unlock", gettext_lazy("Unlock the login"), HELP, lambda account: locked(account)),
    Act(
        "admin:accounts_account_reset-mail",
        gettext_lazy("Mail a link to a new password"),
        HELP,
        lambda account: account.user is not None and account.user.is_active,
    ),
]


def locked(account: Account) -> bool:
    """Whether wrong passwords were given for its login of late."""
    user = account.user
    return user is not None and AccessAttempt.objects.filter(username=user.email).exists()


def _with_login(pk: int) -> tuple[Account, User]:
    account = get_object_or_404(Account.objects.select_related("user"), pk=pk)
    if account.user is None:
        raise Http404
    return account, account.user


@page("accounts/account/<int:pk>/unlock/", name="accounts_account_unlock", permission=HELP)
def unlock_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Forget the wrong passwords that were given for an account's login."""
    account, user = _with_login(pk)

    def do(doing: Doing) -> str:
        forgotten = forget_attempts(username=user.email)
        audit_log.record(
            "login.unlock",
            by=doing.by,
            now=doing.now,
            subject=user,
            account=account,
            reason=doing.reason,
            data={"attempts": forgotten},
        )
        return _("The login is unlocked.")

    attempts = AccessAttempt.objects.filter(username=user.email).order_by("-attempt_time")[:5]
    return act_page(
        request,
        permission=HELP,
        original=account,
        title=_("Unlock the login"),
        facts=[
            (_("login"), user.email),
            *((_("wrong passwords"), f"{one.failures_since_start} · {one.ip_address}") for one in attempts),
        ],
        do=do,
        back=reverse("admin:accounts_account_change", args=[pk]),
    )


@page("accounts/account/<int:pk>/reset-mail/", name="accounts_account_reset-mail", permission=HELP)
def reset_mail_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Mail an account's login a link to a new password, to the address that it has and to no other."""
    account, user = _with_login(pk)

    def do(doing: Doing) -> str:
        if not user.is_active:
            raise Refused(_("This login is not active."))
        audit_log.record(
            "login.reset_mail", by=doing.by, now=doing.now, subject=user, account=account, reason=doing.reason
        )
        ask_password(email=user.email, language=account.language, now=doing.now)
        return _("A link to a new password is mailed to %(address)s.") % {"address": user.email}

    return act_page(
        request,
        permission=HELP,
        original=account,
        title=_("Mail a link to a new password"),
        facts=[(_("login"), user.email)],
        do=do,
        back=reverse("admin:accounts_account_change", args=[pk]),
    )


@page("accounts/notice/<int:pk>/resend/", name="accounts_notice_resend", permission=HELP)
def resend_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Mail a message once more."""
    notice = get_object_or_404(Notice.objects.select_related("account__user"), pk=pk)

    def do(doing: Doing) -> str:
        if notice.account.user is None:
            raise Refused(_("The account has no login, and so no address."))
        if not send_again(notice.pk):
            raise Refused(_("The message is on its way already."))
        audit_log.record("message.resend", by=doing.by, now=doing.now, subject=notice, reason=doing.reason)
        return _("The message is sent again.")

    return act_page(
        request,
        permission=HELP,
        original=notice,
        title=_("Send again"),
        facts=[
            (_("account"), notice.account),
            (_("login"), notice.account.user or "–"),
            (_("message"), text_of(notice)[0]),
            (_("last error"), notice.last_error or "–"),
        ],
        do=do,
        back=reverse("admin:accounts_account_change", args=[notice.account_id]),
    )
