"""Exports: tables of any range of days, a month's statement, and a bill with all that it was made from."""

import tempfile
from collections.abc import Iterable
from datetime import date, timedelta
from typing import IO

from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.templatetags.static import static
from django.utils import timezone
from django.utils.cache import patch_cache_control
from django.utils.http import content_disposition_header
from django.utils.translation import get_language
from django.views.decorators.http import require_GET

from accounts.customers import customer_page
from accounts.models import Account
from iss_billing.days import day_of
from iss_billing.tables import csv_pieces, write_workbook
from settlement.export_form import ExportForm
from settlement.export_tables import TABLES
from settlement.exports import export, file_name
from settlement.models import Bill
from settlement.monthly import monthly
from settlement.recheck import recheck_file

CSV, PDF, JSON = "text/csv; charset=utf-8", "application/pdf", "application/json"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@customer_page
@require_GET
def export_page(request: HttpRequest, account: Account) -> HttpResponse:
    """What can be taken away, of which days, and how; `?what=&from=&to=` choose beforehand."""
    today = day_of(timezone.now())
    month = today.replace(day=1)
    chosen = {name: value for name, value in request.GET.items() if name in ExportForm.CHOSEN}
    form = ExportForm(
        initial={"what": "bills", "from": month, "to": today, "format": "xlsx", "columns": "words"} | chosen
    )
    return _page(request, account, form, today)


def _page(request: HttpRequest, account: Account, form: ExportForm, today: date, status: int = 200) -> HttpResponse:
    context = {"form": form, "months": _months(account, today)}
    return render(request, "settlement/export.html", context, status=status)


def _months(account: Account, today: date) -> list[date]:
    """The months that there is a statement of, the latest first."""
    month, months = day_of(account.opened_at).replace(day=1), []
    while month <= today:
        months.append(month)
        month = (month + timedelta(days=32)).replace(day=1)
    return months[::-1]


@customer_page
@require_GET
def export_file(request: HttpRequest, account: Account) -> HttpResponseBase:
    """The table that was asked for; the page with what is wrong where it cannot be."""
    form = ExportForm(request.GET)
    if not form.is_valid():
        return _page(request, account, form, day_of(timezone.now()), 400)
    asked = form.cleaned_data
    table, first, last = TABLES[asked["what"]], asked["from"], asked["to"]
    columns, rows = export(table, account, first, last, codes=asked["columns"] == "codes")
    name = file_name(table, first, last, asked["format"])
    if asked["format"] == "csv":
        return _download(StreamingHttpResponse(csv_pieces(columns, rows), content_type=CSV), name)
    book = tempfile.TemporaryFile()  # noqa: SIM115 - the response closes it
    write_workbook(book, str(table.title), columns, rows)
    return _file(book, name, XLSX)


@customer_page
@require_GET
def statement(request: HttpRequest, account: Account) -> HttpResponseBase:
    """A month's statement as PDF, in the page's language; the running month's says until when it goes."""
    now = timezone.now()
    try:
        month = date.fromisoformat(request.GET.get("month", "") + "-01")
    except ValueError as error:
        raise Http404 from error
    if not day_of(account.opened_at).replace(day=1) <= month <= day_of(now):
        raise Http404
    from settlement.monthly_pdf import monthly_pdf  # what draws it takes a while to import

    pdf = monthly_pdf(account, monthly(account, month, now), now)
    return _download(HttpResponse(pdf, content_type=PDF), f"iss-statement-{month:%Y-%m}.pdf")


@customer_page
@require_GET
def recheck(request: HttpRequest, account: Account, pk: int) -> HttpResponseBase:
    """A bill's recheck file."""
    bill = get_object_or_404(Bill, pk=pk, account=account)
    return recheck_response(bill)


def recheck_response(bill: Bill) -> HttpResponseBase:
    """The recheck file of a bill, for page and API: written out first, so that no snapshot waits for a reader."""
    language = "en" if (get_language() or "").startswith("en") else "zh-hans"
    script = settings.SITE_URL + static("recheck/recheck.py")
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the response closes it
    _write(file, recheck_file(bill, language=language, script_url=script, now=timezone.now()))
    return _file(file, f"iss-recheck-{bill.day.isoformat()}-{bill.pk}.json", JSON)


def _write(file: IO[bytes], pieces: Iterable[str]) -> None:
    for piece in pieces:
        file.write(piece.encode())


def _file(file: IO[bytes], name: str, media_type: str) -> HttpResponseBase:
    """A file that was written just now, of known length."""
    file.seek(0)
    return _download(FileResponse(file, content_type=media_type), name)


def _download(response: HttpResponseBase, name: str) -> HttpResponseBase:
    response["Content-Disposition"] = content_disposition_header(True, name)
    patch_cache_control(response, private=True, no_store=True)
    return response
