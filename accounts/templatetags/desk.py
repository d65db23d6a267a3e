"""What the admin's pages ask for beside what Django gives them."""

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any

from django import template
from django.db.models import QuerySet
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from accounts.models import AuditEntry, User

register = template.Library()


@register.simple_tag
def acts_of(user: User) -> QuerySet[AuditEntry]:
    """The last things that somebody did."""
    return AuditEntry.objects.filter(user=user).order_by("-pk")[:8]


@register.simple_tag
def cells(row: Iterable[SafeString], headers: Iterable[Mapping[str, Any]]) -> SafeString:
    """A row of a list as the admin made it, each cell with the name of its column."""
    return format_html_join("", "{}", ((_cell(cell, header),) for cell, header in zip_longest(row, headers) if cell))


def _cell(cell: SafeString, header: Mapping[str, Any] | None) -> SafeString:
    if header is None or not cell.startswith("<td"):
        return cell
    # cut from markup that is safe
    rest = SafeString(cell.removeprefix("<td"))  # nosec B703
    return format_html('<td data-label="{}"{}', capfirst(header["text"]), rest)
