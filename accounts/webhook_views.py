"""Pages of webhooks: a customer's endpoints, what each was sent, and how every attempt went."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.customers import customer_page, page_of
from accounts.forms import EndpointForm
from accounts.models import Account
from accounts.webhook_models import Delivery, DeliveryStatus, Endpoint, EventType
from accounts.webhook_secrets import seal, unseal
from accounts.webhooks import (
    MOST_ENDPOINTS,
    EndpointOff,
    EndpointRefused,
    add_endpoint,
    endpoints_of,
    remove_endpoint,
    resend,
    rotate_secret,
    turn_on,
)

SHOWN_ONCE = "endpoint_secret"
"""Where the session keeps a new secret, sealed, until the next page has shown it."""


@customer_page
@require_GET
def webhooks(request: HttpRequest, account: Account) -> HttpResponse:
    """The account's endpoints."""
    endpoints = list(endpoints_of(account).order_by("-id"))
    context = {"endpoints": endpoints, "most": MOST_ENDPOINTS, "full": len(endpoints) >= MOST_ENDPOINTS}
    return render(request, "accounts/webhooks.html", context)


@customer_page
@require_http_methods(["GET", "POST"])
def add_webhook(request: HttpRequest, account: Account) -> HttpResponse:
    """Add an endpoint; its page then shows the secret once."""
    form = EndpointForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        fields = form.cleaned_data
        try:
            endpoint, secret = add_endpoint(
                account=account, url=fields["url"], events=fields["events"], now=timezone.now()
            )
        except EndpointRefused as refusal:
            form.add_error(refusal.field or None, str(refusal))
        else:
            _show_once(request, endpoint, secret)
            return redirect("webhook", endpoint.pk)
    return render(request, "accounts/add_webhook.html", {"form": form})


def _show_once(request: HttpRequest, endpoint: Endpoint, secret: str) -> None:
    request.session[SHOWN_ONCE] = {"endpoint": endpoint.pk, "sealed": seal(secret)}


@never_cache
@customer_page
@require_GET
def webhook(request: HttpRequest, account: Account, pk: int) -> HttpResponse:
    """One endpoint: what it listens for, what it was sent, and how each attempt went."""
    endpoint = get_object_or_404(endpoints_of(account), pk=pk)
    secret = None
    if (request.session.get(SHOWN_ONCE) or {}).get("endpoint") == endpoint.pk:
        secret = unseal(request.session.pop(SHOWN_ONCE)["sealed"])
    rows = endpoint.deliveries.prefetch_related("attempts").order_by("-id")
    chosen = request.GET.get("status", "")
    if chosen in DeliveryStatus.values:
        rows = Delivery.with_status(rows, DeliveryStatus(chosen))
    context = {
        "endpoint": endpoint,
        "events": [(event, EventType(event).label) for event in endpoint.events],
        "secret": secret,
        "both_sign_until": endpoint.secrets.filter(expires_at__gt=timezone.now()).order_by("-expires_at").first(),
        "page": page_of(request, rows, 20),
        "statuses": DeliveryStatus.choices,
        "chosen": chosen,
    }
    return render(request, "accounts/webhook.html", context)


@customer_page
@require_POST
def act_on_webhook(request: HttpRequest, account: Account, pk: int, act: str) -> HttpResponse:
    """Rotate the secret, turn the endpoint on again, or remove it."""
    endpoint = get_object_or_404(endpoints_of(account), pk=pk)
    if act == "rotate":
        _show_once(request, endpoint, rotate_secret(endpoint, timezone.now()))
    elif act == "turn-on":
        turn_on(endpoint)
        messages.success(request, _("The endpoint is on: it hears of what happens from now on."))
    elif act == "remove":
        remove_endpoint(endpoint, timezone.now())
        messages.success(request, _("The endpoint is removed: nothing more is sent to it."))
        return redirect("webhooks")
    else:
        raise Http404
    return redirect("webhook", endpoint.pk)


@customer_page
@require_POST
def resend_message(request: HttpRequest, account: Account, pk: int, delivery_pk: int) -> HttpResponse:
    """Send a message again."""
    endpoint = get_object_or_404(endpoints_of(account), pk=pk)
    delivery = get_object_or_404(endpoint.deliveries.select_related("endpoint"), pk=delivery_pk)
    try:
        resend(delivery, timezone.now())
    except EndpointOff as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("It is being sent again, with the same id."))
    return redirect("webhook", endpoint.pk)
