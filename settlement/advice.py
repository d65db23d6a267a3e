"""Which packs an account should buy, if any: its last 30 settled days, at today's prices, put to the advisor.

Held packs count: where they last a week or more nothing is urged. What is frozen in the account's mode is not advised.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from accounts.models import Account
from iss_billing.days import day_of, next_day
from iss_billing.money import round_half_up
from packs.advisor import Demand, Size, Way, break_even, least, pay_as_you_go, saves, stretched, with_only
from packs.models import Item, PackType
from packs.offers import Shelf, on_sale, types_that_save
from settlement.histories import Position, load_history, position
from settlement.pace import per_day
from settlement.recent import RecentLine
from settlement.replay import DAYS, History, Window

HORIZONS = (30, 90, 180, 365)
"""Days to look ahead; 30 are the last 30 as they were, the others stretch their pace."""
ENOUGH_DAYS = 7
"""Settled days that must be known before anything is advised, and for which held packs must last to be enough."""
LEAST_TOLD, LEAST_TOLD_PERCENT = 50_00, 5
"""What must be saved in 30 days for the overview to speak of it: fen, and of the cost without packs."""


class Verdict(StrEnum):
    """What is advised for a pack type."""

    BUY = "buy"
    HELD = "held"
    """What is held is enough for now."""
    TOO_LITTLE = "too_little"
    """Not enough is used for a size that saves."""
    SAME_PRICE = "same_price"
    """No size costs less than pay-as-you-go."""


@dataclass(frozen=True, slots=True)
class TypeAdvice:
    """A pack type: what was used of it in the horizon (base units), without packs, at best, and in other ways."""

    pack_type: PackType
    verdict: Verdict
    used: int
    nothing: Way
    best: Way
    others: tuple[Way, ...]
    lasts: int
    """Days for which the best packs last at this pace; 0 without any."""
    held: int
    """Base units held."""
    held_days: int | None
    """Days for which they last at the pace of the last 7 settled days; None where that cannot be said."""
    pays_from: tuple[int, Size] | None
    """From how many base units on which size saves, where one price covers all."""

    @property
    def saves(self) -> int:
        """Fen that the best way costs less than no packs."""
        return self.nothing.total - self.best.total

    @property
    def worth_telling(self) -> bool:
        """Whether it saves enough to be told unasked."""
        if self.verdict != Verdict.BUY or self.saves < LEAST_TOLD:
            return False
        return self.saves * 100 >= self.nothing.total * LEAST_TOLD_PERCENT


@dataclass(frozen=True, slots=True)
class Advice:
    """For all pack types that were used: what to buy, the most saving first; then what need not be bought."""

    window: Window
    known_days: int
    horizon: int
    types: tuple[TypeAdvice, ...]

    @property
    def enough(self) -> bool:
        """Whether enough days are known to advise anything."""
        return self.known_days >= ENOUGH_DAYS

    @property
    def as_it_was(self) -> bool:
        """Whether the days are taken as they were; otherwise their pace is stretched."""
        return self.horizon == DAYS

    @property
    def to_buy(self) -> list[TypeAdvice]:
        """The types of which packs are advised."""
        return [kind for kind in self.types if kind.verdict == Verdict.BUY] if self.enough else []

    @property
    def not_to_buy(self) -> list[TypeAdvice]:
        """The others."""
        return [kind for kind in self.types if kind.verdict != Verdict.BUY]


def advice_for(account: Account, now: datetime, *, horizon: int = DAYS, shelf: Shelf | None = None) -> Advice:
    """An account's advice at `now`."""
    return advise(account, position(account.pk, now), shelf or on_sale(now), now, horizon=horizon)


def advise(
    account: Account,
    at: Position,
    shelf: Shelf,
    now: datetime,
    *,
    horizon: int = DAYS,
    billed: Iterable[RecentLine] | None = None,
) -> Advice:
    """As `advice_for`, of what a page has read already; a statement, or two: one less where it has what was `billed`.

    What a day's mode did not bill is read only for types that can save anything.
    """
    mode = at.modes.on(account.pk, next_day(day_of(now)))
    types = [kind for kind in shelf.types if kind.requires_billing_mode in (None, mode)]
    bound_types = [kind for kind in types if kind.requires_billing_mode]
    saving = types_that_save(shelf) if bound_types else set()
    bound = [item for kind in bound_types if kind.pk in saving for item in kind.covers.all()]
    metered = [item for item in bound if item.requires_billing_mode]
    history = load_history(account, at, metered=metered, packs=False, billed=billed)
    return weigh(history, shelf, types, at.held, horizon)


def weigh(history: History, shelf: Shelf, types: Sequence[PackType], held: Mapping[int, int], horizon: int) -> Advice:
    """The advice for `types` of what was used, what is sold, and the base units `held` by pack type."""
    quantities = history.quantities
    found = [_weigh(history, quantities, kind, shelf, held.get(kind.pk, 0), horizon) for kind in types]
    order = list(Verdict)
    known = sorted(
        (one for one in found if one), key=lambda one: (order.index(one.verdict), -one.saves, -one.nothing.total)
    )
    return Advice(history.window, history.known_days, horizon, tuple(known))


def _weigh(
    history: History,
    quantities: Mapping[tuple[date, int, str], int],
    kind: PackType,
    shelf: Shelf,
    held: int,
    horizon: int,
) -> TypeAdvice | None:
    """One type; None where nothing was used of what it covers."""
    items = {item.pk: item for item in kind.covers.all()}
    covered = {
        key: quantity
        for key, quantity in quantities.items()
        if key[1] in items and key[2] == kind.region and (key[1], key[2]) in shelf.tariff
    }
    as_it_was = _in_drawing_order(covered, items, shelf)
    used = sum(part.quantity for part in as_it_was)
    if not used:
        return None
    days = history.known_days
    demand = as_it_was if horizon == DAYS else stretched(as_it_was, horizon, days)
    sizes = [Size(sku.code, sku.quantity, shelf.prices[sku.pk]) for sku in shelf.skus[kind.pk]]
    best, nothing = least(demand, sizes), pay_as_you_go(demand)
    held_days = _lasts(covered, held, history.window.last)
    pays_from = _pays_from(demand, sizes)
    if held and (held_days is None or held_days >= ENOUGH_DAYS):
        verdict = Verdict.HELD
    elif nothing.total > best.total:
        verdict = Verdict.BUY
    else:
        verdict = Verdict.TOO_LITTLE if _any_saves(demand, sizes) else Verdict.SAME_PRICE
    return TypeAdvice(
        pack_type=kind,
        verdict=verdict,
        used=sum(part.quantity for part in demand),
        nothing=nothing,
        best=best,
        others=tuple(with_only(demand, size) for size in sizes),
        lasts=round_half_up(best.units * days, used),
        held=held,
        held_days=held_days,
        pays_from=pays_from,
    )


def _in_drawing_order(
    covered: Mapping[tuple[date, int, str], int], items: Mapping[int, Item], shelf: Shelf
) -> list[Demand]:
    """What was used, day by day and in each by the order of items, at today's tariff; neighbours of one price added."""
    found: list[Demand] = []
    for (_day, item, region), quantity in sorted(
        covered.items(), key=lambda entry: (entry[0][0], items[entry[0][1]].position)
    ):
        tariff = shelf.tariff[item, region]
        last = found[-1] if found else None
        if last and (last.price, last.per) == (tariff.price, tariff.per):
            found[-1] = Demand(last.quantity + quantity, tariff.price, tariff.per)
        else:
            found.append(Demand(quantity, tariff.price, tariff.per))
    return found


def _lasts(covered: Mapping[tuple[date, int, str], int], held: int, last: date) -> int | None:
    """Whole days for which `held` units last at the pace of late."""
    daily: dict[date, int] = {}
    for (day, _item, _region), quantity in covered.items():
        daily[day] = daily.get(day, 0) + quantity
    pace = per_day(daily, last)
    return held // pace if pace else None


def _any_saves(demand: Sequence[Demand], sizes: Sequence[Size]) -> bool:
    """Whether a size would save, were enough used at the dearest of the prices."""
    return any(saves(part.price, part.per, size) for part in demand for size in sizes)


def _pays_from(demand: Sequence[Demand], sizes: Sequence[Size]) -> tuple[int, Size] | None:
    """Where all is of one price: the fewest units for which a size that saves costs no more than they do."""
    prices = {(part.price, part.per) for part in demand}
    if len(prices) != 1:
        return None
    [(price, per)] = prices
    saving = [(break_even(price, per, size), size) for size in sizes if saves(price, per, size)]
    return min(saving, key=lambda one: one[0], default=None)
