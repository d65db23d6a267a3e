"""The sandbox's cashier: pay, cancel, or pay and lose the notification, as happens with real gateways."""

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts.customers import customer_page
from accounts.models import Account, Payment
from accounts.payments.paying import take_report
from accounts.payments.sandbox import Sandbox


@customer_page
@require_http_methods(["GET", "POST"])
def cashier(request: HttpRequest, account: Account, number: str) -> HttpResponse:
    """The page that a real gateway would show on a site of its own."""
    if not settings.PAYMENTS.sandbox:
        raise Http404
    payment = get_object_or_404(Payment, account=account, number=number, gateway=Sandbox.name)
    now = timezone.now()
    if request.method == "GET":
        return render(request, "accounts/cashier.html", {"payment": payment, "open": payment.open_at(now)})
    sandbox = Sandbox()
    act = request.POST.get("act")
    if act in ("pay", "lose") and payment.open_at(now):
        notification = sandbox.pay(payment)
        if act == "pay":
            take_report(sandbox.read(notification), gateway=sandbox.name, now=now)
        else:
            return redirect("payment", number)
    elif act == "cancel":
        sandbox.close(number, now)
    return redirect("payment-return", number)
