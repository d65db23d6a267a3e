"""Reading what `replay` rates again: the last settled days of accounts, and the rules of those days.

Billed quantities come from the bills, in the order in which they were settled; what a day's mode did not bill comes
from its events, and only where it is asked for. Each statement is for a range of accounts, however many there are.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Max

from accounts.models import Account
from accounts.modes import DEFAULT
from iss_billing import bulk
from iss_billing.days import LATE_DAYS, day_of, start_of
from packs.models import Item
from packs.tariff import tariffs_between
from settlement.metering import PENDING
from settlement.models import SettlementRun
from settlement.pace import settled_through
from settlement.rating import DayRules, ItemRule, Usage
from settlement.recent import RecentLine
from settlement.replay import DAYS, Held, History, Step, Window
from settlement.usage import of_few

# bills of earlier days that were settled after the window began: they drew from the packs meanwhile
_LOADED = """bill.account_id BETWEEN %(low)s AND %(high)s AND bill.day BETWEEN %(early)s AND %(last)s
    AND (bill.day >= %(first)s OR bill.settled_at >= %(start)s)"""
BILLED = f"""
SELECT bill.account_id, bill.id, bill.day, bill.billing_mode, line.item_id, line.region, line.quantity
FROM settlement_bill AS bill JOIN settlement_billline AS line ON line.bill_id = bill.id
WHERE {_LOADED} ORDER BY bill.account_id, bill.id, line.position
"""  # noqa: S608 - a constant
# of a pack given back only what was drawn before counts: it drew no more afterwards
PACKS = f"""
SELECT account_id, id, pack_type_id, units, effective_day, valid_until FROM (
    SELECT pack.*, CASE WHEN pack.refunded_at IS NULL THEN pack.remaining ELSE 0 END + coalesce(drawn.units, 0) AS units
    FROM packs_pack AS pack LEFT JOIN (
        SELECT drawdown.pack_id, sum(drawdown.quantity) AS units
        FROM settlement_bill AS bill JOIN settlement_billline AS line ON line.bill_id = bill.id
        JOIN settlement_drawdown AS drawdown ON drawdown.line_id = line.id
        WHERE {_LOADED} GROUP BY drawdown.pack_id
    ) AS drawn ON drawn.pack_id = pack.id
    WHERE pack.account_id BETWEEN %(low)s AND %(high)s AND pack.effective_day <= %(last)s
        AND NOT (pack.sku_id = ANY(%(without)s::smallint[]) AND pack.effective_day >= %(first)s
            AND pack.refunded_at IS NULL)
) AS pack WHERE units > 0 ORDER BY account_id, id
"""  # noqa: S608 - a constant
# the words that tell the mode of any day of the window
MODES = """
SELECT account_id, effective_day, mode FROM accounts_modechange
WHERE account_id BETWEEN %(low)s AND %(high)s AND effective_day <= %(last)s ORDER BY account_id, effective_day, id
"""
POSITION = f"""
SELECT (SELECT max(day) FROM settlement_bill WHERE account_id = %(account)s AND day < %(today)s),
    ARRAY(SELECT day FROM ({PENDING}) AS pending ORDER BY day),
    (SELECT json_agg(json_build_array(effective_day, mode) ORDER BY effective_day) FROM (
        SELECT DISTINCT ON (effective_day) effective_day, mode FROM accounts_modechange WHERE account_id = %(account)s
        ORDER BY effective_day, id DESC
    ) AS word),
    (SELECT json_object_agg(pack_type_id, units) FROM (
        SELECT pack_type_id, sum(remaining) AS units FROM packs_pack
        WHERE account_id = %(account)s AND remaining > 0 AND refunded_at IS NULL AND valid_until >= %(today)s
        GROUP BY pack_type_id
    ) AS held)
"""  # noqa: S608 - a constant
_OF_ACCOUNTS = """e.account_id BETWEEN %(low)s AND %(high)s AND e.item_id = ANY(wanted.items::smallint[])"""
_OF_DAY = of_few(_OF_ACCOUNTS).replace("%(day)s", "wanted.day").replace("%(start)s", "wanted.start")
METERED = f"""
SELECT rated.account_id, wanted.day, rated.item_id, rated.region, rated.quantity
FROM unnest(%(days)s::date[], %(starts)s::timestamptz[], %(items)s::text[]) AS wanted (day, start, items)
CROSS JOIN LATERAL (
    {_OF_DAY} SELECT account_id, item_id, region, quantity FROM used
    UNION ALL
    SELECT account_id, item_id, region, quantity FROM settlement_dayusage AS e
    WHERE e.day = wanted.day AND {_OF_ACCOUNTS}
) AS rated (account_id, item_id, region, quantity) WHERE rated.quantity > 0
"""  # noqa: S608 - a constant


def settled_window(now: datetime) -> Window:
    """The last 30 ended days that settlement has come to the end of, for all accounts."""
    through = SettlementRun.objects.exclude(finished_at=None).aggregate(through=Max("through_day"))["through"]
    yesterday = day_of(now) - timedelta(days=1)
    return _ending(min(yesterday, through or yesterday))


def _ending(last: date) -> Window:
    return Window(last - timedelta(days=DAYS - 1), last)


def window_rules(
    window: Window, *, through: date | None = None, items: Iterable[Item] | None = None
) -> dict[date, DayRules]:
    """The catalogue and tariff of every day that a history of the window may name, and on `through` a later day.

    `items` are all items with their pack types loaded, where they are known already.
    """
    known = Item.objects.prefetch_related("pack_types") if items is None else items
    rules: dict[int, ItemRule] = {}
    covering: dict[tuple[int, str], set[int]] = defaultdict(set)
    for item in known:
        rules[item.pk] = ItemRule(item.position, item.requires_billing_mode)
        for kind in item.pack_types.all():
            covering[item.pk, kind.region].add(kind.pk)
    frozen = {key: frozenset(types) for key, types in covering.items()}
    tariffs = tariffs_between(_early(window), through or window.last)
    return {day: DayRules(day, rules, tariff, frozen) for day, tariff in tariffs.items()}


class ModeWords:
    """The words of accounts on their billing mode: the last one for the latest day not after a day counts for it."""

    def __init__(self, rows: Iterable[tuple[int, date, str]]) -> None:
        """Of rows in the order of their days."""
        self._words: dict[int, list[tuple[date, str]]] = defaultdict(list)
        for account, day, mode in rows:
            self._words[account].append((day, mode))

    def on(self, account: int, day: date) -> str:
        """An account's mode on a day."""
        return next((mode for since, mode in reversed(self._words.get(account, ())) if since <= day), DEFAULT)


class Position(NamedTuple):
    """What is asked of one account before its history: its last 30 settled days, as `recent` has them; its mode of any
    day (tomorrow's as announced); and the units that its packs hold, by pack type.
    """

    window: Window
    modes: ModeWords
    held: dict[int, int]


def position(account_id: int, now: datetime) -> Position:
    """One account's, in one statement."""
    today = day_of(now)
    asked = {"account": account_id, "ids": bulk.array([account_id]), "today": today}
    [(latest, pending, words, held)] = _rows(POSITION, asked)
    days = [(account_id, date.fromisoformat(day), mode) for day, mode in words or ()]
    return Position(
        _ending(settled_through(today, [latest] if latest else [], pending)),
        ModeWords(days),
        {int(kind): int(units) for kind, units in (held or {}).items()},
    )


def load_history(
    account: Account,
    at: Position | Window,
    *,
    metered: Collection[Item] = (),
    packs: bool = True,
    billed: Iterable[RecentLine] | None = None,
) -> History:
    """One account's window; of `metered` items also what its modes did not bill; `packs` False reads none.

    `billed` is what bills hold of the days of the window, where that is known: each day is then one step.
    """
    window, modes = (at.window, at.modes) if isinstance(at, Position) else (at, None)
    ask = _asked(account.pk, account.pk, window)
    rows = None
    if billed is not None:
        rows = [
            (account.pk, line.day.toordinal(), line.day, "", line.item_id, line.region, line.quantity)
            for line in billed
        ]
    return _histories({account.pk: account.opened_at}, ask, window, metered, modes, packs, rows)[account.pk]


def load_histories(
    low: int, high: int, window: Window, *, metered: Collection[Item] = (), without: Collection[int] = ()
) -> dict[int, History]:
    """The windows of the accounts from `low` to `high`, both inclusive, that were opened by the end of the window.

    A few statements, however many accounts the range has. `metered` costs most: it reads events of every day.
    `without` are ids of SKUs that are taken not to have been bought in the window.
    """
    end = start_of(window.last + timedelta(days=1))
    opened = Account.objects.filter(pk__range=(low, high), opened_at__lt=end).order_by("pk")
    ask = _asked(low, high, window) | {"without": list(without)}
    return _histories(dict(opened.values_list("pk", "opened_at")), ask, window, metered, None, True)


def _histories(
    opened: dict[int, datetime],
    ask: dict[str, Any],
    window: Window,
    metered: Collection[Item],
    modes: ModeWords | None,
    with_packs: bool,
    billed: list[tuple[Any, ...]] | None = None,
) -> dict[int, History]:
    steps = _billed_steps(window, _rows(BILLED, ask) if billed is None else billed)
    if metered:
        _add_unbilled(steps, window, modes or ModeWords(_rows(MODES, ask)), metered, ask)
    packs = _packs(_rows(PACKS, ask)) if with_packs else {}
    return {
        account: History(
            account,
            window,
            _known_days(window, since),
            tuple(_in_order(steps.get(account, {}))),
            tuple(packs.get(account, ())),
        )
        for account, since in opened.items()
    }


class _Part(NamedTuple):
    """A step while it is put together."""

    day: date
    mode: str
    counted: bool
    usage: list[Usage]


def _early(window: Window) -> date:
    return window.first - timedelta(days=LATE_DAYS + 1)


def _asked(low: int, high: int, window: Window) -> dict[str, Any]:
    return {
        "low": low,
        "high": high,
        "first": window.first,
        "last": window.last,
        "early": _early(window),
        "start": start_of(window.first + timedelta(days=1)),
        "without": [],
    }


def _rows(statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def _known_days(window: Window, opened_at: datetime) -> int:
    return max((window.last - max(window.first, day_of(opened_at))).days + 1, 0)


def _billed_steps(window: Window, rows: list[tuple[Any, ...]]) -> dict[int, dict[int, _Part]]:
    """Per account the quantities of its bills, by bill id."""
    found: dict[int, dict[int, _Part]] = defaultdict(dict)
    for account, bill, day, mode, item, region, quantity in rows:
        part = found[account].get(bill)
        if part is None:
            part = found[account][bill] = _Part(day, mode, day >= window.first, [])
        part.usage.append(Usage(item, region, int(quantity), 0))
    return found


def _add_unbilled(
    steps: dict[int, dict[int, _Part]],
    window: Window,
    modes: ModeWords,
    metered: Collection[Item],
    ask: dict[str, Any],
) -> None:
    """Put beside each day's first bill what its mode did not bill; a day without one gets a step of its own."""
    bound = {item.pk: item.requires_billing_mode for item in metered if item.requires_billing_mode}
    alone = ask["low"] == ask["high"]
    wanted = {
        # one account's days are billed one way: the items of that way need not be read
        day: [item for item, mode in bound.items() if not alone or mode != modes.on(ask["low"], day)]
        for day in window.days
    }
    days = [day for day, items in wanted.items() if items]
    ask = ask | {
        "days": days,
        "starts": [start_of(day) for day in days],
        "items": ["{" + ",".join(map(str, wanted[day])) + "}" for day in days],
    }
    first_of_day: dict[tuple[int, date], _Part] = {}
    for account, bills in steps.items():
        for part in bills.values():
            first_of_day.setdefault((account, part.day), part)
    for account, day, item, region, quantity in _rows(METERED, ask) if days else ():
        mode = modes.on(account, day)
        if bound[item] == mode:
            continue
        if (account, day) not in first_of_day:
            own = steps.setdefault(account, {})
            # no bill has such an id
            first_of_day[account, day] = own[-len(own) - 1] = _Part(day, mode, True, [])
        first_of_day[account, day].usage.append(Usage(item, region, int(quantity), 0))


def _in_order(bills: dict[int, _Part]) -> list[Step]:
    """The steps in the order of settlement; a day without a bill stands before the first bill of a later day."""
    settled = [part for bill, part in bills.items() if bill > 0]
    others = sorted((part for bill, part in bills.items() if bill < 0), key=lambda part: part.day)
    found: list[_Part] = []
    for part in settled:
        while others and others[0].day < part.day:
            found.append(others.pop(0))
        found.append(part)
    return [Step(part.day, part.mode, tuple(part.usage), part.counted) for part in [*found, *others]]


def _packs(rows: list[tuple[Any, ...]]) -> dict[int, list[Held]]:
    """The packs in drawing order; neighbours that differ in nothing but their id are one."""
    found: dict[int, list[Held]] = defaultdict(list)
    for account, pack, kind, units, since, until in rows:
        held = found[account]
        last = held[-1] if held else None
        if last and (last.pack_type_id, last.effective_day, last.valid_until) == (kind, since, until):
            held[-1] = Held(last.pack_id, kind, last.units + int(units), since, until)
        else:
            held.append(Held(pack, kind, int(units), since, until))
    return found
