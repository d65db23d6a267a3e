"""The console's figures and small parts as template tags; `iss_billing.formats` decides how they read."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from django import template
from django.forms import BoundField
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from accounts.standing import Standing
from iss_billing import formats
from iss_billing.days import day_of

register = template.Library()


def figure(value: formats.Figure, extra: str = "") -> SafeString:
    """A figure as the stylesheet's `.q`: digits, lesser digits, unit; never broken across lines."""
    dim = format_html('<span class="dim">{}</span>', value.dim) if value.dim else ""
    unit = format_html('<span class="{}">{}</span>', "u u-first" if value.unit_first else "u", value.unit)
    if not value.unit:
        unit = SafeString("")
    digits = format_html("{}{}", value.main, dim)
    inner = format_html("{}{}", unit, digits) if value.unit_first else format_html("{}{}", digits, unit)
    return format_html('<span class="{}">{}</span>', f"q {extra}".strip(), inner)


@register.filter
def money(fen: int) -> SafeString:
    """Fen: 7,428.21 元 with the fen stepping back."""
    return figure(formats.money(fen))


@register.filter
def plain_money(fen: int) -> str:
    """Fen as words for a sentence or a label: 7,428.21 元."""
    return str(formats.money(fen))


@register.filter
def bare_money(fen: int) -> SafeString:
    """The digits of fen, where a heading or the last column names the unit."""
    value = formats.money(fen)
    return figure(formats.Figure(value.main, value.dim))


@register.filter
def typed(fen: int) -> str:
    """Fen as one types them into a form: 500, 71.79."""
    whole, rest = divmod(fen, 100)
    return f"{whole}.{rest:02d}" if rest else str(whole)


@register.filter
def signed_money(fen: int) -> SafeString:
    """Fen with its sign: +100.00 元."""
    return figure(formats.money(fen, signed=True))


@register.filter
def about_a_day(micro: int) -> SafeString:
    """Micro-yuan a day, estimated: 约 43 元/天."""
    return figure(formats.about_a_day(micro))


@register.filter
def plain_about_a_day(micro: int) -> str:
    """Micro-yuan a day as words."""
    return str(formats.about_a_day(micro))


@register.filter
def list_price(fen: int) -> SafeString:
    """A catalogue price in fen: 2,200 元."""
    return figure(formats.list_price(fen))


@register.filter
def button_price(fen: int) -> SafeString:
    """A catalogue price for a price button, which sets its parts itself."""
    price = formats.list_price(fen)
    unit = format_html('<span class="u">{}</span>', price.unit)
    return format_html("{} {}", unit, price.main) if price.unit_first else format_html("{}{}", price.main, unit)


@register.filter
def plain_list_price(fen: int) -> str:
    """A catalogue price as words: 2,200 元."""
    return str(formats.list_price(fen))


@register.filter
def bare_unit_price(micro: int) -> str:
    """The digits of a unit price, where a heading names its unit."""
    return formats.unit_price(micro, 1, "").main.removeprefix("CNY ")


@register.filter
def exact_money(micro: int) -> SafeString:
    """Micro-yuan with six places: 67.795857 元."""
    return figure(formats.exact_money(micro))


@register.filter
def plain_exact_money(micro: int) -> str:
    """Micro-yuan as words: 67.795857 元."""
    return str(formats.exact_money(micro))


@register.filter
def region(code: str) -> str:
    """A region by its name, where it has one in both languages; else its code."""
    return _("mainland China") if code == "cn-mainland" else code


@register.simple_tag
def gap() -> str:
    """Between two sentences."""
    return formats.gap()


@register.simple_tag
def quantity(number: int, unit: str) -> SafeString:
    """A quantity as bills state it."""
    return figure(formats.quantity(number, unit))


@register.simple_tag
def remaining(number: int, unit: str) -> SafeString:
    """What is left, rounded down."""
    return figure(formats.remaining(number, unit))


@register.simple_tag
def used(number: int, unit: str) -> SafeString:
    """What was used, rounded half-up."""
    return figure(formats.used(number, unit))


@register.simple_tag
def plain_used(number: int, unit: str) -> str:
    """What was used as words."""
    return str(formats.used(number, unit))


@register.simple_tag
def size(number: int, unit: str) -> SafeString:
    """The size of a pack."""
    return figure(formats.size(number, unit), "size")


@register.simple_tag
def plain_size(number: int, unit: str) -> str:
    """The size of a pack as words."""
    return str(formats.size(number, unit))


@register.simple_tag
def unit_price(micro: int, per: int, unit: str) -> SafeString:
    """A tariff price."""
    return figure(formats.unit_price(micro, per, unit))


@register.filter
def share(part: int, whole: int) -> str:
    """A bar's length: "61.2%"."""
    return formats.percent(part, whole)


@register.simple_tag(takes_context=True)
def day(context: template.Context, value: date) -> str:
    """11月18日; the year when it is another."""
    return formats.day(value, day_of(context["now"]))


@register.simple_tag(takes_context=True)
def day_and_weekday(context: template.Context, value: date) -> str:
    """11月18日 周三."""
    return formats.day_and_weekday(value, day_of(context["now"]))


@register.simple_tag(takes_context=True)
def coming(context: template.Context, value: date) -> formats.Coming:
    """A day to come: `main` 下周二, 约 26 天后; `under` its date."""
    return formats.coming(value, day_of(context["now"]))


@register.filter
def month(value: date) -> str:
    """2026 年 11 月."""
    return formats.month(value)


@register.filter
def short_month(value: date) -> str:
    """11 月."""
    return formats.short_month(value)


@register.simple_tag(takes_context=True)
def moment(context: template.Context, value: datetime) -> str:
    """11月22日 14:20 in Asia/Shanghai."""
    return formats.moment(value, context["now"])


@register.simple_tag(takes_context=True)
def until(context: template.Context, value: datetime) -> str:
    """The time left until a moment, rounded down: 3 天 3 小时."""
    left: timedelta = value - context["now"]
    return formats.span(left)


@register.simple_tag
def bar(part: int, whole: int, kind: str = "fill") -> SafeString:
    """A bar of what is left; `kind` is fill, fill-warn or frozen."""
    paint = format_html('fill="url(#{})"', "hatch") if kind == "frozen" else format_html('class="{}"', kind)
    width = formats.percent(part, whole)
    return format_html('<svg class="bar" aria-hidden="true"><rect {} width="{}" height="100%"/></svg>', paint, width)


@register.filter
def grouped(number: int) -> str:
    """An integer with its thousands apart: 1,234."""
    return f"{number:,}"


@register.filter
def at(values: Sequence[Any], place: int) -> Any:
    """The value at a place of a list."""
    return values[place]


@register.filter
def lookup(mapping: Mapping[str, Any], key: str) -> Any:
    """The value of a key; None where there is none."""
    return mapping.get(key)


@register.inclusion_tag("parts/field.html")
def field(bound: BoundField) -> dict[str, Any]:
    """A form field with its label, hint and errors, tied together for screen readers."""
    classes = "form-control is-invalid" if bound.errors else "form-control"
    return {"field": bound, "control": bound.as_widget(attrs={"class": classes})}


STANDING_TAGS = {
    Standing.ACTIVE: "tag-ok",
    Standing.ARREARS: "tag-danger",
    Standing.SUSPENDED: "tag-danger",
    Standing.RECLAIMED: "tag-danger",
}


@register.filter
def standing_class(standing: Standing) -> str:
    """The tag of a standing."""
    return STANDING_TAGS[standing]
