"""How figures are written for people, in the active language: money, quantities, prices, days, times.

Pure but for the language: integers and moments in, text out. A `Figure` keeps the parts apart that a page sets in
different weights; `str()` of it is the plain text.
"""

from datetime import date, datetime, timedelta
from typing import NamedTuple

from django.utils.translation import get_language, npgettext, pgettext

from iss_billing.days import SHANGHAI, day_of
from iss_billing.money import FEN_PER_YUAN, MICRO_PER_YUAN, round_half_up

MINUS = "−"
CALL, BYTE, BIT_PER_SECOND, CHANNEL, SECOND = "call", "byte", "bit/s", "channel", "second"
GB, TB, MBPS = 10**9, 10**12, 10**6
WAN = 10**4
"""万, the Chinese ten thousand."""


class Figure(NamedTuple):
    """A figure in its parts: its weightier digits, its lesser ones, and the unit before or after it."""

    main: str
    dim: str = ""
    unit: str = ""
    unit_first: bool = False

    def __str__(self) -> str:
        digits = self.main + self.dim
        parts = (self.unit, digits) if self.unit_first else (digits, self.unit)
        return " ".join(part for part in parts if part)


def chinese() -> bool:
    """Whether the active language writes units and dates the Chinese way."""
    return not (get_language() or "zh-hans").startswith("en")


def gap() -> str:
    """What stands between two sentences: a space, in Chinese nothing."""
    return "" if chinese() else " "


def _decimal(value: int, scale: int) -> tuple[str, str]:
    """Grouped digits before the point, and the point with all digits of `scale` (a power of ten) after it."""
    whole, rest = divmod(abs(value), scale)
    places = len(str(scale)) - 1
    return f"{MINUS if value < 0 else ''}{whole:,}", f".{rest:0{places}d}" if places else ""


def _yuan(main: str, dim: str = "") -> Figure:
    return Figure(main, dim, "元") if chinese() else Figure(main, dim, "CNY", unit_first=True)


def money(fen: int, *, signed: bool = False) -> Figure:
    """An amount on the ledger: two places, the fen as lesser digits; `signed` marks money in with a plus."""
    whole, rest = _decimal(fen, FEN_PER_YUAN)
    return _yuan(("+" if signed and fen > 0 else "") + whole, rest)


def exact_money(micro: int) -> Figure:
    """The amount of a line: six places, those past the fen as lesser digits; 0.00 when there is none."""
    if micro == 0:
        return _yuan("0.00")
    whole, rest = _decimal(micro, MICRO_PER_YUAN)
    return _yuan(whole + rest[:3], rest[3:])


def about_a_day(micro: int) -> Figure:
    """An estimated cost: about 43 CNY a day, whole from 10 on; never under 0.01 while there is one."""
    fen = max(round_half_up(micro, MICRO_PER_YUAN // FEN_PER_YUAN), 1 if micro > 0 else 0)
    whole, rest = _decimal(fen, FEN_PER_YUAN)
    digits = whole + rest if fen < 10 * FEN_PER_YUAN else f"{round_half_up(micro, MICRO_PER_YUAN):,}"
    return Figure(f"约 {digits}", "", "元/天") if chinese() else Figure(f"about CNY {digits}", "", "a day")


def list_price(fen: int) -> Figure:
    """A price in the catalogue: without “.00”."""
    whole, rest = _decimal(fen, FEN_PER_YUAN)
    return _yuan(whole if rest == ".00" else whole + rest)


def short_money(fen: int) -> Figure:
    """An amount where there is no room for it: 232, 1.2 万, 12.3k; the unit of money is said beside it."""
    yuan = round_half_up(fen, FEN_PER_YUAN)
    if abs(yuan) < WAN:
        return Figure(f"{MINUS if yuan < 0 else ''}{abs(yuan)}")
    scale, unit = (WAN, "万") if chinese() else (1000, "k")
    whole, rest = _decimal(round_half_up(10 * fen, scale * FEN_PER_YUAN), 10)
    return Figure(whole + rest, "", unit)


def _trimmed(value: int, scale: int) -> str:
    whole, rest = _decimal(value, scale)
    return (whole + rest).rstrip("0").rstrip(".") if rest else whole


def per_text(unit: str, per: int) -> str:
    """What a price is for: 千次, GB, Mbps, 路, 分钟."""
    known = {
        (CALL, 1000): pgettext("price per", "1,000 calls"),
        (CALL, 1): pgettext("price per", "call"),
        (BYTE, GB): "GB",
        (BYTE, TB): "TB",
        (BIT_PER_SECOND, MBPS): "Mbps",
        (CHANNEL, 1): pgettext("price per", "channel"),
        (SECOND, 60): pgettext("price per", "minute"),
        (SECOND, 1): pgettext("price per", "second"),
        (SECOND, 3600): pgettext("price per", "hour"),
    }
    return known.get((unit, per)) or f"{per:,} {unit_text(unit, per)}"


def unit_text(unit: str, number: int) -> str:
    """The name of a base unit beside a number."""
    return {
        CALL: npgettext("unit", "call", "calls", number),
        BYTE: npgettext("unit", "byte", "bytes", number),
        BIT_PER_SECOND: "bit/s",
        CHANNEL: npgettext("unit", "channel", "channels", number),
        SECOND: npgettext("unit", "second", "seconds", number),
    }.get(unit, unit)


def unit_price(micro: int, per: int, unit: str) -> Figure:
    """A tariff price: 3 元/千次, 0.5 元/GB."""
    digits = _trimmed(micro, MICRO_PER_YUAN)
    if chinese():
        return Figure(digits, "", f"元/{per_text(unit, per)}")
    return Figure(f"CNY {digits}", "", f"/ {per_text(unit, per)}")


def quantity(number: int, unit: str) -> Figure:
    """What a bill states: whole calls, channels, seconds; GB and Mbps to six places, past two as lesser digits."""
    if unit not in (BYTE, BIT_PER_SECOND):
        return Figure(f"{number:,}", "", unit_text(unit, number))
    scale, name = (GB, "GB") if unit == BYTE else (MBPS, "Mbps")
    whole, rest = _decimal(round_half_up(number * 10**6, scale), 10**6)
    return Figure(whole + rest[:3], rest[3:], name)


def remaining(number: int, unit: str) -> Figure:
    """What is left, rounded down: 7.37 万次, 107.3 万次, 3.74 TB."""
    return _short(number, unit, half_up=False)


def used(number: int, unit: str) -> Figure:
    """What was used, rounded half-up: 7.38 万次, 312.40 GB."""
    return _short(number, unit, half_up=True)


def _short(number: int, unit: str, *, half_up: bool) -> Figure:
    def scaled(scale: int, places: int) -> str:
        numerator = number * 10**places
        value = round_half_up(numerator, scale) if half_up else numerator // scale
        whole, rest = _decimal(value, 10**places)
        return whole + rest

    if unit == BYTE:
        return Figure(scaled(TB, 2), "", "TB") if number >= TB else Figure(scaled(GB, 2), "", "GB")
    if unit == BIT_PER_SECOND:
        return Figure(scaled(MBPS, 2), "", "Mbps")
    if unit == CALL and number >= WAN and chinese():
        places = 2 if number < 100 * WAN else 1
        digits = scaled(WAN, places)
        return Figure(digits.removesuffix(".00").removesuffix(".0"), "", "万次")
    return Figure(f"{number:,}", "", unit_text(unit, number))


def size(number: int, unit: str) -> Figure:
    """The size of a pack as its name: 10 万次, 1000 万次, 500 GB, 1,000,000 calls."""
    if unit == BYTE:
        scale, name = (TB, "TB") if number % TB == 0 else (GB, "GB")
        return Figure(_trimmed(round_half_up(number * 10**6, scale), 10**6).replace(",", ""), "", name)
    if unit == CALL and chinese() and number % WAN == 0:
        return Figure(str(number // WAN), "", "万次")
    return Figure(f"{number:,}", "", unit_text(unit, number))


def percent(part: int, whole: int) -> str:
    """A share as the length of a bar: "61.2%"; never under 1% while there is something."""
    if part <= 0 or whole <= 0:
        return "0%"
    permille = max(10, min(1000, part * 1000 // whole))
    return f"{permille // 10}.{permille % 10}%"


# ── days and times ───────────────────────────────────────────────────────────────────────────────────

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WEEKDAYS_ZH = "一二三四五六日"
_WEEKDAYS_EN = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def day(value: date, today: date | None = None) -> str:
    """A day: 11月18日, with its year unless it is this one."""
    other_year = today is None or value.year != today.year
    if chinese():
        return (f"{value.year}年" if other_year else "") + f"{value.month}月{value.day}日"
    return f"{value.day} {_MONTHS[value.month - 1]}" + (f" {value.year}" if other_year else "")


def weekday(value: date) -> str:
    """A day of the week: 周三, Wed."""
    return f"周{_WEEKDAYS_ZH[value.weekday()]}" if chinese() else _WEEKDAYS_EN[value.weekday()]


def day_and_weekday(value: date, today: date | None = None) -> str:
    """A day with its weekday: 11月18日 周三, Wed 18 Nov."""
    parts = day(value, today), weekday(value)
    return " ".join(parts if chinese() else reversed(parts))


class Coming(NamedTuple):
    """A day to come in the words that fit its distance, and the same more exactly below."""

    main: str
    under: str


SOON, FAR, FARTHEST = 7, 90, 730
"""Days from which a coming day is told by its distance, and from which that is told in months and in years."""


def coming(value: date, today: date) -> Coming:
    """A day to come: 周五, 下周二 within 7 days; then 约 26 天后; later 约 5 个月后, 约 3 年后 and the month."""
    days = (value - today).days
    if days >= FARTHEST:
        years = days // 365
        words = npgettext("coming", "in about %(number)s year", "in about %(number)s years", years)
        return Coming(words % {"number": years}, month(value))
    if days >= FAR:
        months = days // 30
        words = npgettext("coming", "in about %(number)s month", "in about %(number)s months", months)
        return Coming(words % {"number": months}, month(value))
    if days >= SOON:
        words = npgettext("coming", "in about %(number)s day", "in about %(number)s days", days)
        return Coming(words % {"number": days}, day(value, today))
    if days <= 0:
        return Coming(pgettext("coming", "today"), day(value, today))
    same_week = value.isocalendar()[:2] == today.isocalendar()[:2]
    words = "%(weekday)s" if same_week else pgettext("coming", "next %(weekday)s")
    return Coming(words % {"weekday": weekday(value)}, day(value, today))


def month(value: date) -> str:
    """A month: 2026 年 11 月, Nov 2026."""
    return f"{value.year} 年 {value.month} 月" if chinese() else f"{_MONTHS[value.month - 1]} {value.year}"


def short_month(value: date) -> str:
    """A month of this year: 11 月, Nov."""
    return f"{value.month} 月" if chinese() else _MONTHS[value.month - 1]


def moment(value: datetime, now: datetime) -> str:
    """A moment in Asia/Shanghai to the minute: 11月22日 14:20."""
    local = value.astimezone(SHANGHAI)
    return f"{day(local.date(), day_of(now))} {local:%H:%M}"


def span(value: timedelta) -> str:
    """A time that is left, rounded down: 3 天 3 小时, 15 小时 30 分."""
    minutes = max(0, value // timedelta(minutes=1))
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{_days(days)} {_hours(hours)}"
    return f"{_hours(hours)} {_minutes(minutes % 60)}"


def _days(number: int) -> str:
    return npgettext("duration", "%(number)s day", "%(number)s days", number) % {"number": number}


def _hours(number: int) -> str:
    return npgettext("duration", "%(number)s hour", "%(number)s hours", number) % {"number": number}


def _minutes(number: int) -> str:
    return npgettext("duration", "%(number)s minute", "%(number)s minutes", number) % {"number": number}
