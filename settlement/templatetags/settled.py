"""Figures of bills and packs as template tags."""

from datetime import date

from django import template
from django.utils.safestring import SafeString

from accounts.templatetags.console import figure
from iss_billing import formats
from iss_billing.days import day_of
from settlement import panels

register = template.Library()


@register.simple_tag
def used_quantity(number: int, unit: str) -> SafeString:
    """What was used, in short and rounded half-up: 312.40 GB."""
    return figure(formats.used(number, unit))


@register.filter
def short_money(fen: int) -> SafeString:
    """An amount where there is no room for it: whole yuan, from 10,000 in 万 or thousands."""
    return figure(formats.short_money(fen))


@register.simple_tag(takes_context=True)
def expected(context: template.Context, value: date) -> str:
    """A day that is expected, not promised: the day within 90 days, the month beyond."""
    return panels.day_or_month(value, day_of(context["now"]))


@register.filter
def about(fen: int) -> str:
    """An estimated amount, whole from 10 CNY on."""
    return panels.about(fen)
