"""An independent model of the billing rules: slow, plain, in memory, and importing nothing of the product.

Its answers have the shapes of the HTTP interface, so that a scenario can compare them with the
program's field by field. Ids are its own: accounts as the caller names them, `order-1`, `pack-1`, and `DAY#SEQUENCE`
for a bill.
"""

from __future__ import annotations

import copy
import json
import math
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

CATALOGUE: dict[str, Any] = json.loads((Path(__file__).parent.parent / "packs" / "catalogue.json").read_text("utf-8"))
SHANGHAI = timezone(timedelta(hours=8))
MAINLAND = "cn-mainland"
ITEMS: dict[str, dict[str, Any]] = {item["code"]: item for item in CATALOGUE["items"]}  # in catalogue order
PACK_TYPES: dict[str, dict[str, Any]] = {pack_type["code"]: pack_type for pack_type in CATALOGUE["pack_types"]}
SKUS: dict[str, dict[str, Any]] = {pack["sku"]: pack for pack in CATALOGUE["packs"]}
STOPPED = ("suspended", "reclaimed")
ONE_DAY = timedelta(days=1)

Json = dict[str, Any]


def day_of(moment: datetime) -> date:
    """The billing day of a moment (rules 1.1)."""
    return moment.astimezone(SHANGHAI).date()


def round_half_up(value: Fraction, digits: int) -> Fraction:
    """To `digits` decimals, a half going up (rules 1.4)."""
    return Fraction(math.floor(value * 10**digits + Fraction(1, 2)), 10**digits)


def money(value: Fraction, digits: int = 2) -> Json:
    return {"amount": f"{Decimal(value.numerator) / Decimal(value.denominator):.{digits}f}", "currency": "CNY"}


@dataclass
class Pack:
    pack_id: str
    sku: str
    order_id: str
    price: Fraction
    bought: datetime
    total: int = 0
    drawdowns: list[Json] = field(default_factory=list)
    refunded: bool = False

    @property
    def kind(self) -> Json:
        return PACK_TYPES[SKUS[self.sku]["pack_type"]]

    @property
    def remaining(self) -> int:
        return 0 if self.refunded else self.total - sum(row["quantity"] for row in self.drawdowns)


@dataclass
class Account:
    name: str
    opened: datetime
    modes: dict[date, str] = field(default_factory=dict)  # from that day on
    ledger: list[Json] = field(default_factory=list)
    balance: Fraction = Fraction(0)
    carry: Fraction = Fraction(0)
    arrears_since: datetime | None = None
    announced: str = "active"
    orders: list[Json] = field(default_factory=list)
    keys: dict[str, tuple[Any, Json]] = field(default_factory=dict)
    packs: list[Pack] = field(default_factory=list)  # in drawing order (rules 4.3)
    usage: dict[date, list[Json]] = field(default_factory=dict)
    bills: list[Json] = field(default_factory=list)  # in the order settled

    def mode(self, day: date) -> str:
        """One mode for a whole billing day, at first bandwidth (rules 3.1, 3.2)."""
        past = [start for start in self.modes if start <= day]
        return self.modes[max(past)] if past else "bandwidth"

    def status(self, now: datetime) -> str:
        """A function of the balance, arrears_since and the clock (rules 6)."""
        if self.arrears_since is None:
            return "active"
        if now >= self.arrears_since + 8 * ONE_DAY:
            return "reclaimed"
        return "suspended" if now >= self.arrears_since + ONE_DAY else "arrears"

    def post(self, now: datetime, kind: str, amount: Fraction, reference: str) -> None:
        """One transfer (rules 7.1); nothing moves for 0. It begins or ends arrears (rules 6.1, 6.3).

        A posting also tells what time had changed and no sweep has told, so a later sweep does not tell it again.
        """
        if amount == 0:
            return
        self.announced = self.status(now) if self.status(now) in STOPPED else self.announced
        self.balance += amount
        row = {"time": now, "kind": kind, "amount": money(amount), "balance_after": money(self.balance)}
        self.ledger.append({**row, "reference": reference})
        if self.balance >= 0:
            self.arrears_since, self.announced = None, "active"
        elif self.arrears_since is None:
            self.arrears_since = now

    def billed(self, day: date, item: str, region: str) -> int:
        rows = [line for bill in self.bills if bill["day"] == str(day) for line in bill["lines"]]
        return sum(line["quantity"] for line in rows if (line["item"], line["region"]) == (item, region))

    def rated(self, day: date, item: str, region: str) -> int:
        """The day's quantity by the item's aggregation (rules 2)."""
        events = [e for e in self.usage.get(day, []) if (e["item"], e["region"]) == (item, region)]
        aggregation = ITEMS[item]["aggregation"]
        if aggregation == "sum":
            return sum(e["quantity"] for e in events)
        if aggregation == "distinct":
            return len({e["resource"] for e in events if e["quantity"] > 0})
        midnight = datetime.combine(day, time(0), SHANGHAI)
        slots: list[dict[tuple[str, str], int]] = [{} for _ in range(288)]
        for e in events:
            series = slots[(e["time"] - midnight) // timedelta(minutes=5)]
            name = (e["source"], e["resource"])
            series[name] = max(series.get(name, 0), e["quantity"])
        sums = [sum(series.values()) for series in slots]
        return max(sums) if aggregation == "peak" else int(round_half_up(Fraction(sum(sums), 288), 0))

    def rows(self, day: date) -> list[tuple[str, str]]:
        """The items and regions used on a day: catalogue order, then region code (rules 4.4)."""
        used = {(e["item"], e["region"]) for e in self.usage.get(day, [])}
        return [(item, region) for item in ITEMS for region in sorted(r for i, r in used if i == item)]

    def billable(self, day: date, item: str) -> bool:
        """Whether the day's mode charges this item at all (rules 3.1)."""
        return ITEMS[item]["requires_billing_mode"] in (None, self.mode(day))


class World:
    def __init__(self) -> None:
        launch = date.fromisoformat(CATALOGUE["effective_from"])
        self.accounts: dict[str, Account] = {}
        self.pack_prices: dict[str, Fraction] = {sku: Fraction(pack["price"]) for sku, pack in SKUS.items()}
        self.tariff: dict[tuple[str, str], dict[date, tuple[Fraction, int]]] = {
            (code, MAINLAND): {launch: (Fraction(item["price"]), item["per"])} for code, item in ITEMS.items()
        }
        self.seen: set[tuple[date, str, str]] = set()
        self.references: dict[str, tuple[str, Fraction]] = {}
        self.count = 0

    def open_account(self, name: str, now: datetime) -> None:
        self.accounts[name] = Account(name, now)

    def top_up(self, name: str, amount: str, reference: str, now: datetime) -> int:
        """Money received: the exit code of the command."""
        if Fraction(amount) <= 0 or round_half_up(Fraction(amount), 2) != Fraction(amount):
            return 2
        if reference in self.references:
            return 0 if self.references[reference] == (name, Fraction(amount)) else 1
        self.references[reference] = (name, Fraction(amount))
        self.accounts[name].post(now, "top_up", Fraction(amount), reference)
        return 0

    def set_pack_price(self, sku: str, price: str) -> None:
        """At once, and for coming orders only (rules 4.5)."""
        self.pack_prices[sku] = Fraction(price)

    def set_tariff(self, item: str, region: str, price: str, per: int, start: date, now: datetime) -> bool:
        """From a coming day; a later word for the same day replaces the earlier one (rules 5.5)."""
        if start > day_of(now):
            self.tariff.setdefault((item, region), {})[start] = (Fraction(price), per)
        return start > day_of(now)

    def price_on(self, item: str, region: str, day: date) -> tuple[Fraction, int] | None:
        prices = {start: price for start, price in self.tariff.get((item, region), {}).items() if start <= day}
        return prices[max(prices)] if prices else None

    def switch_mode(self, name: str, mode: str, now: datetime) -> tuple[int, str]:
        """From the next midnight; today's mode takes a pending switch back, in any standing (rules 3.2, 4.8)."""
        account, today = self.accounts[name], day_of(now)
        if mode not in ("bandwidth", "traffic"):
            return 400, "invalid"
        if mode == account.mode(today):
            account.modes.pop(today + ONE_DAY, None)
        elif account.balance < 0:
            return 403, "account_in_arrears"
        else:
            account.modes[today + ONE_DAY] = mode
        return 200, ""

    def place_order(self, name: str, key: str, lines: list[Json], now: datetime) -> tuple[int, str, str]:
        """Status, code and order id; the checks in the interface's order."""
        account = self.accounts[name]
        body = [
            (x["sku"], x["quantity"], Fraction(x["expected_price"]) if "expected_price" in x else None) for x in lines
        ]
        if not key:
            return 400, "idempotency_key_required", ""
        if not 1 <= len(lines) <= 50 or not all(1 <= x["quantity"] <= 1000 for x in lines):
            return 400, "invalid", ""
        if key in account.keys:
            same = account.keys[key][0] == body
            return (200, "", account.keys[key][1]["order_id"]) if same else (422, "idempotency_key_reused", "")
        if any(sku not in SKUS for sku, _, _ in body):
            return 400, "unknown_sku", ""
        if account.balance < 0:
            return 403, "account_in_arrears", ""
        if any(expected not in (None, self.pack_prices[sku]) for sku, _, expected in body):
            return 409, "price_changed", ""
        total = sum((self.pack_prices[sku] * quantity for sku, quantity, _ in body), Fraction(0))
        if total > account.balance:
            return 402, "insufficient_balance", ""
        self.count += 1
        order: Json = {
            "order_id": f"order-{self.count}",
            "placed_at": now,
            "total": money(total),
            "lines": [],
            "packs": [],
        }
        for sku, quantity, _ in body:
            price = self.pack_prices[sku]
            line = {"sku": sku, "quantity": quantity, "price": money(price), "amount": money(price * quantity)}
            order["lines"].append(line)
            for _unit in range(quantity):
                self.count += 1
                pack = Pack(f"pack-{self.count}", sku, order["order_id"], price, now, SKUS[sku]["quantity"])
                account.packs.append(pack)
                order["packs"].append(pack.pack_id)
        account.orders.append(order)
        account.keys[key] = (body, order)
        account.post(now, "purchase", -total, order["order_id"])
        return 201, "", order["order_id"]

    def refund(self, name: str, pack_id: str, now: datetime) -> tuple[int, str]:
        """By the customer: untouched, and within 5 x 24 h, that instant included (rules 4.7)."""
        account = self.accounts[name]
        pack = next((pack for pack in account.packs if pack.pack_id == pack_id), None)
        if pack is None:
            return 404, "not_found"
        if pack.refunded:
            return 409, "already_refunded"
        if pack.drawdowns:
            return 409, "pack_used"
        if now > pack.bought + 5 * ONE_DAY:
            return 409, "refund_window_over"
        pack.refunded = True
        account.post(now, "refund", pack.price, pack_id)
        return 200, ""

    def judge(self, event: Json, now: datetime) -> str:
        """The first code that refuses an event, or "" (rules 5.6)."""
        data = event.get("data")
        texts = [event.get("id"), event.get("source"), event.get("subject"), event.get("time")]
        if event.get("specversion") != "1.0" or event.get("type") != "iss.usage" or not isinstance(data, dict):
            return "invalid_event"
        texts += [data.get("item"), data.get("region", MAINLAND), data.get("resource", "-") or "-"]
        if not all(isinstance(text, str) and text for text in texts):
            return "invalid_event"
        moment = datetime.fromisoformat(event["time"])
        if event["subject"] not in self.accounts:
            return "unknown_account"
        if data["item"] not in ITEMS:
            return "unknown_item"
        distinct = ITEMS[data["item"]]["aggregation"] == "distinct"
        quantity = data.get("quantity", 1 if distinct else None)
        if type(quantity) is not int or not 0 <= quantity <= 10**15:
            return "invalid_quantity"
        if distinct and not data.get("resource"):
            return "missing_resource"
        if moment > now + timedelta(minutes=10):
            return "in_future"
        if day_of(now) - day_of(moment) > 30 * ONE_DAY:  # rules 5.4
            return "too_old"
        if day_of(moment) < day_of(self.accounts[event["subject"]].opened):
            return "before_account"
        priced = self.price_on(data["item"], data.get("region", MAINLAND), day_of(moment))
        return "" if priced else "unknown_region"

    def report(self, events: list[Json], now: datetime) -> Json:
        """Refusals first, then duplicates by source and id within the billing day; a refusal is not remembered."""
        answer: Json = {"accepted": 0, "duplicates": 0, "rejected": []}
        for index, event in enumerate(events):
            code = self.judge(event, now)
            if code:
                answer["rejected"].append({"index": index, "id": event.get("id"), "code": code})
                continue
            moment, data = datetime.fromisoformat(event["time"]), event["data"]
            name = (day_of(moment), event["source"], event["id"])
            answer["duplicates" if name in self.seen else "accepted"] += 1
            if name not in self.seen:
                self.seen.add(name)
                kept = {"region": MAINLAND, "resource": "", "quantity": 1, **data}
                kept |= {"time": moment, "source": event["source"]}
                self.accounts[event["subject"]].usage.setdefault(day_of(moment), []).append(kept)
        return answer

    def settle(self, now: datetime, day: date | None = None) -> list[Json] | None:
        """Every ended day with usage not billed, oldest first per account (rules 5.1): the bills; None is exit 2."""
        last = day or day_of(now) - ONE_DAY
        if last >= day_of(now):
            return None
        bills = [self.bill(a, d, now) for a in self.accounts.values() for d in sorted(a.usage) if d <= last]
        return [bill for bill in bills if bill]

    def bill(self, account: Account, day: date, now: datetime) -> Json | None:
        """Aggregate, draw packs, charge the rest, post (rules 5.2); only what no earlier bill has (rules 5.4)."""
        lines: list[Json] = []
        sequence = 1 + sum(bill["day"] == str(day) for bill in account.bills)
        for item, region in account.rows(day):
            quantity = account.rated(day, item, region) - account.billed(day, item, region)
            if quantity == 0 or not account.billable(day, item):
                continue
            charged, drawdowns = quantity, []
            for pack in account.packs if region == MAINLAND else []:  # rules 4.1 to 4.4
                valid = day_of(pack.bought) <= day <= date.fromisoformat(CATALOGUE["packs_valid_until"])
                drawn = min(charged, pack.remaining) if valid and item in pack.kind["covers"] else 0
                if drawn:
                    charged -= drawn
                    drawdowns.append({"pack_id": pack.pack_id, "quantity": drawn})
                    row: Json = {"day": str(day), "bill_id": f"{day}#{sequence}", "item": item, "region": region}
                    row |= {"quantity": drawn, "remaining_after": pack.remaining - drawn}
                    pack.drawdowns.append(row)
            price, per = self.price_on(item, region, day) or (Fraction(0), 1)
            amount = round_half_up(charged * price / per, 6)
            line: Json = {"item": item, "region": region, "quantity": quantity, "drawn": quantity - charged}
            line |= {"charged": charged, "price": money(price, 6), "per": per, "amount": money(amount, 6)}
            lines.append(line | {"drawdowns": drawdowns})
        if not lines:
            return None  # rules 5.3
        total = sum((Fraction(line["amount"]["amount"]) for line in lines), Fraction(0))
        exact = total + account.carry
        due = max(Fraction(0), round_half_up(exact, 2))  # rules 1.4
        bill: Json = {"bill_id": f"{day}#{sequence}", "day": str(day), "sequence": sequence, "settled_at": now}
        bill |= {"rated_total": money(total, 6), "carry_in": money(account.carry, 6), "amount_due": money(due)}
        bill |= {"carry_out": money(exact - due, 6), "lines": lines}
        account.carry = exact - due
        account.bills.append(bill)
        account.post(now, "usage", -due, bill["bill_id"])
        return bill

    def sweep(self, now: datetime) -> dict[str, str]:
        """Announces once what time has changed (rules 6.2, 6.4)."""
        changed: dict[str, str] = {}
        for account in self.accounts.values():
            status = account.status(now)
            if status in STOPPED and status != account.announced:
                changed[account.name] = account.announced = status
        return changed

    # The answers, in the interface's shapes

    def account_json(self, name: str, now: datetime) -> Json:
        account, since, tomorrow = self.accounts[name], self.accounts[name].arrears_since, day_of(now) + ONE_DAY
        pending = (
            {"mode": account.modes[tomorrow], "effective_day": str(tomorrow)} if tomorrow in account.modes else None
        )
        answer = {"account_id": name, "name": name, "opened_at": account.opened, "balance": money(account.balance)}
        answer |= {"carry": money(account.carry, 6), "status": account.status(now), "arrears_since": since}
        answer |= {"suspends_at": since and since + ONE_DAY, "reclaims_at": since and since + 8 * ONE_DAY}
        return answer | {"billing_mode": account.mode(day_of(now)), "pending_billing_mode": pending}

    def pack_json(self, account: Account, pack: Pack, now: datetime) -> Json:
        frozen = pack.kind["requires_billing_mode"] not in (None, account.mode(day_of(now)))
        expired = str(day_of(now)) > CATALOGUE["packs_valid_until"]
        states = {"refunded": pack.refunded, "exhausted": not pack.remaining, "expired": expired, "frozen": frozen}
        limit = pack.bought + 5 * ONE_DAY
        refundable = not pack.refunded and not pack.drawdowns and now <= limit
        answer: Json = {
            "pack_id": pack.pack_id,
            "sku": pack.sku,
            "pack_type": pack.kind["code"],
            "order_id": pack.order_id,
        }
        answer |= {"total": pack.total, "remaining": pack.remaining, "price_paid": money(pack.price)}
        answer |= {"status": next((state for state, holds in states.items() if holds), "active")}  # rules 4.6
        answer |= {"purchased_at": pack.bought, "effective_day": str(day_of(pack.bought))}
        return answer | {
            "valid_until": CATALOGUE["packs_valid_until"],
            "refundable_until": limit if refundable else None,
        }

    def packs_json(self, name: str, now: datetime) -> list[Json]:
        return [self.pack_json(self.accounts[name], pack, now) for pack in self.accounts[name].packs]

    def orders_json(self, name: str, now: datetime) -> list[Json]:
        packs = {pack["pack_id"]: pack for pack in self.packs_json(name, now)}
        return [{**order, "packs": [packs[i] for i in order["packs"]]} for order in self.accounts[name].orders]

    def bills_json(self, name: str) -> list[Json]:
        """Newest day first, and within a day the newest sequence."""
        return sorted(self.accounts[name].bills, key=lambda bill: (bill["day"], bill["sequence"]), reverse=True)

    def tariff_json(self, day: date) -> Json:
        """The tariff in force on a day, by item and region."""
        rows: Json = {}
        for item, region in self.tariff:
            price = self.price_on(item, region, day)
            if price:
                start = max(start for start in self.tariff[item, region] if start <= day)
                row = {"item": item, "region": region, "price": money(price[0], 6), "per": price[1]}
                rows[f"{item} {region}"] = row | {"effective_from": str(start)}
        return rows

    def usage_json(self, name: str, until: date) -> list[Json]:
        """A row for each part of a day's quantity above 0, in the order of day, item, region, state."""
        account, rows = self.accounts[name], []
        for day in sorted(day for day in account.usage if day <= until):
            for item, region in account.rows(day):
                billed = account.billed(day, item, region)
                rest = account.rated(day, item, region) - billed
                state = "pending" if account.billable(day, item) else "not_billable"
                for part, quantity in (("settled", billed), (state, rest)):
                    row = {"day": str(day), "item": item, "region": region, "quantity": quantity, "state": part}
                    rows += [row | {"unit": ITEMS[item]["unit"]}] if quantity else []
        return rows

    def estimate_json(self, name: str, now: datetime) -> Json:
        """Every pending day up to and including today, as a run would settle it, on a copy."""
        world = copy.deepcopy(self)
        account, today = world.accounts[name], day_of(now)
        bills = [world.bill(account, day, now) for day in sorted(account.usage) if day <= today]
        shown = [{k: v for k, v in bill.items() if k not in ("bill_id", "settled_at")} for bill in bills if bill]
        answer: Json = {"as_of": now, "pending_days": [bill for bill in shown if bill["day"] < str(today)]}
        answer["today"] = next((bill for bill in shown if bill["day"] == str(today)), None)
        return answer | {"balance_after": money(account.balance)}

    def entitlement_json(self, name: str, now: datetime) -> Json:
        account, status = self.accounts[name], self.accounts[name].status(now)
        stopped = status in STOPPED
        answer = {"account_id": name, "allowed": not stopped, "reason": status if stopped else None, "status": status}
        answer |= {"suspends_at": account.arrears_since and account.arrears_since + ONE_DAY}
        answer |= {"amount_to_clear": money(max(Fraction(0), -account.balance)), "balance": money(account.balance)}
        return answer | {"billing_mode": account.mode(day_of(now)), "as_of_day": str(day_of(now))}
