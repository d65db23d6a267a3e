"""What an account holds and pays, looked at forwards: when packs and balance are at their end, and the one next thing.

Made of what was read already (`recent.py`, the packs and tariff that the estimate read, the advisor's advice): no
database, no clock.
"""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import NamedTuple

from packs.drawdown import PackState
from packs.models import PackType
from packs.tariff import Price
from settlement.advice import Advice, TypeAdvice
from settlement.pace import WINDOW, lasts_until, runs_out
from settlement.recent import Key, Recent, keys_of

LOW_DAYS = 7
"""Days to empty from which a pack type is low."""
SHORT_DAYS = 3
"""Days below which the balance is short."""
TOP_UP_DAYS = 10
"""Days that a suggested top-up lasts."""
TOP_UP_STEP = 100_00
"""Fen that a suggested top-up is rounded up to."""


class HeldType(NamedTuple):
    """The packs of one type that still have units."""

    pack_type: PackType
    number: int
    remaining: int
    total: int
    frozen: bool
    empty_on: date | None
    """None where frozen, and where too little is used to say."""
    days: int | None
    cost_after: int
    """Micro-yuan a day pay-as-you-go at the present pace; 0 where it is not known."""
    unused: bool
    """Nothing was used of it in the last 7 settled days, though other things were."""

    @property
    def low(self) -> bool:
        """Whether it is empty in a week or less."""
        return self.days is not None and self.days <= LOW_DAYS


def held_types(
    packs: Iterable[PackState],
    types: Mapping[int, PackType],
    *,
    today: date,
    mode: str,
    lately: Recent,
    tariff: Mapping[Key, Price],
) -> list[HeldType]:
    """What can be drawn from, by urgency: what is empty soonest first, then what nobody can say of, frozen last."""
    by_type: dict[int, list[PackState]] = {}
    for pack in packs:
        if pack.remaining and pack.valid_until >= today:
            by_type.setdefault(pack.pack_type_id, []).append(pack)
    found = [
        _held(kind, by_type[kind.pk], today, mode, lately, tariff) for kind in types.values() if kind.pk in by_type
    ]
    return sorted(found, key=lambda held: (held.frozen, held.empty_on or date.max))


def _held(
    kind: PackType, packs: list[PackState], today: date, mode: str, lately: Recent, tariff: Mapping[Key, Price]
) -> HeldType:
    remaining, total = sum(pack.remaining for pack in packs), sum(pack.total for pack in packs)
    frozen = kind.requires_billing_mode not in (None, mode)
    if frozen:
        return HeldType(kind, len(packs), remaining, total, True, None, None, 0, False)
    keys = keys_of(kind, [item.pk for item in kind.covers.all()])
    empty_on = runs_out(remaining, lately.use_per_day(keys), lately.last)
    if empty_on:
        empty_on = max(empty_on, today)  # a night may be behind
    week = lately.last - timedelta(days=WINDOW)
    known = lately.due_per_day() is not None
    unused = known and not any((line.item_id, line.region) in keys and line.day > week for line in lately.lines)
    prices = {key: (price.price, price.per) for key, price in tariff.items()}
    return HeldType(
        kind,
        len(packs),
        remaining,
        total,
        False,
        empty_on,
        (empty_on - today).days if empty_on else None,
        lately.cost_per_day(keys, prices),
        unused,
    )


class BalanceOutlook(NamedTuple):
    """How long the balance lasts at the present pace."""

    known: bool
    """Whether there were enough days of use to say."""
    until: date | None
    """The last day without a debt; None where nothing is paid, or nothing can be said."""
    days: int | None
    per_day: int
    """Fen, rounded up."""
    top_up: int | None
    """Fen that make up for a debt and last 10 days more; None where the pace is not known."""

    @property
    def short(self) -> bool:
        """Whether it lasts less than 3 days."""
        return self.days is not None and self.days < SHORT_DAYS


def balance_outlook(balance: int, lately: Recent, today: date) -> BalanceOutlook:
    """The outlook of a balance in fen, as the last settlement left it."""
    pace = lately.due_per_day()
    if pace is None:
        return BalanceOutlook(False, None, None, 0, None)
    until = lasts_until(balance, pace, lately.last)
    per_day = -(-pace.numerator // pace.denominator)
    needed = max(-balance, 0) + TOP_UP_DAYS * per_day
    steps = -(-needed // TOP_UP_STEP)
    days = max((until - today).days, 0) if until else None
    return BalanceOutlook(True, until, days, per_day, steps * TOP_UP_STEP or None)


class NextThing(NamedTuple):
    """The one thing to do next: `kind` is balance, empties or saves."""

    kind: str
    held: HeldType | None = None
    advice: TypeAdvice | None = None


def next_thing(balance: BalanceOutlook, held: Iterable[HeldType], advice: Advice | None) -> NextThing | None:
    """The first that holds, for an account that is not in arrears: a balance short of 3 days; a pack type, of which
    buying saves money, empty within 7 days; a pack that would have saved enough to speak of; nothing.
    """
    if balance.short:
        return NextThing("balance")
    if advice is None or not advice.enough:
        return None
    saving = {one.pack_type.pk: one for one in advice.types if one.best.packs and one.saves > 0}
    for one in held:
        if one.low and not one.frozen and one.pack_type.pk in saving:
            return NextThing("empties", one, saving[one.pack_type.pk])
    worth = next((one for one in advice.types if one.worth_telling), None)
    return NextThing("saves", advice=worth) if worth else None
