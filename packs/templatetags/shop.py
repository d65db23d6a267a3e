"""What the pages of buying say of quantities and of ways to buy."""

from django import template
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from accounts.templatetags.console import figure
from iss_billing import formats
from iss_billing.money import MICRO_PER_FEN, round_half_up
from packs.advisor import Bought, Demand, Way, worth

register = template.Library()


@register.simple_tag
def used(number: int, unit: str) -> SafeString:
    """What was used, rounded half-up."""
    return figure(formats.used(number, unit))


@register.simple_tag
def plain_used(number: int, unit: str) -> str:
    """What was used, as words."""
    return str(formats.used(number, unit))


@register.simple_tag
def plain_quantity(number: int, unit: str) -> str:
    """A quantity as bills state it, as words; bytes and bits without zeros at the end."""
    found = formats.quantity(number, unit)
    digits = found.main + found.dim
    return f"{digits.rstrip('0').rstrip('.') if '.' in digits else digits} {found.unit}"


@register.simple_tag
def plain_unit_price(micro: int, per: int, unit: str) -> str:
    """A tariff price as words: 3 元/千次."""
    return str(formats.unit_price(micro, per, unit))


@register.simple_tag
def packs_of_size(bought: Bought, unit: str) -> str:
    """1 个 100 万次包, 2 packs of 1,000,000 calls."""
    words = {"number": bought.number, "size": formats.size(bought.size.quantity, unit)}
    return ngettext("%(number)s pack of %(size)s", "%(number)s packs of %(size)s", bought.number) % words


@register.simple_tag
def way_to_buy(way: Way, unit: str) -> str:
    """The packs of a way to buy, as words."""
    return " + ".join(packs_of_size(bought, unit) for bought in way.packs)


@register.filter
def advised(way: Way) -> str:
    """The packs of a way to buy as the cart's form takes them."""
    return " ".join(f"{bought.size.code}:{bought.number}" for bought in way.packs)


@register.filter
def price_of(bought: Bought) -> int:
    """Fen for all of them."""
    return bought.number * bought.size.price


@register.filter(name="worth")
def worth_of(part: Demand) -> int:
    """Fen of a rest."""
    return worth(part)


@register.filter
def against(way: Way, nothing: Way) -> SafeString | str:
    """What a way costs more (+) or less (−) than no packs; the same in a word."""
    difference = way.total - nothing.total
    return figure(formats.money(difference, signed=True)) if difference else gettext("the same")


@register.filter
def positive(fen: int) -> int:
    """An amount without its sign."""
    return abs(fen)


@register.filter
def fen(micro: int) -> int:
    """Micro-yuan as fen, half-up."""
    return round_half_up(micro, MICRO_PER_FEN)
