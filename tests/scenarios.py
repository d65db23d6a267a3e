"""Random scenarios, applied step by step both to the model in `oracle.py` and to the program, and compared.

`scenario(seed)` writes the steps, always the same for one seed. `run(seed)` applies them; it knows the program only by
its HTTP interface and its commands. A difference raises AssertionError naming seed, step, place and both values.
"""

from __future__ import annotations

import io
import json
import random
import tempfile
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from urllib.parse import urlencode

import time_machine
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from tests.oracle import ITEMS, MAINLAND, PACK_TYPES, SHANGHAI, SKUS, Json, World, day_of, money

Step = dict[str, Any]

CALLS = [code for code, item in ITEMS.items() if item["unit"] == "call"]
REGIONS = ["cn-hongkong", "ap-singapore", "cn-mainland-2"]
MINUTE, SECOND, TICK = timedelta(minutes=1), timedelta(seconds=1), timedelta(microseconds=1)
SIZES = {"bit/s": 200_000_000, "byte": 90 * 10**9, "second": 9_000, "channel": 3}

NOT_YET: set[str] = set()
"""GET calls that the program does not answer yet: not compared. Empty it when it does."""


class Writer:
    """Writes one scenario: every choice comes from the seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.steps: list[Step] = []
        self.first = date(2024, 1, 10) + timedelta(days=self.rng.randrange(800))
        self.days = self.rng.choice((10, 12, 15, 20, 25, 40))
        self.names = [f"Account {n}" for n in range(1, self.rng.randint(1, 3) + 1)]
        calls = self.rng.sample(CALLS, 3) + ["ai.kitchen.hat", "ai.kitchen.smoking"][: self.rng.randint(0, 2)]
        others = ["traffic.down", "traffic.up", "bandwidth.down", "storage.standard", "device.gb28181"]
        self.items = calls + self.rng.sample(others, 4) + self.rng.sample(["video.transcode-h264", "bandwidth.up"], 1)
        types = [t["code"] for t in PACK_TYPES.values() if set(t["covers"]) & set(self.items)]
        self.skus = [s["sku"] for s in SKUS.values() if s["pack_type"] in types and Fraction(s["price"]) <= 500]
        self.skus = self.rng.sample(self.skus, min(5, len(self.skus)))
        self.sent: list[Json] = []
        self.orders: list[Step] = []
        self.count = 0
        self.scale = self.rng.choice((1, 20, 400, 1000, 2000))  # of usage: from fractions of a fen to arrears

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def add(self, at: datetime, act: str, **more: Any) -> Step:
        self.steps.append({"at": at, "act": act, **more})
        return self.steps[-1]

    def moment(self, day: date) -> datetime:
        """Some moment of a billing day; often its very edges, and the edges of a slot."""
        midnight = datetime.combine(day, time(0), SHANGHAI)
        edge = self.rng.choice((timedelta(0), TICK, 5 * MINUTE, 5 * MINUTE - TICK, timedelta(days=1) - TICK))
        inside = timedelta(seconds=self.rng.randrange(86400), microseconds=self.rng.choice((0, 0, 250_000, 999_999)))
        return midnight + (edge if self.chance(0.15) else inside)

    def stamp(self, moment: datetime) -> str:
        """The same moment as different senders write it."""
        utc = moment.astimezone(SHANGHAI) - timedelta(hours=8)
        naive = utc.replace(tzinfo=None).isoformat()
        return self.rng.choice((moment.isoformat(), moment.isoformat(), naive + "Z", naive + "+00:00"))

    def event(self, now: datetime, day: date) -> Json:
        """One event as reported now: mostly good, of about this moment."""
        rng = self.rng
        if self.sent and self.chance(0.07):
            return self.again(now)
        self.count += 1
        data = self.data()
        event: Json = {"specversion": "1.0", "type": "iss.usage", "id": f"e{self.count}"}
        event |= {"source": f"/edge/gz-{rng.choice((1, 1, 2))}", "subject": rng.choice(self.names)}
        midnight = datetime.combine(day, time(0), SHANGHAI)
        when = midnight + (now - midnight) * rng.random()
        if self.chance(0.5):  # several series in one slot, and several reports of one series
            noon = midnight + 12 * 60 * MINUTE
            when = min(now, rng.choice((midnight, noon, noon + 5 * MINUTE - TICK)))
        kind = rng.random()
        if kind < 0.12:  # late
            when = self.moment(day - timedelta(days=rng.choice((1, 1, 1, 2, 2, 3, 5, 9, 29, 30, 31, 32))))
        elif kind < 0.15:
            when = now + rng.choice((9 * MINUTE, 10 * MINUTE, 10 * MINUTE + TICK, 3 * 60 * MINUTE))
        event |= {"time": self.stamp(when), "data": data}
        if self.chance(0.04):
            self.spoil(event, data, now)
        self.sent.append(event)
        return event

    def data(self) -> Json:
        rng = self.rng
        item = rng.choice(self.items + self.items[:2])
        distinct = ITEMS[item]["aggregation"] == "distinct"
        size = SIZES.get(ITEMS[item]["unit"], 100 * self.scale)
        quantity = rng.choice((0, 1, 3, 7, 144, size)) if self.chance(0.1) else rng.randint(0, size)
        data: Json = {"item": item, "quantity": quantity}
        if self.chance(0.15):
            data["region"] = rng.choice((MAINLAND, *REGIONS))
        if distinct or self.chance(0.4):
            data["resource"] = f"camera-{rng.choice((1, 1, 2, 3))}"
        if distinct and self.chance(0.5):
            del data["quantity"]
        return data

    def again(self, now: datetime) -> Json:
        """An event sent before: the same, or changed under its name, or its name at another moment."""
        event: Json = json.loads(json.dumps(self.rng.choice(self.sent[-40:])))
        if self.chance(0.3):
            event["data"]["quantity"] = self.rng.randint(1, 500)
        if self.chance(0.2):
            event["time"] = self.stamp(now - timedelta(hours=self.rng.randrange(40)))
        if self.chance(0.1):
            event["subject"] = self.rng.choice(self.names)
        if self.chance(0.15):
            event["source"] = "/edge/gz-3"
        return event

    def spoil(self, event: Json, data: Json, now: datetime) -> None:
        """Break one to three things, so that the order of the codes shows."""
        for _ in range(self.rng.randint(1, 3)):
            wrong = self.rng.randrange(9)
            if wrong == 0:
                stranger = self.rng.choice(("nobody", "0", "00000000-0000-4000-8000-000000000000", "Account 9", "-1"))
                mine = self.rng.choice(("0", " ", "+")) + str(event["subject"])
                event["subject"] = self.rng.choice((stranger, mine))
            elif wrong == 1:
                data["item"] = self.rng.choice(("ai.unicorn", "AI.PET"))
            elif wrong in (2, 3):
                data["quantity"] = self.rng.choice((-1, 1.5, 12.0, "12", True, None, 10**15 + 1, 10**30, [1]))
            elif wrong == 4:
                data["item"] = "device.gb28181"
                data["resource"] = ""
            elif wrong == 5:
                event["type"] = "iss.other"
            elif wrong == 6:
                data["region"] = "moon-1"
            else:
                event["time"] = self.stamp(now + timedelta(days=self.rng.choice((-90, -31, -12, 2))))

    def day_of_account(self, name: str, day: date) -> None:
        """What one customer does on one day."""
        rng = self.rng
        if self.chance(0.35):
            self.count += 1
            old = [step for step in self.steps if step["act"] == "top_up"]
            reference, amount = (
                f"R{self.count}",
                rng.choice(("0.01", "1.00", "25", "60.5", "300", "1000.00", "9000", "to 0", "to -0.01")),
            )
            if old and self.chance(0.15):  # repeated, perhaps with another amount or by another account
                reference = rng.choice(old)["reference"]
                amount = rng.choice((amount, next(s["amount"] for s in old if s["reference"] == reference)))
            if self.chance(0.04):
                amount = rng.choice(("0", "-5", "1.005"))
            self.add(self.moment(day), "top_up", account=name, amount=amount, reference=reference)
        if self.chance(0.25):
            self.order(name, self.moment(day))
        if self.chance(0.2):
            for _ in range(rng.choice((1, 1, 2, 3))):
                mode = rng.choice(("traffic", "traffic", "bandwidth"))
                self.add(self.moment(day), "mode", account=name, mode="free" if self.chance(0.03) else mode)
        if self.orders and self.chance(0.15):
            order = rng.choice(self.orders)
            self.add(self.moment(day), "refund", account=order["account"], key=order["key"], unit=rng.randrange(4))
        if self.chance(0.15):
            self.add(self.moment(day), "look", account=name)

    def order(self, name: str, at: datetime) -> None:
        rng = self.rng
        self.count += 1
        lines = [self.order_line() for _ in range(rng.choice((1, 1, 2, 3)))]
        lines[0] |= rng.choices(
            ({}, {"sku": "pet-3"}, {"quantity": 0}, {"sku": "plate-10m", "quantity": 1000}), (30, 1, 1, 1)
        )[0]
        if self.chance(0.15):  # the balance is just enough, or a fen short
            price = Decimal(SKUS[lines[0]["sku"]]["price"]) if lines[0]["sku"] in SKUS else Decimal(1)
            lines = [{"sku": lines[0]["sku"], "quantity": 1}]
            target = price - rng.choice((Decimal(0), Decimal("0.01")))
            self.add(at, "top_up", account=name, amount=f"to {target}", reference=f"R{self.count}")
        key = "" if self.chance(0.03) else f"order key {self.count}"
        self.orders.append(self.add(at, "order", account=name, key=key, lines=lines))
        if self.chance(0.3):  # the same key again: the same body, or another; now, or after a top-up
            again = lines if self.chance(0.7) else [{"sku": rng.choice(self.skus), "quantity": 1}]
            other = rng.choice(self.names) if self.chance(0.2) else name
            self.add(at + rng.choice((0, 1, 60, 4000)) * MINUTE, "order", account=other, key=key, lines=again)
        if self.chance(0.3):  # at the limit of the refund
            limit = at + timedelta(days=5) + rng.choice((-TICK, timedelta(0), TICK, SECOND))
            for unit in range(rng.randint(1, 2)):
                self.add(limit, "refund", account=name, key=key, unit=unit)
            self.add(limit, "look", account=name)
        if self.chance(0.1):
            for _ in range(rng.randint(1, 2)):
                self.add(at + rng.randint(0, 600) * MINUTE, "refund", account=name, key=key, unit=0)

    def order_line(self) -> Json:
        sku = self.rng.choice(self.skus)
        line: Json = {"sku": sku, "quantity": self.rng.choice((1, 1, 1, 2, 3))}
        price = SKUS[sku]["price"]
        if self.chance(0.4):
            line["expected_price"] = self.rng.choices((price, price.removesuffix(".00"), "9.99"), (4, 4, 1))[0]
        return line

    def staff(self, day: date) -> None:
        rng = self.rng
        if self.chance(0.08):
            sku, price = rng.choice(self.skus), f"{rng.randint(10, 900)}.{rng.randint(0, 99):02}"
            self.add(self.moment(day), "pack_price", sku=sku, price=price)
        for _ in range(3 if day == self.first else rng.choices((0, 1), (6, 1))[0]):
            self.tariff(day)

    def tariff(self, day: date) -> None:
        """A coming price, sometimes set twice; on the first day regions are opened; not from today."""
        rng = self.rng
        item = rng.choice(self.items)
        base = int(ITEMS[item]["per"])
        fields: Json = {"item": item, "per": rng.choice((base, base, 7 if base < 10**6 else 3 * 10**6))}
        fields["region"] = rng.choice(REGIONS if day == self.first else (MAINLAND, *REGIONS))
        fields["start"] = day + timedelta(days=rng.choice((0, 1, 1, 1, 2, 5)))
        for _ in range(rng.choice((1, 1, 2))):
            price = rng.choice(
                ("0.000001", "0.35", "1.234567", "2.5", "7") if base > 1 else ("0.000001", "0.125", "0.7")
            )
            self.add(self.moment(day), "tariff", **fields, price=price)

    def night(self, day: date) -> None:
        """The night after a day: settled, missed, settled twice; and the moments its arrears will change."""
        rng = self.rng
        midnight = datetime.combine(day + timedelta(days=1), time(0), SHANGHAI)
        if self.chance(0.8):
            at = midnight + rng.choice((0, 120, 120, 120, 700)) * MINUTE
            until = day - timedelta(days=rng.randint(-1, 4)) if self.chance(0.15) else None
            self.add(at, "settle", day=until)
            self.add(at, "check")
            if self.chance(0.15):
                self.add(at + rng.choice((0, 0, 60)) * MINUTE, "settle", day=None)
            for name in self.names:
                if self.chance(0.2):
                    at_limit = at + timedelta(days=rng.choice((1, 1, 8))) + rng.choice((-TICK, timedelta(0), TICK))
                    self.add(at_limit, rng.choice(("sweep", "look")), account=name)
                    self.add(at_limit, "look", account=name)
        if self.chance(0.3):
            self.add(midnight + rng.randrange(1440) * MINUTE, "sweep")

    def write(self) -> list[Step]:
        rng = self.rng
        opened = {name: self.first + timedelta(days=rng.choice((0, 0, 1, 4))) for name in self.names}
        opened[self.names[0]] = self.first
        for name, day in opened.items():
            at = datetime.combine(day, time(0), SHANGHAI) + rng.choice((0, 1, 600)) * MINUTE
            self.add(at, "open", account=name)
            if self.chance(0.8):
                amount = rng.choice(("5", "300.00", "3000", "50000", "500000"))
                self.add(at, "top_up", account=name, amount=amount, reference=f"first {name}")
        for day in (self.first + timedelta(days=n) for n in range(self.days)):
            for name in self.names:
                if day >= opened[name]:
                    self.day_of_account(name, day)
            for _ in range(rng.randint(0, 4)):
                now = self.moment(day)
                events = [self.event(now, day) for _ in range(rng.choice((1, 2, 5, 9)))]
                via = rng.choice(("single", "binary")) if len(events) == 1 else rng.choice(("batch", "batch", "import"))
                self.add(now, "usage", events=events, via=via)
            self.staff(day)
            self.night(day)
        last = max(step["at"] for step in self.steps)
        self.add(last + timedelta(days=1), "settle", day=None)
        self.add(last + timedelta(days=1), "check")
        first = min(step["at"] for step in self.steps if step["act"] == "open")
        return sorted((s for s in self.steps if s["at"] >= first), key=lambda s: (s["at"], s["act"] != "open"))


def scenario(seed: int) -> list[Step]:
    return Writer(seed).write()


def differences(expected: Any, got: Any, path: str) -> Iterator[str]:
    """Where an answer lacks or contradicts what is expected; it may say more."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key, value in expected.items():
            if key in got:
                yield from differences(value, got[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}: expected {value!r}, got nothing"
    elif isinstance(expected, list) and isinstance(got, list) and len(got) == len(expected):
        for index, (one, other) in enumerate(zip(expected, got, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif not same_value(expected, got, path):
        yield f"{path}: expected {expected!r}, got {got!r}"


def same_value(expected: Any, got: Any, path: str) -> bool:
    """Times as instants; amounts of six decimals by value, of two to the letter."""
    if isinstance(expected, datetime):
        return isinstance(got, str) and datetime.fromisoformat(got) == expected
    if path.endswith(".amount") and isinstance(expected, str) and len(expected.partition(".")[2]) == 6:
        return isinstance(got, str) and Decimal(got) == Decimal(expected)
    return type(expected) is type(got) and bool(expected == got)


class Program:
    """The program, by its public interfaces only; it translates between the model's ids and the program's."""

    def __init__(self) -> None:
        self.client = Client()
        self.page_size = 1000
        self.accounts: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.names: dict[tuple[str, str], str] = {}  # ("pack_id", the program's id): the model's
        _, answer = self.command(None, "create_api_key", "--platform")
        self.platform = str(answer["key"])

    def command(self, now: datetime | None, name: str, *args: str) -> tuple[int, Any]:
        """Exit code and the one JSON value on standard output."""
        out = io.StringIO()
        clock = ["--now", now.isoformat()] if now else []
        code = 0
        try:
            call_command(name, *args, *clock, "--json", stdout=out, stderr=io.StringIO())
        except CommandError as error:
            code = error.returncode
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, json.loads(out.getvalue() or "null")

    def http(self, now: datetime, key: str, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        url = path if "://" in path else f"/api/v1/{path}"
        headers = {"Authorization": f"Bearer {key}", **more.pop("headers", {})}
        content = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        with time_machine.travel(now, tick=False):
            response = self.client.generic(method, url, headers=headers, **(content | more))
        return response.status_code, json.loads(response.content or b"null")

    def get(self, now: datetime, account: str, path: str) -> Any:
        status, answer = self.http(now, self.keys[account], "GET", path)
        assert status == 200, f"GET {path}: {status} {answer}"
        return self.translate(answer)

    def pages(self, now: datetime, account: str, path: str, **query: str) -> list[Json]:
        """Every page of a list, by its `next` links."""
        rows: list[Json] = []
        url: str | None = f"{path}?{urlencode({**query, 'page_size': self.page_size})}"
        while url:
            answer = self.get(now, account, url)
            rows += answer["results"]
            url = answer["next"]
        return rows

    def subject(self, text: str) -> str:
        """An account's id, perhaps written in another way."""
        for name, theirs in self.accounts.items():
            text = text.replace(name, theirs)
        return text

    def translate(self, value: Any) -> Any:
        """The program's ids, wherever they stand, become the model's."""
        if isinstance(value, dict):
            return {
                key: self.names.get((key, one), one) if isinstance(one, str) else self.translate(one)
                for key, one in value.items()
            }
        return [self.translate(one) for one in value] if isinstance(value, list) else value

    def program_id(self, kind: str, name: str) -> str:
        return next((theirs[1] for theirs, ours in self.names.items() if theirs[0] == kind and ours == name), name)


def usage_order(row: Json) -> list[Any]:
    return [row["day"], row["item"], row["region"], row["state"]]


class Run:
    """Applies the steps to both and compares."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.world = World()
        self.program = Program()
        self.number = 0
        self.step: Step = {}
        self.last = False

    def same(self, expected: Any, got: Any, path: str) -> None:
        for difference in differences(expected, got, path):
            shown = {key: str(value) for key, value in self.step.items()}
            raise AssertionError(f"seed {self.seed}, step {self.number} {shown}: {difference}")

    def answered(self, expected: tuple[int, str], got: tuple[int, Any], path: str) -> Any:
        """The status, and the code of a refusal; the answer, translated."""
        code = got[1].get("code", "") if isinstance(got[1], dict) and got[0] >= 400 else ""
        self.same(list(expected), [got[0], code], path)
        return self.program.translate(got[1])

    def apply(self) -> None:
        steps = scenario(self.seed)
        for number, step in enumerate(steps):
            self.number, self.step, self.last = number, step, number == len(steps) - 1
            if step.get("account") in (None, *self.world.accounts) or step["act"] == "open":
                getattr(self, "do_" + step["act"])(**{key: value for key, value in step.items() if key != "act"})
        code, answer = self.program.command(None, "audit_books")
        broken = answer and [check for check in answer["checks"] if check["broken"]]
        self.same([0, True], [code, answer and answer["ok"]], f"audit_books {broken}")

    def do_open(self, at: datetime, account: str) -> None:
        self.world.open_account(account, at)
        code, answer = self.program.command(at, "create_account", account)
        self.same(0, code, "create_account")
        self.program.accounts[account] = answer["account_id"]
        self.program.names["account_id", answer["account_id"]] = account
        code, answer = self.program.command(None, "create_api_key", "--account", answer["account_id"])
        self.program.keys[account] = answer["key"]

    def do_top_up(self, at: datetime, account: str, amount: str, reference: str) -> None:
        if amount.startswith("to "):  # what brings the balance there
            missing = Fraction(amount[3:]) - self.world.accounts[account].balance
            if missing <= 0:
                return
            amount = money(missing)["amount"]
        expected = self.world.top_up(account, amount, reference, at)
        theirs = self.program.accounts[account]
        code, answer = self.program.command(at, "top_up", theirs, amount, "--reference", reference)
        self.same(expected if expected < 2 else True, code if expected < 2 else code > 0, "top_up exit code")
        if not code:
            balance = answer["balance"]
            shown = balance["amount"] if isinstance(balance, dict) else balance
            self.same(money(self.world.accounts[account].balance)["amount"], shown, "top_up.balance")

    def do_order(self, at: datetime, account: str, key: str, lines: list[Json]) -> None:
        status, code, order_id = self.world.place_order(account, key, lines, at)
        headers = {"Idempotency-Key": key} if key else {}
        got = self.program.http(
            at, self.program.keys[account], "POST", "orders/", body={"lines": lines}, headers=headers
        )
        answer = self.answered((status, code), got, "POST orders/")
        if order_id:
            expected = next(o for o in self.world.orders_json(account, at) if o["order_id"] == order_id)
            if status == 201:
                pairs = zip(expected["packs"], got[1]["packs"], strict=True)
                self.program.names |= {("pack_id", theirs["pack_id"]): ours["pack_id"] for ours, theirs in pairs}
                self.program.names["order_id", got[1]["order_id"]] = order_id
                answer = self.program.translate(got[1])
            self.same(expected, answer, "order")

    def do_mode(self, at: datetime, account: str, mode: str) -> None:
        status, code = self.world.switch_mode(account, mode, at)
        got = self.program.http(at, self.program.keys[account], "PUT", "account/billing-mode/", body={"mode": mode})
        answer = self.answered((status, code), got, "PUT account/billing-mode/")
        if status == 200:
            self.same(self.world.account_json(account, at), answer, "account")

    def do_refund(self, at: datetime, account: str, key: str, unit: int) -> None:
        if key not in self.world.accounts[account].keys:
            return
        packs = self.world.accounts[account].keys[key][1]["packs"]
        pack_id = packs[unit % len(packs)]
        status, code = self.world.refund(account, pack_id, at)
        path = f"packs/{self.program.program_id('pack_id', pack_id)}/refund/"
        answer = self.answered((status, code), self.program.http(at, self.program.keys[account], "POST", path), path)
        if status == 200:
            self.same(next(p for p in self.world.packs_json(account, at) if p["pack_id"] == pack_id), answer, "pack")
        if len(self.world.accounts) > 1:  # rules 4.1: to anyone else it does not exist
            other = next(name for name in self.world.accounts if name != account)
            self.same(
                404, self.program.http(at, self.program.keys[other], "POST", path)[0], path + " by another account"
            )

    def do_usage(self, at: datetime, events: list[Json], via: str) -> None:
        expected = self.world.report(events, at)
        sent = [{**event, "subject": self.program.subject(event["subject"])} for event in events]
        if via == "import":
            with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
                file.write("".join(json.dumps(event) + "\n" for event in sent))
                file.flush()
                got = self.program.command(at, "import_usage", file.name)
            self.same(0, got[0], "import_usage exit code")
        else:
            body: Any = sent if via == "batch" else sent[0]
            content = "application/cloudevents-batch+json" if via == "batch" else "application/cloudevents+json"
            more: Json = {"content_type": content}
            if via == "binary":
                more = {"headers": {f"ce-{key}": value for key, value in body.items() if key != "data"}}
                body = body["data"]
            got = self.program.http(at, self.program.platform, "POST", "usage/", body=body, **more)
            self.same(200, got[0], f"POST usage/ {got[1]}")
        self.same(expected, got[1], f"usage by {via}")

    def do_settle(self, at: datetime, day: date | None) -> None:
        bills = self.world.settle(at, day)
        code, answer = self.program.command(at, "settle", *(["--day", str(day)] if day else []))
        self.same(2 if bills is None else 0, code, "settle exit code")
        if bills is None:
            return
        due = sum((Fraction(bill["amount_due"]["amount"]) for bill in bills), Fraction(0))
        drawn: dict[str, int] = {}
        for line in (line for bill in bills for line in bill["lines"] if line["drawn"]):
            drawn[line["item"]] = drawn.get(line["item"], 0) + line["drawn"]
        got = {**answer, "drawn": {item: quantity for item, quantity in answer["drawn"].items() if quantity}}
        self.same({"bills": len(bills), "due": money(due)["amount"], "failed": []}, got, "settle")
        self.same(sorted(drawn.items()), sorted(got["drawn"].items()), "settle.drawn")
        self.same([], sorted({bill["day"] for bill in bills} - set(answer["days"])), "settle.days lacks")

    def do_sweep(self, at: datetime, account: str | None = None) -> None:
        changed = self.world.sweep(at)
        code, answer = self.program.command(at, "sweep_arrears")
        self.same(0, code, "sweep_arrears exit code")
        got = {row["account_id"]: row["status"] for row in self.program.translate(answer["changed"])}
        self.same(sorted(changed.items()), sorted(got.items()), "sweep_arrears.changed")

    def do_pack_price(self, at: datetime, sku: str, price: str) -> None:
        self.world.set_pack_price(sku, price)
        self.same(0, self.program.command(at, "set_pack_price", sku, price, "--reason", "a test")[0], "set_pack_price")

    def do_tariff(self, at: datetime, item: str, region: str, price: str, per: int, start: date) -> None:
        done = self.world.set_tariff(item, region, price, per, start, at)
        args = (item, region, price, "--per", str(per), "--from", str(start), "--reason", "a test")
        code, _ = self.program.command(at, "set_tariff", *args)
        self.same(done, code == 0, "set_tariff succeeded")

    def do_look(self, at: datetime, account: str) -> None:
        """What changes with the clock alone, at an odd moment."""
        world, program = self.world, self.program
        self.same(world.account_json(account, at), program.get(at, account, "account/"), "account")
        if "entitlements" not in NOT_YET:
            self.check_entitlement(at, account)
        kinds = {pack.kind["code"] for pack in world.accounts[account].packs}
        rows = program.pages(at, account, "packs/")
        for kind in kinds:  # in drawing order within a type
            ours = [pack for pack in world.packs_json(account, at) if pack["pack_type"] == kind]
            self.same(ours, [pack for pack in rows if pack["pack_type"] == kind], f"packs {kind}")
        self.same(len(world.accounts[account].packs), len(rows), "number of packs")
        self.same(world.estimate_json(account, at), program.get(at, account, "estimate/"), "estimate")

    def do_check(self, at: datetime) -> None:
        """Every page of every account; at the end in small pages."""
        self.program.page_size = (7, 100)[self.seed % 2] if self.last else 1000
        for account in self.world.accounts:
            self.do_look(at, account)
            self.check_bills(at, account)
            ledger = [dict(row) for row in reversed(self.world.accounts[account].ledger)]
            for row in ledger:
                if row["kind"] != "top_up":
                    del row["reference"]
            self.same(ledger, self.program.pages(at, account, "ledger/"), "ledger")
            if "usage" not in NOT_YET:
                self.check_usage(at, account)
            if self.last:
                self.check_rest(at, account)

    def check_entitlement(self, at: datetime, account: str) -> None:
        path = f"entitlements/{self.program.accounts[account]}/"
        status, answer = self.program.http(at, self.program.platform, "GET", path)
        self.same(200, status, path)
        self.same(self.world.entitlement_json(account, at), self.program.translate(answer), "entitlement")

    def check_usage(self, at: datetime, account: str) -> None:
        rows = self.program.pages(at, account, "usage/")
        got = sorted((row for row in rows if row["quantity"] and row["day"] <= str(day_of(at))), key=usage_order)
        self.same(sorted(self.world.usage_json(account, day_of(at)), key=usage_order), got, "usage")

    def check_bills(self, at: datetime, account: str) -> None:
        rows = self.program.pages(at, account, "bills/")
        self.same(
            sorted((row["day"] for row in rows), reverse=True), [row["day"] for row in rows], "bills, newest first"
        )
        rows.sort(key=lambda row: (row["day"], row["sequence"]), reverse=True)
        ours = self.world.bills_json(account)
        expected = [{k: v for k, v in bill.items() if k not in ("lines", "bill_id")} for bill in ours]
        self.same(expected, rows, "bills")
        for bill, row in zip(ours, rows, strict=True):
            name = f"{account} {bill['bill_id']}"
            if self.last or row["bill_id"] not in self.program.names.values():
                theirs = self.program.program_id("bill_id", row["bill_id"])
                answer = self.program.get(at, account, f"bills/{theirs}/")
                self.same({k: v for k, v in bill.items() if k != "bill_id"}, answer, f"bill {name}")
                self.program.names["bill_id", theirs] = name

    def check_rest(self, at: datetime, account: str) -> None:
        """Orders, each pack's drawdowns, filters, and the catalogue in force."""
        orders = sorted(self.program.pages(at, account, "orders/"), key=lambda order: str(order["order_id"]))
        ours = sorted(self.world.orders_json(account, at), key=lambda order: str(order["order_id"]))
        self.same(ours, orders, "orders")
        for pack in self.world.accounts[account].packs:
            path = f"packs/{self.program.program_id('pack_id', pack.pack_id)}/drawdowns/"
            rows = [{**row, "bill_id": f"{account} {row['bill_id']}"} for row in pack.drawdowns]
            self.same(rows, self.program.pages(at, account, path), path)
        self.check_filters(at, account)
        status, answer = self.program.http(at, "", "GET", "catalogue/", headers={"Authorization": ""})
        self.same(200, status, "catalogue/")
        prices = {pack["sku"]: pack["price"] for pack in answer["packs"]}
        self.same({sku: money(price) for sku, price in self.world.pack_prices.items()}, prices, "catalogue/ packs")
        tariff = {f"{row['item']} {row['region']}": row for row in answer["tariff"]}
        self.same(self.world.tariff_json(day_of(at)), tariff, "catalogue/ tariff")
        self.same(len(answer["tariff"]), len(self.world.tariff_json(day_of(at))), "catalogue/ tariff rows")

    def check_filters(self, at: datetime, account: str) -> None:
        """Lists cut by day, status and pack type."""
        query = {"from": str(day_of(at) - timedelta(days=9)), "to": str(day_of(at) - timedelta(days=3))}
        bills = self.program.pages(at, account, "bills/", **query)
        ours = [bill for bill in self.world.bills_json(account) if query["from"] <= bill["day"] <= query["to"]]
        self.same([bill["day"] for bill in ours], [bill["day"] for bill in bills], "bills/ from to")
        kinds = {pack.kind["code"] for pack in self.world.accounts[account].packs}
        for field, values in (("status", ("frozen", "refunded", "exhausted")), ("pack_type", sorted(kinds))):
            for value in values:
                self.check_packs(at, account, field, value)

    def check_packs(self, at: datetime, account: str, field: str, value: str) -> None:
        packs = [pack["pack_id"] for pack in self.world.packs_json(account, at) if pack[field] == value]
        got = self.program.pages(at, account, "packs/", **{field: value})
        self.same(sorted(packs), sorted(pack["pack_id"] for pack in got), f"packs/ {field}={value}")


def run(seed: int) -> None:
    Run(seed).apply()
