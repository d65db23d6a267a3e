"""Figures of bills and packs as template tags."""

from django import template
from django.utils.safestring import SafeString

from accounts.templatetags.console import figure
from iss_billing import formats

register = template.Library()


@register.simple_tag
def used_quantity(number: int, unit: str) -> SafeString:
    """What was used, in short and rounded half-up: 312.40 GB."""
    return figure(formats.used(number, unit))


@register.filter
def short_money(fen: int) -> SafeString:
    """An amount where there is no room for it: whole yuan, from 10,000 in 万 or thousands."""
    return figure(formats.short_money(fen))
