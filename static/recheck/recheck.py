#!/usr/bin/env python3
"""Recomputes a bill of ISS Billing, offline, from the recheck file that is downloaded beside it.

    python3 recheck.py FILE [--lang zh|en]

Python 3.8 or later and nothing else: one file, no network, nothing written. It takes no computed number of the file as
given: quantities come from the usage reports, lines from quantities, packs and prices, the amount due from lines and
carry, and each is compared with what the bill claims. All bills of the day are recomputed, for usage that is reported
late is billed as the difference to the earlier bills of its day.

Exit code: 0 right to the fen; 1 something differs, and each difference is named; 2 not a recheck file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from datetime import date, datetime, timedelta, timezone
from itertools import groupby
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

FORMAT = "iss-billing-recheck-1"
SHANGHAI = timezone(timedelta(hours=8))
SLOTS, SLOT_SECONDS = 288, 300
MICRO_PER_FEN = 10_000
MOST_PER_EVENT = 10**15
SUM, PEAK, MEAN, DISTINCT = "sum", "peak", "mean", "distinct"
MODES = ("bandwidth", "traffic")
COLUMNS = ["source", "id", "item", "region", "resource", "quantity", "time", "received"]

Pair = Tuple[str, str]
"""An item and a region: what a line is about."""


class Unreadable(Exception):
    """The file is none of ours, or a value in it is impossible."""


# ── reading: every value is what it should be, or the file is refused with the place ─────────────────────────────────


def members(value: Any, where: str, *names: str) -> List[Any]:
    """The values of an object that has exactly these members."""
    if not isinstance(value, dict):
        raise Unreadable(f"{where}: not an object")
    for name in names:
        if name not in value:
            raise Unreadable(f"{where}.{name}: missing")
    for name in value:
        if name not in names:
            raise Unreadable(f"{where}.{name}: unknown member")
    return [value[name] for name in names]


def rows(value: Any, where: str) -> Iterator[Tuple[str, Any]]:
    """The elements of a list, each with its place."""
    if not isinstance(value, list):
        raise Unreadable(f"{where}: not a list")
    return ((f"{where}[{place}]", element) for place, element in enumerate(value))


def text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"{where}: not a text")
    return value


def one_of(value: Any, where: str, *allowed: Optional[str]) -> Any:
    if value not in allowed or isinstance(value, bool):
        raise Unreadable(f"{where}: {value!r} is none of {', '.join(map(str, allowed))}")
    return value


def whole(value: Any, where: str, least: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise Unreadable(f"{where}: {value!r} is not a whole number from {least}")
    return value


def number(value: Any, where: str) -> int:
    """An id: digits in a text."""
    if not isinstance(value, str) or not re.fullmatch("[0-9]{1,19}", value):
        raise Unreadable(f"{where}: {value!r} is not an id")
    return int(value)


def money(value: Any, where: str, places: int) -> int:
    """CNY with exactly so many decimals, as an integer of 10^-places."""
    amount, currency = members(value, where, "amount", "currency")
    one_of(currency, f"{where}.currency", "CNY")
    if not isinstance(amount, str) or not re.fullmatch(r"-?[0-9]+\.[0-9]{%d}" % places, amount):
        raise Unreadable(f"{where}.amount: {amount!r} is not an amount with {places} decimals")
    return int(amount.replace(".", ""))


def day_of(value: Any, where: str) -> date:
    try:
        if len(text(value, where)) != 10:
            raise ValueError
        return date.fromisoformat(value)
    except ValueError:
        raise Unreadable(f"{where}: {value!r} is not a day") from None


def moment(value: Any, where: str) -> datetime:
    try:
        at = datetime.fromisoformat(text(value, where))
        if at.tzinfo is None:
            raise ValueError
        return at.astimezone(SHANGHAI)
    except (ValueError, OverflowError):
        raise Unreadable(f"{where}: {value!r} is not a time with an offset") from None


def decimal(value: int, places: int) -> str:
    """An integer of 10^-places as people write it."""
    digits = str(abs(value)).rjust(places + 1, "0")
    return ("-" if value < 0 else "") + digits[:-places] + "." + digits[-places:]


def no_float(value: str) -> Any:
    raise Unreadable(f"{value}: no number in a recheck file has a point; money is text")


def once(found: List[Tuple[str, Any]]) -> Dict[str, Any]:
    """An object whose members are there once: of two the reader could only guess which one counts."""
    made = dict(found)
    if len(made) < len(found):
        raise Unreadable("an object has a member twice: " + ", ".join(sorted(name for name, _ in found)))
    return made


def digest(member: Any) -> str:
    """SHA-256 of a member, whatever its layout: without spaces, names sorted, UTF-8."""
    plain = json.dumps(member, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


# ── what the file holds ──────────────────────────────────────────────────────────────────────────────────────────────


class Item(NamedTuple):
    position: int
    aggregation: str
    mode: Optional[str]


class Pack(NamedTuple):
    pack_id: int
    kind: str
    total: int


class Held(NamedTuple):
    """A pack when one bill was written: what earlier bills had drawn, and what was left before and after."""

    drawn_before: int
    before: int
    after: int


class Line(NamedTuple):
    quantity: int
    drawn: int
    charged: int
    price: int
    per: int
    amount: int
    draws: List[Tuple[int, int, int]]
    """Pack, quantity, and what the pack had left after."""


class Sums(NamedTuple):
    bill_id: int
    day: date
    sequence: int
    rated_total: int
    carry_in: int
    due: int
    carry_out: int
    settled_at: datetime


class Bill(NamedTuple):
    sums: Sums
    mode: str
    lines: Dict[Pair, Line]
    previous: Optional[Sums]
    balance_before: int
    balance_after: int
    transfer: Optional[Tuple[int, int]]
    """Of the ledger: its amount, and the balance after it."""
    packs: Dict[int, Held]

    @property
    def name(self) -> str:
        return f"bill {self.sums.bill_id}"


SUMS = ("bill_id", "day", "sequence", "rated_total", "carry_in", "amount_due", "carry_out", "settled_at")


def read_sums(value: Dict[str, Any], where: str) -> Sums:
    id_, day, sequence, total, carry_in, due, carry_out, settled = members(value, where, *SUMS)
    return Sums(
        number(id_, f"{where}.bill_id"),
        day_of(day, f"{where}.day"),
        whole(sequence, f"{where}.sequence", 1),
        money(total, f"{where}.rated_total", 6),
        money(carry_in, f"{where}.carry_in", 6),
        money(due, f"{where}.amount_due", 2),
        money(carry_out, f"{where}.carry_out", 6),
        moment(settled, f"{where}.settled_at"),
    )


def read_line(value: Any, where: str) -> Tuple[Pair, Line]:
    names = ("item", "region", "quantity", "drawn", "charged", "price", "per", "amount", "drawdowns")
    item, region, quantity, drawn, charged, price, per, amount, drawdowns = members(value, where, *names)
    draws = []
    for place, row in rows(drawdowns, f"{where}.drawdowns"):
        pack, taken, left = members(row, place, "pack_id", "quantity", "remaining_after")
        left = whole(left, f"{place}.remaining_after")
        draws.append((number(pack, f"{place}.pack_id"), whole(taken, f"{place}.quantity", 1), left))
    line = Line(
        whole(quantity, f"{where}.quantity", 1),
        whole(drawn, f"{where}.drawn"),
        whole(charged, f"{where}.charged"),
        money(price, f"{where}.price", 6),
        whole(per, f"{where}.per", 1),
        money(amount, f"{where}.amount", 6),
        draws,
    )
    return (text(item, f"{where}.item"), text(region, f"{where}.region")), line


def read_bill(value: Any, where: str) -> Bill:
    more = ("billing_mode", "lines", "previous", "balance_before", "balance_after", "transfer", "packs")
    _ = members(value, where, *SUMS, *more)
    sums = read_sums({name: value[name] for name in SUMS}, where)
    lines: Dict[Pair, Line] = {}
    for place, row in rows(value["lines"], f"{where}.lines"):
        pair, line = read_line(row, place)
        if pair in lines:
            raise Unreadable(f"{place}: a second line for {' '.join(pair)}")
        lines[pair] = line
    packs: Dict[int, Held] = {}
    for place, row in rows(value["packs"], f"{where}.packs"):
        pack, *held = members(row, place, "pack_id", "drawn_before", "remaining_before", "remaining_after")
        pack = number(pack, f"{place}.pack_id")
        if pack in packs:
            raise Unreadable(f"{place}: pack {pack} a second time")
        packs[pack] = Held(*(whole(one, f"{place} ({name})") for one, name in zip(held, Held._fields)))
    transfer = None
    if value["transfer"] is not None:
        id_, amount, after = members(value["transfer"], f"{where}.transfer", "transfer_id", "amount", "balance_after")
        number(id_, f"{where}.transfer.transfer_id")
        amount, after = (money(one, f"{where}.transfer", 2) for one in (amount, after))
        transfer = (amount, after)
    return Bill(
        sums,
        one_of(value["billing_mode"], f"{where}.billing_mode", *MODES),
        lines,
        None if value["previous"] is None else read_sums(value["previous"], f"{where}.previous"),
        money(value["balance_before"], f"{where}.balance_before", 2),
        money(value["balance_after"], f"{where}.balance_after", 2),
        transfer,
        packs,
    )


class Event(NamedTuple):
    pair: Pair
    series: Pair
    """Source and resource."""
    quantity: int
    slot: int
    received: datetime


class Kept(NamedTuple):
    """What is kept of an expired day: a quantity, or the 288 slots that it comes from."""

    quantity: int
    slots: Optional[List[int]]


class File:
    """A recheck file, read and found to be one."""

    def __init__(self, document: Any) -> None:
        names = ("format", "how", "language", "made_at", "account_id", "bill_id", "day", "billing_mode")
        parts = ("items", "tariff", "pack_types", "packs", "usage", "waiting", "bills")
        _ = members(document, "file", *names, *parts, "digests")
        self.damaged = self._damaged(document, (*names, *parts))
        try:
            self._read(document)
        except Unreadable as error:
            changed = ", ".join(self.damaged)
            raise Unreadable(f"{error}" + (f" (not as when the file was made: {changed})" if changed else "")) from None

    def _read(self, document: Any) -> None:
        one_of(document["format"], "format", FORMAT)
        text(document["how"], "how")
        self.language = one_of(document["language"], "language", "zh-hans", "en")
        self.made_at = moment(document["made_at"], "made_at")
        self.account = number(document["account_id"], "account_id")
        self.bill_id = number(document["bill_id"], "bill_id")
        self.day = day_of(document["day"], "day")
        self.mode = one_of(document["billing_mode"], "billing_mode", *MODES)
        self.items: Dict[str, Item] = {}
        self.tariff: List[Tuple[Pair, int, int, date]] = []
        self.kinds: Dict[str, Tuple[str, Set[str]]] = {}
        self.packs: List[Pack] = []
        self.pack_days: Dict[int, Tuple[datetime, date, date]] = {}
        self.events: List[Event] = []
        self.kept: Dict[Pair, Kept] = {}
        self.waiting: Dict[Pair, int] = {}
        self._read_rules(document)
        self._read_packs(document)
        self._read_usage(document["usage"])
        for place, row in rows(document["waiting"], "waiting"):
            item, region, quantity = members(row, place, "item", "region", "quantity")
            pair = (text(item, f"{place}.item"), text(region, f"{place}.region"))
            if pair in self.waiting:
                raise Unreadable(f"{place}: {' '.join(pair)} a second time")
            self.waiting[pair] = whole(quantity, f"{place}.quantity", 1)
        self.bills = [read_bill(row, place) for place, row in rows(document["bills"], "bills")]

    def _read_rules(self, document: Any) -> None:
        for place, row in rows(document["items"], "items"):
            code, position, unit, how, mode = members(
                row, place, "item", "position", "unit", "aggregation", "requires_billing_mode"
            )
            one_of(unit, f"{place}.unit", "call", "byte", "bit/s", "channel", "second")
            how = one_of(how, f"{place}.aggregation", SUM, PEAK, MEAN, DISTINCT)
            mode = one_of(mode, f"{place}.requires_billing_mode", None, *MODES)
            if text(code, f"{place}.item") in self.items:
                raise Unreadable(f"{place}: {code} a second time")
            self.items[code] = Item(whole(position, f"{place}.position"), how, mode)
        if len({item.position for item in self.items.values()}) < len(self.items):
            raise Unreadable("items: two have the same position")
        for place, row in rows(document["tariff"], "tariff"):
            item, region, price, per, since = members(row, place, "item", "region", "price", "per", "effective_from")
            pair = (text(item, f"{place}.item"), text(region, f"{place}.region"))
            price, per = money(price, f"{place}.price", 6), whole(per, f"{place}.per", 1)
            self.tariff.append((pair, price, per, day_of(since, f"{place}.effective_from")))

    def _read_packs(self, document: Any) -> None:
        for place, row in rows(document["pack_types"], "pack_types"):
            code, region, covers = members(row, place, "pack_type", "region", "covers")
            covered = {text(one, spot) for spot, one in rows(covers, f"{place}.covers")}
            if text(code, f"{place}.pack_type") in self.kinds:
                raise Unreadable(f"{place}: {code} a second time")
            self.kinds[code] = (text(region, f"{place}.region"), covered)
        for place, row in rows(document["packs"], "packs"):
            id_, kind, total, bought, since, until = members(
                row, place, "pack_id", "pack_type", "total", "purchased_at", "effective_day", "valid_until"
            )
            pack = Pack(number(id_, f"{place}.pack_id"), text(kind, f"{place}.pack_type"), whole(total, place, 1))
            if kind not in self.kinds:
                raise Unreadable(f"{place}.pack_type: {kind} is not in pack_types")
            self.packs.append(pack)
            self.pack_days[pack.pack_id] = (
                moment(bought, f"{place}.purchased_at"),
                day_of(since, f"{place}.effective_day"),
                day_of(until, f"{place}.valid_until"),
            )
        if len(self.pack_days) < len(self.packs):
            raise Unreadable("packs: one is there twice")

    def _read_usage(self, usage: Any) -> None:
        if not isinstance(usage, dict) or usage.get("from") not in ("events", "kept"):
            raise Unreadable("usage.from: neither events nor kept")
        self.source: str = usage["from"]
        self.because = ""
        if self.source == "events":
            columns, events, _ = members(usage, "usage", "columns", "events", "from")
            if columns != COLUMNS:
                raise Unreadable("usage.columns: not those of this format")
            seen: Set[Pair] = set()
            for place, row in rows(events, "usage.events"):
                self.events.append(self._read_event(row, place, seen))
            return
        because, kept, _ = members(usage, "usage", "because", "quantities", "from")
        self.because = one_of(because, "usage.because", "expired", "too_many")
        for place, row in rows(kept, "usage.quantities"):
            item, region, quantity, slots = members(row, place, "item", "region", "quantity", "slots")
            pair = (text(item, f"{place}.item"), text(region, f"{place}.region"))
            if pair in self.kept or pair[0] not in self.items:
                raise Unreadable(f"{place}: {' '.join(pair)} a second time, or of no item")
            sums = None
            if slots is not None:
                sums = [0 if one is None else whole(one, spot) for spot, one in rows(slots, f"{place}.slots")]
            if (self.items[pair[0]].aggregation in (PEAK, MEAN)) != (sums is not None and len(sums) == SLOTS):
                raise Unreadable(f"{place}.slots: 288 for items of a peak or mean, none for others")
            self.kept[pair] = Kept(whole(quantity, f"{place}.quantity"), sums)

    def _read_event(self, row: Any, place: str, seen: Set[Pair]) -> Event:
        if not isinstance(row, list) or len(row) != len(COLUMNS):
            raise Unreadable(f"{place}: not {len(COLUMNS)} columns")
        source, id_, item, region, resource = (text(value, f"{place}.{name}") for name, value in zip(COLUMNS[:5], row))
        quantity = whole(row[5], f"{place}.quantity")
        if quantity > MOST_PER_EVENT:
            raise Unreadable(f"{place}.quantity: above 10^15")
        at, received = moment(row[6], f"{place}.time"), moment(row[7], f"{place}.received")
        if not source or not id_:
            raise Unreadable(f"{place}: an event has a source and an id")
        if (source, id_) in seen:
            raise Unreadable(f"{place}: {source} {id_} a second time: an event counts once")
        seen.add((source, id_))
        if item not in self.items:
            raise Unreadable(f"{place}.item: {item} is not in items")
        if at.date() != self.day:
            raise Unreadable(f"{place}.time: {row[6]} is not of {self.day} at UTC+8")
        if received < at - timedelta(minutes=10) or received.date() > self.day + timedelta(days=30):
            raise Unreadable(f"{place}.received: such a report is not accepted at {row[7]}")
        slot = (at.hour * 3600 + at.minute * 60 + at.second) // SLOT_SECONDS
        return Event((item, region), (source, resource), quantity, slot, received)

    @staticmethod
    def _damaged(document: Any, names: Tuple[str, ...]) -> List[str]:
        """The members that are not as they were when the file was made."""
        claimed = document["digests"]
        _ = members(claimed, "digests", *names)
        return [name for name in names if claimed[name] != digest(document[name])]


# ── recomputing ──────────────────────────────────────────────────────────────────────────────────────────────────────


def half_up(numerator: int, denominator: int) -> int:
    """The nearest integer to a quotient, halves up."""
    return (2 * numerator + denominator) // (2 * denominator)


class Meter:
    """The day's quantity of every item and region, as reports arrive."""

    def __init__(self, items: Dict[str, Item]) -> None:
        self.items = items
        self.quantities: Dict[Pair, int] = {}
        self.resources: Dict[Pair, Set[str]] = {}
        self.largest: Dict[Tuple[Pair, int, Pair], int] = {}
        self.slots: Dict[Tuple[Pair, int], int] = {}
        self.totals: Dict[Pair, int] = {}

    def add(self, event: Event) -> None:
        """Count a report."""
        how, pair = self.items[event.pair[0]].aggregation, event.pair
        before = self.quantities.get(pair, 0)
        if how == SUM:
            self.quantities[pair] = before + event.quantity
        elif how == DISTINCT:
            found = self.resources.setdefault(pair, set())
            if event.quantity > 0:
                found.add(event.series[1])
            self.quantities[pair] = len(found)
        else:
            more = self._more(event)
            slot = self.slots[pair, event.slot] = self.slots.get((pair, event.slot), 0) + more
            total = self.totals[pair] = self.totals.get(pair, 0) + more
            self.quantities[pair] = max(before, slot) if how == PEAK else half_up(total, SLOTS)

    def _more(self, event: Event) -> int:
        """How much a report raises its slot: there each series counts its largest report, and the series are added."""
        key = (event.pair, event.slot, event.series)
        before = self.largest.get(key, 0)
        self.largest[key] = max(before, event.quantity)
        return self.largest[key] - before


def of_slots(how: str, slots: List[int]) -> int:
    """The largest slot, or the mean of all 288, half-up."""
    return max(slots, default=0) if how == PEAK else half_up(sum(slots), SLOTS)


class Recheck:
    """The bills of a day, computed again; `found` are the differences, `told` what a reader should know."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.found: List[Tuple[str, str, Dict[str, Any]]] = []
        self.told: List[Tuple[str, str, Dict[str, Any]]] = []
        self.prices: Dict[Pair, Tuple[int, int]] = {}

    def differs(self, where: str, message: str, **words: Any) -> None:
        """Something is not as it must be, and where."""
        self.found.append((where, message, words))

    def tell(self, where: str, message: str, **words: Any) -> None:
        """Something that a reader should know, and that is no difference."""
        self.told.append((where, message, words))

    def same(self, where: str, what: str, claimed: int, computed: int, places: int = 0) -> None:
        """Compare a number of the bill with ours."""
        if claimed != computed:
            shown = [decimal(one, places) if places else str(one) for one in (claimed, computed)]
            self.differs(
                where,
                "{what} is {claimed}, recomputed {computed}",
                what=what,
                claimed=shown[0],
                computed=shown[1],
            )

    def run(self) -> None:
        file = self.file
        for name in file.damaged:
            self.differs(name, "not as it was when the file was made (its digest differs)")
        if not self._head():
            return
        self._rules()
        self._packs()
        used = self._quantities()
        billed: Dict[Pair, int] = {}
        for place, bill in enumerate(file.bills):
            last = place == len(file.bills) - 1
            wanted = {pair: line.quantity for pair, line in bill.lines.items()}
            if last:
                pairs = {*used, *billed, *wanted, *file.waiting}
                wanted = {pair: used.get(pair, 0) - billed.get(pair, 0) - file.waiting.get(pair, 0) for pair in pairs}
            self._bill(bill, wanted)
            for pair, line in bill.lines.items():
                billed[pair] = billed.get(pair, 0) + line.quantity
        self._arrival()
        self._order_of_bills()

    # what the file says of itself

    def _head(self) -> bool:
        """Whether these are the bills of one day, the asked one among them."""
        file, bills = self.file, self.file.bills
        for place, bill in enumerate(bills, start=1):
            self.same(bill.name, "sequence", bill.sums.sequence, place)
            if bill.sums.day != file.day:
                self.differs(bill.name, "of another day than the file")
            if bill.mode != file.mode:
                self.differs(bill.name, "another billing mode than the day's")
            if bill.sums.settled_at.date() <= file.day:
                self.differs(bill.name, "settled before its day had ended")
            if bill.sums.settled_at > file.made_at:
                self.differs(bill.name, "settled after the file was made")
        if file.bill_id not in [bill.sums.bill_id for bill in bills]:
            self.differs("bill_id", "the file does not hold this bill")
        if not bills:
            self.differs("bills", "the file holds no bill")
        return bool(bills)

    def _rules(self) -> None:
        """The price of each item and region on the day: the latest effective, of several for a day the last made."""
        since: Dict[Pair, date] = {}
        for pair, price, per, day in self.file.tariff:
            where = f"tariff of {' '.join(pair)}"
            if pair[0] not in self.file.items:
                self.differs(where, "the item is not in items")
            elif day > self.file.day:
                self.differs(where, "a price is in force only after the day")
            else:
                if day < since.get(pair, date.min):
                    self.differs(where, "the prices are not in the order of their days")
                since[pair] = day
                self.prices[pair] = (price, per)

    def _packs(self) -> None:
        """Packs in force on the day, in drawing order: the order of purchase, which ids rise in."""
        file, last = self.file, 0
        for pack in file.packs:
            bought, since, until = file.pack_days[pack.pack_id]
            where = f"pack {pack.pack_id}"
            if pack.pack_id <= last:
                self.differs(where, "not in drawing order")
            if since != bought.date():
                self.differs(where, "in force from another day than that of its purchase")
            if not since <= file.day <= until:
                self.differs(where, "not in force on the day")
            last = max(last, pack.pack_id)
        held = {pack for bill in file.bills for pack in bill.packs}
        for pack_id in sorted(held ^ set(file.pack_days)):
            self.differs(f"pack {pack_id}", "not both in packs and among those of a bill")

    def _billable(self, pair: Pair) -> bool:
        item = self.file.items.get(pair[0])
        return item is not None and item.mode in (None, self.file.mode)

    def _quantities(self) -> Dict[Pair, int]:
        """What was used of all that the day's mode bills."""
        file = self.file
        if file.source == "events":
            meter = Meter(file.items)
            for event in file.events:
                meter.add(event)
            used = dict(meter.quantities)
        else:
            used = {}
            for pair, kept in file.kept.items():
                how = file.items[pair[0]].aggregation
                used[pair] = kept.quantity if kept.slots is None else of_slots(how, kept.slots)
                self.same(" ".join(pair), "quantity", kept.quantity, used[pair])
            self.tell("usage", "the reports {why}; taken from what is kept of them", why=file.because)
        for code in sorted(set(file.items) - {pair[0] for pair in used}):
            self.differs(f"items, {code}", "was not used that day")
        for pair in sorted(used):
            if pair not in self.prices:
                self.differs(f"tariff of {' '.join(pair)}", "no price on the day")
        for pair in sorted(set(self.prices) - set(used)):
            self.differs(f"tariff of {' '.join(pair)}", "was not used that day")
        return {pair: quantity for pair, quantity in used.items() if self._billable(pair)}

    # one bill

    def _bill(self, bill: Bill, wanted: Dict[Pair, int]) -> None:
        left = self._packs_before(bill)
        order = sorted(
            (pair for pair in wanted if wanted[pair] or pair in bill.lines),
            key=lambda pair: (self.file.items[pair[0]].position if pair[0] in self.file.items else 0, pair[1]),
        )
        total = 0
        for pair in order:
            where = f"{bill.name}, line {' '.join(pair)}"
            if not self._billable(pair) or pair not in self.prices:
                self.differs(where, "not billable that day")
            elif wanted[pair] < 0:
                claimed = bill.lines[pair].quantity if pair in bill.lines else 0
                self.differs(
                    where, "{claimed} billed, {more} more than was reported", claimed=claimed, more=-wanted[pair]
                )
            else:
                total += self._line(bill, pair, wanted[pair], left, where)
        if list(bill.lines) != [pair for pair in order if pair in bill.lines]:
            self.differs(bill.name, "the lines are not in the catalogue's order")
        for pack_id, held in bill.packs.items():
            self.same(f"{bill.name}, pack {pack_id}", "remaining after", held.after, left.get(pack_id, held.before))
        self._sums(bill, total)

    def _packs_before(self, bill: Bill) -> Dict[int, int]:
        """What each pack had left before a bill: its units less what earlier bills had drawn."""
        left: Dict[int, int] = {}
        for pack in self.file.packs:
            if pack.pack_id in bill.packs:
                held = bill.packs[pack.pack_id]
                where = f"{bill.name}, pack {pack.pack_id}"
                left[pack.pack_id] = pack.total - held.drawn_before
                self.same(where, "remaining before", held.before, left[pack.pack_id])
                if held.before <= 0:
                    self.differs(where, "had nothing left to draw")
        return left

    def _line(self, bill: Bill, pair: Pair, quantity: int, left: Dict[int, int], where: str) -> int:
        """Packs first, in drawing order, then pay-as-you-go; the recomputed amount."""
        draws: List[Tuple[int, int, int]] = []
        charged = quantity
        for pack in self.file.packs:
            region, covered = self.file.kinds[pack.kind]
            taken = min(left.get(pack.pack_id, 0), charged)
            if region == pair[1] and pair[0] in covered and taken > 0:
                charged -= taken
                left[pack.pack_id] -= taken
                draws.append((pack.pack_id, taken, left[pack.pack_id]))
        price, per = self.prices[pair]
        amount = half_up(charged * price, per)
        if pair not in bill.lines:
            self.differs(where, "missing; {quantity} used and not billed", quantity=quantity)
            return amount
        line = bill.lines[pair]
        self.same(where, "quantity", line.quantity, quantity)
        self.same(where, "drawn", line.drawn, quantity - charged)
        self.same(where, "charged", line.charged, charged)
        self.same(where, "price", line.price, price, 6)
        self.same(where, "per", line.per, per)
        self.same(where, "amount", line.amount, amount, 6)
        if line.draws != draws:
            shown = [
                ", ".join(f"{pack}: {taken} → {rest}" for pack, taken, rest in one) or "–"
                for one in (line.draws, draws)
            ]
            self.differs(
                where,
                "drawdowns are {claimed}, recomputed {computed}",
                claimed=shown[0],
                computed=shown[1],
            )
        return amount

    def _sums(self, bill: Bill, total: int) -> None:
        """Lines and carry to whole fen, and the balance that they are taken from."""
        sums, before, name = bill.sums, bill.previous, bill.name
        self.same(name, "sum of lines", sums.rated_total, total, 6)
        carry = self._carry(bill, before)
        self.same(name, "carry in", sums.carry_in, carry, 6)
        due = max(half_up(total + carry, MICRO_PER_FEN), 0)
        self.same(name, "amount due", sums.due, due, 2)
        self.same(name, "carry out", sums.carry_out, total + carry - due * MICRO_PER_FEN, 6)
        self.same(name, "balance after", bill.balance_after, bill.balance_before - due, 2)
        if bill.transfer is not None:
            self.same(name, "amount of its transfer", bill.transfer[0], -due, 2)
            self.same(name, "balance after its transfer", bill.transfer[1], bill.balance_before - due, 2)
        if (bill.transfer is not None) != (due > 0):
            self.differs(name, "a transfer on the ledger there is if and only if something is due")

    def _carry(self, bill: Bill, before: Optional[Sums]) -> int:
        """What the bill before left over, computed again; the first carry is 0."""
        if before is None:
            return 0
        where = f"{bill.name}, the bill before it ({before.bill_id})"
        exact = before.rated_total + before.carry_in
        due = max(half_up(exact, MICRO_PER_FEN), 0)
        self.same(where, "amount due", before.due, due, 2)
        self.same(where, "carry out", before.carry_out, exact - due * MICRO_PER_FEN, 6)
        if before.bill_id >= bill.sums.bill_id:
            self.differs(where, "not before it")
        earlier = {one.sums.bill_id: one.sums for one in self.file.bills}
        if before.bill_id in earlier and earlier[before.bill_id] != before:
            self.differs(where, "not as the file has it elsewhere")
        if before.day == self.file.day and before.bill_id not in earlier:
            self.differs(where, "of this day, and not in the file")
        return exact - due * MICRO_PER_FEN

    # the bills of the day together

    def _order_of_bills(self) -> None:
        bills = self.file.bills
        for earlier, later in zip(bills, bills[1:]):
            if earlier.sums.bill_id >= later.sums.bill_id:
                self.differs(later.name, "not in the order of settlement")
            for pack_id, held in later.packs.items():
                where = f"{later.name}, pack {pack_id}"
                if pack_id not in earlier.packs:
                    self.differs(where, "missing from the bill before")
                elif held.before > earlier.packs[pack_id].after:
                    self.differs(where, "has more left than after the bill before")

    def _arrival(self) -> None:
        """Whether the reports that each bill counted are those that had come by some moment."""
        file = self.file
        for pair, quantity in file.waiting.items():
            self.tell(" ".join(pair), "{quantity} reported since, and not billed yet", quantity=quantity)
        bills = file.bills if file.waiting else file.bills[:-1]
        if file.source != "events":
            return
        meter, target = Meter(file.items), {}  # type: Meter, Dict[Pair, int]
        arriving = groupby(sorted(file.events, key=lambda event: event.received), key=lambda event: event.received)
        for bill in bills:
            for pair, line in bill.lines.items():
                target[pair] = target.get(pair, 0) + line.quantity
            until = self._until(arriving, meter, target)
            if until is None:
                self.tell(bill.name, "the times of receipt do not tell which reports it counted; the day's sum is held")
                return
            self.tell(bill.name, "counted what had been received by {until}", until=until.isoformat())

    def _until(self, arriving: Any, meter: Meter, target: Dict[Pair, int]) -> Optional[datetime]:
        """The moment by which just the target's quantities had been received; None when there is none."""
        off = {pair for pair in target if meter.quantities.get(pair, 0) != target[pair]}
        for received, events in arriving:
            for event in events:
                meter.add(event)
                if self._billable(event.pair):
                    wrong = meter.quantities[event.pair] != target.get(event.pair, 0)
                    (off.add if wrong else off.discard)(event.pair)
            if not off:
                return received  # type: ignore[no-any-return]
        return None


# ── telling ──────────────────────────────────────────────────────────────────────────────────────────────────────────

CHINESE = {
    "{what} is {claimed}, recomputed {computed}": "{what}为 {claimed}，复算得 {computed}",
    "drawdowns are {claimed}, recomputed {computed}": "抵扣为 {claimed}，复算得 {computed}",
    "not as it was when the file was made (its digest differs)": "与文件生成时不同（摘要不符）",
    "of another day than the file": "日期与文件不同",
    "another billing mode than the day's": "计费模式与当天不同",
    "settled before its day had ended": "在当天结束之前结算",
    "settled after the file was made": "在文件生成之后结算",
    "the file does not hold this bill": "文件中没有这份账单",
    "the file holds no bill": "文件中没有账单",
    "the item is not in items": "items 中没有这个计费项",
    "a price is in force only after the day": "有一个单价在当天之后才生效",
    "the prices are not in the order of their days": "单价未按生效日排列",
    "no price on the day": "当天没有单价",
    "was not used that day": "当天没有用量",
    "not in drawing order": "不在抵扣顺序中的位置上",
    "in force from another day than that of its purchase": "生效日不是购买当天",
    "not in force on the day": "当天不在有效期内",
    "not both in packs and among those of a bill": "没有同时列在 packs 和账单中",
    "had nothing left to draw": "已没有剩余",
    "not billable that day": "当天不计费",
    "{claimed} billed, {more} more than was reported": "计了 {claimed}，比上报的多 {more}",
    "missing; {quantity} used and not billed": "缺少；用量 {quantity} 没有计入",
    "the lines are not in the catalogue's order": "明细未按价格表的顺序排列",
    "a transfer on the ledger there is if and only if something is due": "应付大于 0 才有、也必有一笔流水",
    "not before it": "不在它之前",
    "not as the file has it elsewhere": "与文件别处所载不同",
    "of this day, and not in the file": "属于当天，却不在文件中",
    "not in the order of settlement": "未按结算顺序排列",
    "has more left than after the bill before": "剩余多于上一份账单之后",
    "missing from the bill before": "上一份账单没有列出",
    "the reports {why}; taken from what is kept of them": "上报{why}；复算从保留的数据开始",
    "{quantity} reported since, and not billed yet": "之后又上报 {quantity}，尚未出账",
    "the times of receipt do not tell which reports it counted; the day's sum is held": "接收时间分不出它计入了哪些上报；已核对当天之和",
    "counted what had been received by {until}": "计入了 {until} 之前收到的上报",
    "{bill} of {day}, account {account}": "{bill}，{day}，账户 {account}",
    "{reports} usage reports, {bills} bills of the day, {lines} lines, {draws} drawdowns": "用量上报 {reports} 条，当天账单 {bills} 份，明细 {lines} 行，抵扣 {draws} 笔",
    "lines {total} + carry {carry} → due {due}, next carry {out}": "明细 {total} + 尾差 {carry} → 应付 {due}，下期尾差 {out}",
    "Right to the fen.": "复核无误，分毫不差。",
    "Differences: {number}.": "不符之处：{number}。",
    "Not a recheck file, or damaged: {why}": "不是复核文件，或已损坏：{why}",
}
ENGLISH = {"expired": "have expired", "too_many": "are too many for a file"}
WORDS = (
    "expired 已过期|too_many 太多|bill 账单|line 明细|pack 资源包|the bill before it 上一份账单|tariff of 单价|quantity 用量|drawn 抵扣量|"
    "charged 计费量|price 单价|per 单价的基数|amount 金额|sequence 序号|sum of lines 明细合计|carry in 转入尾差|carry out 转出尾差|"
    "amount due 应付|balance after 账单后余额|amount of its transfer 流水金额|balance after its transfer 流水后余额|"
    "remaining before 之前剩余|remaining after 之后剩余"
)
NAMES = {english: chinese for english, _, chinese in (pair.rpartition(" ") for pair in WORDS.split("|"))}
PLACES = re.compile(r"^(bill|pack|tariff of)(?= )|(?<=, )(line|pack|the bill before it)(?= )")


class Teller:
    """Says things in one of two languages."""

    def __init__(self, chinese: bool) -> None:
        self.chinese = chinese

    def __call__(self, message: str, **words: Any) -> str:
        """A message with its words filled in."""
        shown = {name: self.word(value) for name, value in words.items()}
        return (CHINESE[message] if self.chinese else message).format(**shown)

    def word(self, value: Any) -> str:
        """A name, a place or a figure."""
        word = str(value)
        if not self.chinese:
            return ENGLISH.get(word, word)
        return NAMES.get(word) or PLACES.sub(lambda found: NAMES[found[0]], word)


def load(path: str) -> Any:
    """The document of a file. Raises Unreadable, OSError."""
    try:
        with open(path, encoding="utf-8-sig") as stream:
            return json.load(stream, parse_float=no_float, parse_constant=no_float, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {error}") from None


def main(arguments: Optional[List[str]] = None) -> int:
    """Recheck a file and tell what was found; the exit code."""
    parser = argparse.ArgumentParser(description="Recompute a bill of ISS Billing from its recheck file, offline.")
    parser.add_argument("file", help="the JSON file, as downloaded from the bill's page")
    parser.add_argument("--lang", choices=("zh", "en"), help="the language of the answer; that of the file without it")
    asked = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        file = File(load(asked.file))
    except OSError as error:
        print(f"{asked.file}: {error.strerror}", file=sys.stderr)
        return 2
    except Unreadable as error:
        say = Teller(asked.lang == "zh")
        print(say("Not a recheck file, or damaged: {why}", why=error), file=sys.stderr)
        return 2
    check = Recheck(file)
    check.run()
    tell(check, Teller((asked.lang or file.language[:2]) == "zh"))
    return 1 if check.found else 0


def tell(check: Recheck, say: Teller) -> None:
    """The result, for a reader."""
    file, colon = check.file, "：" if say.chinese else ": "
    print(say("{bill} of {day}, account {account}", bill=f"bill {file.bill_id}", day=file.day, account=file.account))
    for mark, list_ in (("·", check.told), ("✗", check.found)):
        for where, message, words in list_:
            print(f"{mark} {say.word(where)}{colon}{say(message, **words)}")
    if check.found:
        print(say("Differences: {number}.", number=len(check.found)))
        return
    lines = [line for bill in file.bills for line in bill.lines.values()]
    counts = {"reports": len(file.events), "bills": len(file.bills), "lines": len(lines)}
    counts["draws"] = sum(len(line.draws) for line in lines)
    print("· " + say("{reports} usage reports, {bills} bills of the day, {lines} lines, {draws} drawdowns", **counts))
    sums = next(bill.sums for bill in file.bills if bill.sums.bill_id == file.bill_id)
    figures = {"total": decimal(sums.rated_total, 6), "carry": decimal(sums.carry_in, 6)}
    figures.update(due=decimal(sums.due, 2), out=decimal(sums.carry_out, 6))
    print("· " + say("lines {total} + carry {carry} → due {due}, next carry {out}", **figures))
    print("✓ " + say("Right to the fen."))


if __name__ == "__main__":
    sys.exit(main())
