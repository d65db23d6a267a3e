"""The page on which a customer closes the account: what stands in the way, or what closing does, then does it."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts.auth import READS_FOR
from accounts.customers import customer_page
from accounts.forms import OwnPasswordForm
from accounts.models import Account
from settlement.closing import Closing, ClosingRefused, UsageArrives, close_account, look


@sensitive_post_parameters()
@never_cache
@customer_page
@require_http_methods(["GET", "POST"])
def close(request: HttpRequest, account: Account) -> HttpResponse:
    """Show what closing does, ask for the password, and close. What was shown is what is done, or it is shown again."""
    if account.closed_at is not None:
        return redirect("account")
    now = timezone.now()
    form = OwnPasswordForm(request, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            close_account(account_id=account.pk, now=now, agreed=request.POST.get("agreed", ""))
        except ClosingRefused as refusal:
            return _page(request, form, refusal.closing, status=409, changed=not refusal.closing.obstacles)
        except UsageArrives:
            return _page(request, form, look(account, now), status=409, busy=True)
        return redirect("account")
    return _page(request, form, look(account, now))


def _page(
    request: HttpRequest, form: OwnPasswordForm, closing: Closing, *, status: int = 200, **flags: bool
) -> HttpResponse:
    reads_until = timezone.now() + READS_FOR
    context = {"form": form, "closing": closing, "reads_until": reads_until, "obstacles": closing.obstacles}
    return render(request, "settlement/close_account.html", context | flags, status=status)
