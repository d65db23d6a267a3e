"""A report as a file: CSV as it is read, or an Excel workbook."""

import tempfile
from collections.abc import Iterable, Sequence

from django.http import FileResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import add_never_cache_headers
from django.utils.http import content_disposition_header

from iss_billing.tables import Cell, Column, csv_pieces, write_workbook

FORMATS = ("csv", "xlsx")
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def download(
    suffix: str, name: str, title: str, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]
) -> HttpResponseBase:
    """The rows as a file `name`.csv or .xlsx; never whole in memory, formulas neutralised, kept by no cache."""
    response: HttpResponseBase
    if suffix == "csv":
        response = StreamingHttpResponse(csv_pieces(columns, rows), content_type="text/csv; charset=utf-8")
    else:
        book = tempfile.TemporaryFile()  # noqa: SIM115 - the response closes it
        write_workbook(book, title[:31], columns, rows)
        book.seek(0)
        response = FileResponse(book, content_type=XLSX)
    response.headers["Content-Disposition"] = content_disposition_header(True, f"{name}.{suffix}") or ""
    add_never_cache_headers(response)
    return response
