"""The API's lists: cursor pagination, and ranges of billing days."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import date
from typing import Any, TypeVar, cast

from django.core.exceptions import ValidationError
from django.db.models import Field, Model, QuerySet
from django.http import Http404
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from iss_billing.days import parse_day
from iss_billing.problems import invalid

M = TypeVar("M", bound=Model)


class Pages(CursorPagination):
    """`{"next", "previous", "results"}`; `?page_size=` 100 by default, 1000 at most."""

    page_size = 100
    max_page_size = 1000
    page_size_query_param = "page_size"

    def __init__(self, model: type[Model], *ordering: str) -> None:
        self.ordering = ordering
        self.field = cast("Field[Any, Any]", model._meta.get_field(ordering[0].removeprefix("-")))

    def decode_cursor(self, request: Request) -> Any:
        """The cursor of the request, if any; 400 for one that is none of ours."""
        try:
            cursor = super().decode_cursor(request)
        except (NotFound, ValueError) as error:
            raise invalid({"cursor": ["not a cursor of this list"]}) from error
        if cursor is not None and cursor.position is not None:
            try:
                self.field.to_python(cursor.position)
            except (ValidationError, ValueError) as error:
                raise invalid({"cursor": ["not a cursor of this list"]}) from error
        return cursor


def _page_size(request: Request) -> int:
    size = request.query_params.get("page_size")
    if size is None:
        return Pages.page_size
    if not (size.isascii() and size.isdigit() and 1 <= int(size[:9]) <= Pages.max_page_size):
        raise invalid({"page_size": ["a whole number from 1 to 1000"]})
    return int(size)


def paged(
    request: Request,
    rows: QuerySet[M],
    ordering: tuple[str, ...],
    show: Callable[[list[M]], list[dict[str, Any]]],
) -> Response:
    """One page of `rows`; `show` turns the page's rows into their shapes, all at once."""
    _page_size(request)
    pages = Pages(rows.model, *ordering)
    page = pages.paginate_queryset(rows, request)
    return Response({"next": pages.get_next_link(), "previous": pages.get_previous_link(), "results": show(page or [])})


K = TypeVar("K")


def paged_by_key(
    request: Request,
    read: Callable[[K | None, bool, int], list[tuple[K, dict[str, Any]]]],
    parse: Callable[[str], K],
    write: Callable[[K], str],
) -> Response:
    """One page of rows that no table holds.

    `read(key, backward, number)` gives up to `number` rows with their keys after the row of that key, or before it;
    from the beginning for None. `parse` and `write` make a key of text and text of it; `parse` raises ValueError.
    """
    size = _page_size(request)
    key, backward = None, False
    if cursor := request.query_params.get("cursor"):
        try:
            way, _, text = urlsafe_b64decode(cursor.encode()).decode().partition(" ")
            key, backward = parse(text), {"after": False, "before": True}[way]
        except (ValueError, KeyError) as error:
            raise invalid({"cursor": ["not a cursor of this list"]}) from error
    rows = read(key, backward, size + 1)
    more = len(rows) > size
    rows = rows[-size:] if backward else rows[:size]

    def link(there: bool, way: str, place: int) -> str | None:
        if not there or not rows:
            return None
        cursor = urlsafe_b64encode(f"{way} {write(rows[place][0])}".encode()).decode()
        return replace_query_param(request.build_absolute_uri(), "cursor", cursor)

    return Response(
        {
            "next": link(more or backward, "after", -1),
            "previous": link(more if backward else key is not None, "before", 0),
            "results": [row for _, row in rows],
        }
    )


def day_range(request: Request) -> tuple[date | None, date | None]:
    """`?from=` and `?to=`, both billing days, both inclusive, both optional."""
    found: list[date | None] = []
    for name in ("from", "to"):
        text = request.query_params.get(name)
        try:
            found.append(parse_day(text) if text is not None else None)
        except ValueError as error:
            raise invalid({name: [str(error)]}) from error
    return found[0], found[1]


def find(rows: QuerySet[M], pk: str) -> M:
    """The row of an id as a client sends it; 404 where the caller's rows have none."""
    if not (pk.isascii() and pk.isdigit() and len(pk) < 19):
        raise Http404
    row = rows.filter(pk=int(pk)).first()
    if row is None:
        raise Http404
    return row
