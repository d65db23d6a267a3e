"""What the admin's pages ask for beside what Django gives them."""

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any

from django import template
from django.db.models import QuerySet
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
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
    return mark_safe("".join(_cell(cell, header) for cell, header in zip_longest(row, headers) if cell))  # noqa: S308 - the admin's own markup, and what format_html made


def _cell(cell: SafeString, header: Mapping[str, Any] | None) -> str:
    if header is None or not cell.startswith("<td"):
        return cell
    return format_html('<td data-label="{}"', capfirst(header["text"])) + cell.removeprefix("<td")
