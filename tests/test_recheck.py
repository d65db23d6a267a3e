"""Rechecking a bill: the file holds all that the script needs, and the script believes none of its computed numbers."""

import ast
import copy
import json
import re
import sys
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.contrib.staticfiles import finders
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Account
from accounts.modes import switch_mode
from packs.models import Item
from packs.refunds import refund_pack
from settlement import expiry, recheck
from settlement.models import Bill, BillLine, UsageEvent
from settlement.staff_refunds import refund_used_pack
from tests.api_client import Api
from tests.conftest import made_once
from tests.recheck_tool import SCRIPT, TOOL, assert_right, file_of, findings, run, sealed
from tests.test_pages import customer
from tests.worlds import GB, MBPS, assert_books, at, bill_of, bills_of, buy, event, night, opened, send, set_tariff, use

pytestmark = pytest.mark.django_db


def busy_day() -> Account:
    """5 March: every aggregation, packs that run out under a line, two regions, a price history, late usage twice."""
    alice = opened("alice", on="2026-02-27")
    pet, hongkong = Item.objects.get(code="ai.pet"), "cn-hongkong"
    for day, price in (("2026-03-02", 1_000_000), ("2026-03-04", 1_500_000), ("2026-03-04", 1_600_000)):
        set_tariff(
            item=pet,
            region=hongkong,
            price=price,
            per=1000,
            effective_day=date.fromisoformat(day),
            reason="a test",
            now=at("2026-03-01T10:00"),
        )
    buy(alice, "pet-100k", "2026-03-01T10:00", 2)
    buy(alice, "kitchen-100k", "2026-03-02T10:00")
    use(alice, "ai.pet", 60_003, "2026-03-04T10:00")
    use(alice, "ai.face", 3, "2026-03-04T10:00")
    night("2026-03-05T02:00")
    day = "2026-03-05"
    send(
        [
            event(alice, "ai.pet", 50_000, f"{day}T10:00:00"),
            event(alice, "ai.pet", 30_001, f"{day}T11:00:00", source="/edge/2"),
            event(alice, "ai.pet", 777, f"{day}T11:00:00", region=hongkong),
            event(alice, "ai.face", 1_003, f"{day}T11:00:00"),
            event(alice, "ai.kitchen.hat", 40, f"{day}T11:00:00"),
            event(alice, "ai.kitchen.smoking", 50, f"{day}T11:00:00"),
            event(alice, "bandwidth.down", 31_234_567, f"{day}T00:00:00", resource="a"),
            event(alice, "bandwidth.down", 20 * MBPS, f"{day}T00:04:59", resource="a"),
            event(alice, "bandwidth.down", 20 * MBPS, f"{day}T00:04:59", resource="b"),
            event(alice, "bandwidth.down", 10 * MBPS, f"{day}T23:59:59.999999", resource="b"),
            event(alice, "storage.standard", 500 * GB, f"{day}T10:00:00"),
            event(alice, "storage.standard", 77 * GB + 1, f"{day}T10:05:00"),
            event(alice, "traffic.down", GB, f"{day}T10:00:00"),
            event(alice, "device.gb28181", 1, f"{day}T10:00:00", resource="camera-1"),
            event(alice, "device.gb28181", 1, f"{day}T10:00:00", resource="camera-2"),
            event(alice, "device.gb28181", 0, f"{day}T10:00:00", resource="camera-3"),
        ],
        f"{day}T23:59:59.999999",
    )
    night("2026-03-06T02:00")
    use(alice, "ai.pet", 90_000, f"{day}T12:00", received="2026-03-06T12:00")
    night("2026-03-07T02:00")
    use(alice, "ai.face", 7, f"{day}T12:00", received="2026-03-08T12:00")
    assert_books()
    return alice


alice_of_all = made_once(busy_day)


@pytest.fixture
def alice(alice_of_all: Account) -> Account:
    return copy.deepcopy(alice_of_all)


@pytest.fixture
def document(alice: Account) -> Any:
    return assert_right(bill_of(alice, "2026-03-05", 2))


# ── every field in turn ──────────────────────────────────────────────────────────────────────────────

Path_ = tuple[Any, ...]


def leaves(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Every value of a document that is no list or object."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from leaves(inner, (*path, place))
    else:
        yield path, value


def altered(document: Any, path: Path_, value: Any) -> Any:
    """The document with one value in place of another."""
    changed = copy.deepcopy(document)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


OTHERS = {
    "sum": "peak",
    "peak": "mean",
    "mean": "peak",
    "distinct": "sum",
    "bandwidth": "traffic",
    "traffic": "bandwidth",
    "en": "zh-hans",
    "call": "second",
    "events": "kept",
}
"""What stands in place of a word of a fixed list."""


def other_values(value: Any) -> list[Any]:
    """Values of the same kind that a forger might put in a value's place."""
    if value is None:
        return ["traffic"]
    if isinstance(value, int):
        return [value + 1, value - 1] if value else [1]
    if re.fullmatch(r"-?\d+\.\d+", value):
        places = len(value.partition(".")[2])
        return [TOOL.decimal(int(value.replace(".", "")) + step, places) for step in (1, -1)]
    if re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        return [(date.fromisoformat(value) + timedelta(days=step)).isoformat() for step in (1, -1)]
    if re.match(r"\d{4}-\d\d-\d\dT", value):
        steps = (timedelta(days=1), -timedelta(days=1), timedelta(seconds=1))
        return [(datetime.fromisoformat(value) + step).isoformat() for step in steps]
    if value.isdigit():
        return [str(int(value) + 1), str(int(value) - 1)]
    return [OTHERS.get(value, value + "x")]


def general(path: Path_) -> str:
    """A path without its places: usage.events[].quantity."""
    text = ""
    for step in path:
        if isinstance(step, int):
            is_column = text.endswith("usage.events[]")
            text += f".{recheck.COLUMNS[step]}" if is_column else "[]"
        else:
            text += f".{step}"
    return text.removeprefix(".")


def test_whatever_is_altered_is_found_and_named(document: Any) -> None:
    """As the file was issued, its digests in place: not one value of it can be another."""
    number = 0
    for path, value in leaves(document):
        for other in other_values(value):
            found = findings(altered(document, path, other))
            assert found, (path, value, other)
            named = path[1] if path[0] == "digests" else path[0]
            assert any(str(named) in one for one in found), (path, value, other, found)
            number += 1
    assert number > 600


FREE = {
    # told to the reader, of no bearing on what is due
    "how",
    "language",
    "bill_id",
    "made_at",
    "account_id",
    "items[].unit",
    "bills[].transfer.transfer_id",
    # moments that may be others: what must hold of them does
    "bills[].settled_at",
    "bills[].previous.settled_at",
    "bills[].previous.day",
    "bills[].previous.sequence",
    "usage.events[].received",
    "packs[].valid_until",
    # which event it is, as long as it is not there twice; who sent it, where that makes no series of its own
    "usage.events[].id",
    "usage.events[].source",
    "usage.events[].resource",
    # the bill before: it only carries, and a carry cannot tell 0.01 charged more and 0.01 rated more
    "bills[].previous.bill_id",
}
"""What a forger who makes new digests may alter somewhere without a difference: docs/recheck.md tells why of each."""
FREE_SOMEWHERE = {
    "items[].position",  # while the order of the lines stays
    "items[].aggregation",  # of an item with one report, or one that its mode does not bill
    "tariff[].effective_from",  # of a price that was not in force any more, or earlier
    "tariff[].price.amount",  # of such a price, or of what the mode does not bill
    "tariff[].per",
    "pack_types[].covers[]",  # an item that was not used
    "usage.events[].time",  # within its slot, or where there are no slots
    "packs[].purchased_at",  # within its day
    "usage.events[].quantity",  # below the largest of its series and slot; more than one of a distinct resource
}


def test_a_forger_with_new_digests_is_found_by_the_arithmetic(document: Any) -> None:
    """What computes to something is found by computing; what remains free is known, and computes to nothing."""
    free, tried = set(), set()
    for path, value in leaves(document):
        if path[0] == "digests":
            continue
        tried.add(general(path))
        for other in other_values(value):
            changed = sealed(altered(document, path, other))
            if not findings(changed):
                free.add(general(path))
    assert free == FREE | FREE_SOMEWHERE
    assert tried - free >= {
        "bills[].sequence",
        "bills[].billing_mode",
        *(f"bills[].{name}.amount" for name in ("rated_total", "carry_in", "amount_due", "carry_out")),
        *(f"bills[].{name}.amount" for name in ("balance_before", "balance_after", "transfer.amount")),
        *(f"bills[].lines[].{name}" for name in ("item", "region", "quantity", "drawn", "charged", "per")),
        *(f"bills[].lines[].{name}.amount" for name in ("price", "amount")),
        *(f"bills[].lines[].drawdowns[].{name}" for name in ("pack_id", "quantity", "remaining_after")),
        *(f"bills[].packs[].{name}" for name in ("pack_id", "drawn_before", "remaining_before", "remaining_after")),
        *(f"bills[].previous.{name}.amount" for name in ("rated_total", "carry_in", "amount_due", "carry_out")),
        *(f"packs[].{name}" for name in ("pack_id", "pack_type", "total", "effective_day")),
        *(f"items[].{name}" for name in ("item", "requires_billing_mode")),
        *(f"tariff[].{name}" for name in ("item", "region")),
        *(f"pack_types[].{name}" for name in ("pack_type", "region")),
        *(f"usage.events[].{name}" for name in ("item", "region")),
        *(f"waiting[].{name}" for name in ("item", "region", "quantity")),
        "day",
        "billing_mode",
    }


def place_of(document: Any, list_: str, **members: Any) -> Path_:
    """Where the element of a list stands that has these members."""
    value = document
    for step in (steps := list_.split(".")):
        value = value[int(step) if step.isdigit() else step]
    for place, element in enumerate(value):
        if all(element[name] == wanted for name, wanted in members.items()):
            return (*(int(step) if step.isdigit() else step for step in steps), place)
    raise AssertionError((list_, members))


def test_the_line_that_differs_is_named(document: Any) -> None:
    """By a forger with new digests, so that nothing but the arithmetic can tell."""

    def differences(*changes: tuple[Path_, Any]) -> list[str]:
        changed = document
        for path, value in changes:
            changed = altered(changed, path, value)
        return findings(sealed(changed))

    first, second = (bill["bill_id"] for bill in document["bills"])
    events = document["usage"]["events"]
    face = next(place for place, row in enumerate(events) if row[2] == "ai.face" and row[5] == 1_003)
    assert f"bill {second}, line ai.face cn-mainland: missing; 1 used and not billed" in differences(
        (("usage", "events", face, 5), 1_004)
    )
    assert f"bill {second}, line ai.face cn-mainland: 0 billed, 1 more than was reported" in differences(
        (("usage", "events", face, 5), 1_002)
    )
    [again] = differences((("usage", "events", 0, 1), events[1][1]), (("usage", "events", 0, 0), events[1][0]))
    assert "a second time: an event counts once" in again
    price = place_of(document, "tariff", item="ai.face")
    found = differences(((*price, "price", "amount"), "0.500001"))
    assert f"bill {first}, line ai.face cn-mainland: price is 0.500000, recomputed 0.500001" in found
    assert f"bill {first}, line ai.face cn-mainland: amount is 0.501500, recomputed 0.501501" in found
    per = differences(((*price, "per"), 1001))
    assert any(one.startswith(f"bill {first}, line ai.face cn-mainland: per") for one in per)
    pack = document["bills"][0]["packs"][0]["pack_id"]
    [one] = differences((("bills", 0, "packs", 0, "remaining_before"), 39_996))
    assert one == f"bill {first}, pack {pack}: remaining before is 39996, recomputed 39997"
    found = differences((("bills", 0, "packs", 0, "drawn_before"), 60_004))
    assert any(f"bill {first}, line ai.pet cn-mainland: drawdowns are {pack}: 39997" in one for one in found)
    late = differences(
        (("packs", 0, "effective_day"), "2026-03-06"), (("packs", 0, "purchased_at"), "2026-03-06T10:00:00+08:00")
    )
    assert f"pack {pack}: not in force on the day" in late
    swapped = copy.deepcopy(document)
    swapped["packs"][0], swapped["packs"][1] = swapped["packs"][1], swapped["packs"][0]
    assert any("not in drawing order" in one for one in findings(sealed(swapped)))
    carry = differences((("bills", 0, "carry_in", "amount"), "0.001600"))
    assert f"bill {first}: carry in is 0.001600, recomputed 0.001500" in carry
    due = document["bills"][0]["amount_due"]["amount"]
    more = TOOL.decimal(int(due.replace(".", "")) + 1, 2)
    assert f"bill {first}: amount due is {more}, recomputed {due}" in differences(
        (("bills", 0, "amount_due", "amount"), more)
    )
    mode = differences((("billing_mode",), "traffic"))
    assert f"bill {first}: another billing mode than the day's" in mode
    assert any(f"bill {first}, line bandwidth.down cn-mainland: not billable" in one for one in mode)


def test_a_consistent_forgery_of_a_bill_meets_the_usage(document: Any) -> None:
    """A line that is dearer, with total, due, carry, balance and transfer to match: the reports do not."""
    changed = copy.deepcopy(document)
    bill = changed["bills"][1]
    [line] = [line for line in bill["lines"] if line["item"] == "ai.pet"]
    line["quantity"] += 4_000
    line["charged"] += 4_000
    for place, step, places in (
        (line["amount"], 10_000_000, 6),
        (bill["rated_total"], 10_000_000, 6),
        (bill["amount_due"], 1_000, 2),
        (bill["balance_after"], -1_000, 2),
        (bill["transfer"]["amount"], -1_000, 2),
        (bill["transfer"]["balance_after"], -1_000, 2),
    ):
        place["amount"] = TOOL.decimal(int(place["amount"].replace(".", "")) + step, places)
    found = findings(sealed(changed))
    assert f"bill {bill['bill_id']}, line ai.pet cn-mainland: quantity is 94000, recomputed 90000" in found


def test_a_member_may_neither_lack_nor_be_there_twice_nor_be_of_another_kind(document: Any) -> None:
    tried: set[str] = set()
    for path, value in leaves(document):
        if path[0] in ("how", "usage", "digests") or general(path) in tried:
            continue
        tried.add(general(path))
        wrongs: tuple[Any, ...] = (None, True, 1.5, [], {}, "", -1, "١٢", "NaN")
        for wrong in wrongs:
            if wrong == value or (wrong is None and path[-1] == "requires_billing_mode"):
                continue
            if "covers" in path and isinstance(wrong, str):  # an item that was not used
                continue
            assert findings(sealed(altered(document, path, wrong))), (path, wrong)
    for name in document:
        assert findings({key: value for key, value in document.items() if key != name}) == [
            f"refused: file.{name}: missing"
        ]
    assert findings(document | {"more": 1}) == ["refused: file.more: unknown member"]
    assert findings(document | {"bills": []}) != []


# ── what a customer meets ────────────────────────────────────────────────────────────────────────────


def test_the_script_runs_alone_and_says_what_it_found(alice: Account, document: Any, tmp_path: Path) -> None:
    bill = bill_of(alice, "2026-03-05", 1)
    path = tmp_path / "账单 5.json"
    path.write_text(file_of(bill, "zh-hans"), encoding="utf-8")
    ran = run(path)
    assert (ran.returncode, ran.stderr) == (0, ""), ran
    assert "复核无误" in ran.stdout
    assert "之后又上报 7，尚未出账" in ran.stdout
    assert "计入了 2026-03-05T23:59:59.999999+08:00 之前收到的上报" in ran.stdout
    ran = run(path, "--lang", "en")
    assert "Right to the fen." in ran.stdout
    assert f"bill {bill.pk} of 2026-03-05, account {alice.pk}" in ran.stdout
    damaged = altered(document, ("bills", 0, "lines", 0, "charged"), 9)
    path.write_text(json.dumps(damaged, indent=4), encoding="utf-8")
    ran = run(path)
    assert ran.returncode == 1
    assert f"✗ bill {bill.pk}, line ai.face cn-mainland: charged is 9, recomputed 1003" in ran.stdout
    assert "✗ bills: not as it was" in ran.stdout
    chinese = run(path, "--lang", "zh").stdout
    assert f"✗ 账单 {bill.pk}，明细 ai.face cn-mainland：计费量为 9，复算得 1003" in chinese.replace(", 明细", "，明细")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": "something"}',
        "9" * 5000,
        "[" * 20_000,
        '{"a": 1, "a": 1}',
        '{"a": 0.1}',
        "\udc80",
    ],
)
def test_what_is_no_recheck_file_is_refused_without_a_traceback(content: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    ran = run(path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "Not a recheck file" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    ran = run(tmp_path / "nothing.json")
    assert (ran.returncode, "Traceback" in ran.stderr) == (2, False)


def test_every_message_of_the_script_is_said_in_chinese_too() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 8))
    said: set[Any] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            place = {"differs": 1, "tell": 1, "say": 0}.get(name)
            text = node.args[place] if place is not None and len(node.args) > place else None
            if isinstance(text, ast.Constant):
                said.add(text.value)
            if name == "same":
                what = node.args[1]
                assert isinstance(what, ast.Constant)
                assert what.value in TOOL.NAMES
    assert said == TOOL.CHINESE.keys()
    for english, chinese in TOOL.CHINESE.items():
        assert set(re.findall(r"{\w+}", english)) == set(re.findall(r"{\w+}", chinese)), english


def test_the_script_needs_nothing_but_python() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 8))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= set(sys.stdlib_module_names) | {"__future__"}
    assert not names & {"os", "socket", "subprocess", "urllib", "urllib.request", "http", "shutil", "tempfile"}
    assert finders.find("recheck/recheck.py") == str(SCRIPT)


def test_page_and_api_hand_out_the_same_file() -> None:
    account, client = customer()
    use(account, "ai.pet", 400, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    [bill] = bills_of(account)
    with time_machine.travel(at("2026-03-06T10:00"), tick=False):
        page = client.get(f"/bills/{bill.pk}/")
        assert f"/bills/{bill.pk}/recheck/".encode() in page.content
        response = client.get(f"/bills/{bill.pk}/recheck/")
        body = response.getvalue()
        assert response["Content-Type"] == "application/json"
        assert response["Content-Disposition"] == f'attachment; filename="iss-recheck-2026-03-05-{bill.pk}.json"'
        assert int(response["Content-Length"]) == len(body)
        assert "no-store" in response["Cache-Control"]
        api = Api(account)
        answer = api.client.get(f"/api/v1/bills/{bill.pk}/recheck/")
        assert json.loads(answer.getvalue()) == json.loads(body)
    assert findings(json.loads(body)) == []
    _, other = customer("bob")
    assert other.get(f"/bills/{bill.pk}/recheck/").status_code == 404


def test_the_queries_do_not_grow_with_the_day(alice: Account) -> None:
    def asked(bill: Bill) -> int:
        with CaptureQueriesContext(connection) as queries:
            file_of(bill)
        return len(queries)

    few = asked(bill_of(alice, "2026-03-05", 1))
    send([event(alice, "ai.face", 1, "2026-03-05T13:00:00") for _ in range(1_000)], "2026-03-08T12:00")
    night("2026-03-09T02:00")
    assert len(assert_right(bill_of(alice, "2026-03-05", 3))["bills"]) == 3
    assert asked(bill_of(alice, "2026-03-05", 1)) <= few <= 20


# ── days that are not plain ──────────────────────────────────────────────────────────────────────────


def test_an_expired_day_starts_from_what_is_kept_and_says_so(
    alice: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night("2026-03-09T02:00")
    whole = assert_right(bill_of(alice, "2026-03-05", 3))
    assert whole["usage"]["from"] == "events"
    monkeypatch.setattr(expiry, "PAUSE_SECONDS", 0)
    expiry.expire_usage(before=date(2026, 3, 6), now=at("2026-04-20T12:00"))
    assert not UsageEvent.objects.filter(day=date(2026, 3, 5)).exists()
    document = assert_right(bill_of(alice, "2026-03-05", 3))
    assert (document["usage"]["from"], document["usage"]["because"]) == ("kept", "expired")
    assert [bill["lines"] for bill in document["bills"]] == [bill["lines"] for bill in whole["bills"]]
    path = tmp_path / "file.json"
    path.write_text(file_of(bill_of(alice, "2026-03-05", 1)), encoding="utf-8")
    assert "usage: the reports have expired; taken from what is kept of them" in run(path).stdout
    kept = place_of(document, "usage.quantities", item="bandwidth.down")
    assert document["usage"]["quantities"][kept[-1]]["slots"][0] == 51_234_567
    found = findings(sealed(altered(document, (*kept, "slots", 0), 51_234_568)))
    assert "bandwidth.down cn-mainland: quantity is 51234567, recomputed 51234568" in found
    assert any("line bandwidth.down cn-mainland: missing; 1 used and not billed" in one for one in found)
    for path_, value in leaves(document["usage"]):
        if path_[-1] not in ("columns", "from", "because") and isinstance(value, int):
            assert findings(altered(document, ("usage", *path_), value + 1))


def test_a_day_of_too_many_reports_starts_from_its_aggregates(alice: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recheck, "MOST_EVENTS", 3)
    document = assert_right(bill_of(alice, "2026-03-05", 1))
    assert (document["usage"]["from"], document["usage"]["because"]) == ("kept", "too_many")
    assert document["waiting"] == [{"item": "ai.face", "region": "cn-mainland", "quantity": 7}]


def test_reports_that_no_run_will_bill_are_a_difference(alice: Account) -> None:
    """Usage that is above what was billed, and not marked to be settled: nobody could have told so from the pages."""
    night("2026-03-09T02:00")
    last = bill_of(alice, "2026-03-05", 3)
    assert_right(last)
    UsageEvent.objects.filter(day=last.day, item__code="ai.face", quantity=7).update(quantity=8)
    found = findings(json.loads(file_of(last)))
    assert f"bill {last.pk}, line ai.face cn-mainland: quantity is 7, recomputed 8" in found


def test_a_bill_that_was_tampered_with_in_the_database_does_not_recheck(alice: Account) -> None:
    bill = bill_of(alice, "2026-03-05", 1)
    line = BillLine.objects.get(bill=bill, item__code="bandwidth.down")
    BillLine.objects.filter(pk=line.pk).update(amount=line.amount + 1)
    found = findings(json.loads(file_of(bill)))
    assert any(f"bill {bill.pk}, line bandwidth.down cn-mainland: amount is" in one for one in found)


def test_packs_that_were_refunded_before_or_after_the_bill() -> None:
    """Of three packs the first was refunded before the bill, the last after it, and one by staff after it was drawn."""
    alice = opened("alice")
    first, second, third = buy(alice, "pet-100k", "2026-03-01T10:00", 3)
    refund_pack(account_id=alice.pk, pack_id=first.pk, now=at("2026-03-03T10:00"))
    use(alice, "ai.pet", 99_999, "2026-03-03T11:00")
    # refunded while the run was at work, before its turn came: later than the clock that the run goes by
    kitchen = buy(alice, "kitchen-100k", "2026-03-02T10:00")[0]
    use(alice, "ai.kitchen.hat", 10_000, "2026-03-03T11:00")
    refund_pack(account_id=alice.pk, pack_id=kitchen.pk, now=at("2026-03-04T02:00:05"))
    night("2026-03-04T02:00")
    refund_pack(account_id=alice.pk, pack_id=third.pk, now=at("2026-03-04T02:00:09"))
    refund_used_pack(pack_id=second.pk, reason="a test", now=at("2026-03-05T10:00"))
    document = assert_right(bill_of(alice, "2026-03-03"))
    assert [pack["pack_id"] for pack in document["packs"]] == [str(second.pk), str(third.pk)]
    use(alice, "ai.pet", 5, "2026-03-03T12:00", received="2026-03-05T12:00")
    night("2026-03-06T02:00")
    again = assert_right(bill_of(alice, "2026-03-03", 2))
    assert [len(bill["packs"]) for bill in again["bills"]] == [2, 0]
    assert_books()


def test_a_day_billed_by_traffic_and_a_pack_drawn_over_two_bills() -> None:
    alice = opened("alice")
    switch_mode(account_id=alice.pk, mode="traffic", now=at("2026-03-01T10:00"))
    buy(alice, "traffic-down-1tb", "2026-03-03T10:00")
    for day in ("2026-03-03", "2026-03-04"):
        use(alice, "traffic.down", 600 * GB, f"{day}T10:00")
        use(alice, "bandwidth.down", 600 * MBPS, f"{day}T10:00")
    night("2026-03-05T02:00")
    use(alice, "traffic.down", 1, "2026-03-03T12:00", received="2026-03-05T12:00")
    night("2026-03-06T02:00")
    for bill in bills_of(alice):
        assert_right(bill)


def test_a_report_that_a_run_could_not_see_leaves_its_bill_right() -> None:
    """Committed after the run though received before it: no moment of receipt tells what the first bill counted."""
    alice = opened("alice")
    use(alice, "ai.pet", 100, "2026-03-05T10:00", received="2026-03-05T10:00:02")
    night("2026-03-06T02:00")
    use(alice, "ai.pet", 40, "2026-03-05T10:01", received="2026-03-05T10:01:01")
    UsageEvent.objects.filter(quantity=40).update(received_at=at("2026-03-05T09:59:59"))
    night("2026-03-07T02:00")
    document = assert_right(bill_of(alice, "2026-03-05", 1))
    check = TOOL.Recheck(TOOL.File(document))
    check.run()
    assert [message for _, message, _ in check.told] == [
        "the times of receipt do not tell which reports it counted; the day's sum is held"
    ]
