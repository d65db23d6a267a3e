"""What a stretch of settled days would have cost otherwise: other packs, another billing mode, other prices.

Pure. `histories.py` reads a `History`; `replay` rates it again with settlement's own `rate()`. Under what was in
force then, `replay(history, rules)` comes to exactly what the bills of the days hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from msgspec.structs import replace

from packs.drawdown import PackState
from settlement.rating import DayRules, TariffEntry, Usage, rate

DAYS = 30
"""How many days are looked back on."""


@dataclass(frozen=True, slots=True)
class Window:
    """Days from `first` to `last`, both settled."""

    first: date
    last: date
    _days: tuple[date, ...] = field(init=False, repr=False, compare=False)
    """Made once: they are asked for again with every account of a run."""

    def __post_init__(self) -> None:
        number = range((self.last - self.first).days + 1)
        object.__setattr__(self, "_days", tuple(self.first + timedelta(days=day) for day in number))

    @property
    def days(self) -> list[date]:
        """Every day, the oldest first."""
        return list(self._days)


@dataclass(frozen=True, slots=True)
class Held:
    """Units that could be drawn: a pack held (ids above 0) or one only supposed (below 0).

    Packs bought alike on one day may stand as one.
    """

    pack_id: int
    pack_type_id: int
    units: int
    effective_day: date
    valid_until: date


@dataclass(frozen=True, slots=True)
class Step:
    """What was settled at once: the quantities of one bill, and beside the day's first what its mode did not bill.

    Not `counted` is a bill of an earlier day, settled meanwhile: it drew from the packs, but is no cost of the window.
    """

    day: date
    mode: str
    usage: tuple[Usage, ...]
    counted: bool = True


@dataclass(frozen=True, slots=True)
class History:
    """An account's window in the order in which it was settled, and its packs as they were when that began.

    `known_days` are the days of the window on which there was an account. Of items that the day's mode does not bill
    it holds what was used only as far as that was asked for.
    """

    account_id: int
    window: Window
    known_days: int
    steps: tuple[Step, ...] = ()
    packs: tuple[Held, ...] = ()

    @property
    def quantities(self) -> dict[tuple[date, int, str], int]:
        """What was used, in base units, by (day, item, region)."""
        found: dict[tuple[date, int, str], int] = {}
        for step in self.steps:
            for entry in step.usage if step.counted else ():
                key = step.day, entry.item_id, entry.region
                found[key] = found.get(key, 0) + entry.quantity
        return found


@dataclass(frozen=True, slots=True)
class ItemCost:
    """An item over the window: quantity = drawn + charged in base units, amount in micro-yuan."""

    quantity: int = 0
    drawn: int = 0
    charged: int = 0
    amount: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What it would have cost, in micro-yuan: pay-as-you-go charges only, no price of any pack.

    `days` has every day of the window and `items` every item that made a line, `amounts` what each came to on each
    day; `left` are the units left of each pack.
    """

    total: int
    days: Mapping[date, int]
    items: Mapping[int, ItemCost]
    amounts: Mapping[tuple[date, int], int]
    left: Mapping[int, int]


def replay(
    history: History, rules: Mapping[date, DayRules], *, mode: str | None = None, packs: Sequence[Held] | None = None
) -> Outcome:
    """Rate the window again, with another `mode` on all its days or other `packs` where they are given.

    `rules` are those of the days of the steps. Raises KeyError where an item has no tariff in them.
    """
    held = [
        PackState(pack.pack_id, pack.pack_type_id, pack.units, pack.units, 0, 0, pack.effective_day, pack.valid_until)
        for pack in (history.packs if packs is None else packs)
    ]
    days = dict.fromkeys(history.window.days, 0)
    items: dict[int, ItemCost] = {}
    amounts: dict[tuple[date, int], int] = {}
    for step in history.steps:
        in_mode = mode if mode and step.counted else step.mode
        statement = rate(step.usage, rules=rules[step.day], mode=in_mode, packs=held, carry=0)
        if statement is None or not step.counted:
            continue
        days[step.day] += statement.rated_total
        for line in statement.lines:
            cell = step.day, line.item_id
            amounts[cell] = amounts.get(cell, 0) + line.amount
            so_far = items.get(line.item_id, ItemCost())
            items[line.item_id] = ItemCost(
                so_far.quantity + line.quantity,
                so_far.drawn + line.drawn,
                so_far.charged + line.charged,
                so_far.amount + line.amount,
            )
    return Outcome(sum(days.values()), days, items, amounts, {state.pack_id: state.remaining for state in held})


def also_held(history: History, supposed: Sequence[Held]) -> tuple[Held, ...]:
    """The account's packs and supposed ones beside them, in drawing order: after those bought by the same day."""
    return tuple(sorted([*history.packs, *supposed], key=lambda pack: pack.effective_day))


def with_tariff(rules: Mapping[date, DayRules], changed: Mapping[tuple[int, str], TariffEntry]) -> dict[date, DayRules]:
    """The rules with some prices replaced on every day, by (item id, region)."""
    known: dict[int, dict[tuple[int, str], TariffEntry]] = {}
    found = {}
    for day, rule in rules.items():
        # days share their tariff until it changes
        tariff = known.setdefault(id(rule.tariff), {**rule.tariff, **changed})
        found[day] = replace(rule, tariff=tariff)
    return found
