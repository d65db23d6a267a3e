"""Pages of messages. Looking at them changes nothing; what was shown is counted as read by a form of its own."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_POST

from accounts.customers import also_when_closed, customer_page
from accounts.inbox import mark_read, page
from accounts.models import Account
from accounts.notice_topics import OTHERS, TOPICS

NEW = "new"
FILTERS = ((NEW, _("New")), *((topic.code, topic.name) for topic in TOPICS), (OTHERS, _("Account and programs")))


@customer_page
@require_GET
def inbox(request: HttpRequest, account: Account) -> HttpResponse:
    """Every notice of the account, newest first, with its words, its mail and what it is about."""
    chosen = request.GET.get("show", "")
    if chosen not in dict(FILTERS):
        chosen = ""
    found = page(
        account,
        topic="" if chosen == NEW else chosen,
        new=chosen == NEW,
        before=_id(request.GET.get("before")),
        after=_id(request.GET.get("after")),
    )
    context = {"page": found, "filters": FILTERS, "chosen": chosen, "new": [m for m in found.messages if m.is_new]}
    return render(request, "accounts/inbox.html", context)


@customer_page
@also_when_closed
@require_POST
def read(request: HttpRequest, account: Account) -> HttpResponse:
    """Count messages as read: those that a page showed, or all up to the newest that it knew."""
    ids = [pk for pk in map(_id, request.POST.getlist("shown")) if pk is not None]
    upto = _id(request.POST.get("upto")) or 0
    if "all" in request.POST:
        mark_read(account, upto=upto, now=timezone.now())
    elif ids:
        mark_read(account, upto=max(ids), now=timezone.now(), ids=ids[:100])
    if "HX-Request" in request.headers:
        return HttpResponse(status=204)
    return redirect("inbox")


def _id(text: str | None) -> int | None:
    """An id as an address or a form brings it; None where it is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None
