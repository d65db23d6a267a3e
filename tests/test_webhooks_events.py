"""Webhook events: each type by its cause, written in its transaction, once, for whoever listens."""

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.ledger import record_top_up
from accounts.models import Account, Notice
from accounts.notice_texts import text_of
from accounts.opening import open_account
from accounts.webhook_models import Delivery
from accounts.webhooks import remove_endpoint, turn_off
from packs.models import Item
from packs.orders import LineRequest, OrderRefused, place_order
from packs.refunds import refund_pack
from settlement.announcements import announce
from settlement.arrears import sweep
from settlement.staff_refunds import refund_used_pack
from tests.api_client import Api
from tests.hooks import listen
from tests.worlds import assert_books, at, bill_of, buy, night, opened, set_tariff, top_up, use

pytestmark = pytest.mark.django_db

URL = "https://example.com/hook"


@pytest.fixture(autouse=True)
def proven() -> Iterator[None]:
    """Every test leaves true books."""
    yield
    assert_books()


def told(account: Account | None, *types: str) -> list[Any]:
    """The bodies that were written for an account's endpoints, or the platform's, in order; of some types only."""
    rows = Delivery.objects.filter(endpoint__account=account, **({"type__in": types} if types else {})).order_by("id")
    return [json.loads(row.body) for row in rows]


def types_told(account: Account | None) -> list[str]:
    return [body["type"] for body in told(account)]


def test_an_opened_account_is_told_to_the_platform() -> None:
    listen(None, URL)
    account = open_account(name="alice", now=at("2026-03-01T09:00"))
    [body] = told(None)
    assert (body["type"], body["timestamp"]) == ("account.opened", "2026-03-01T09:00:00+08:00")
    shown = Api(account).get("account/")
    assert body["data"] == shown
    assert body["data"]["account_id"] == str(account.pk)


def test_a_payment_is_told_as_the_ledger_shows_it_and_once() -> None:
    alice = opened(balance=None)
    listen(alice, URL)
    for _ in range(2):
        record_top_up(account_id=alice.pk, amount=5000, reference="bank-1", now=at("2026-03-01T10:00"))
    [body] = told(alice)
    [shown] = Api(alice).get("ledger/")["results"]
    assert body == {
        "type": "payment.received",
        "timestamp": "2026-03-01T10:00:00+08:00",
        "data": {"account_id": str(alice.pk), **shown},
    }


def test_an_order_is_told_with_its_packs_and_a_repeat_is_not() -> None:
    alice = opened()
    listen(alice, URL)
    for _ in range(2):
        lines = [LineRequest("pet-100k", 2), LineRequest("traffic-down-1tb", 1)]
        order, _new = place_order(account_id=alice.pk, lines=lines, key="k", now=at("2026-03-02T10:00"))
    [body] = told(alice)
    assert body["type"] == "order.placed"
    assert len(body["data"]["packs"]) == 3
    shown = Api(alice).get(f"orders/{order.pk}/")
    for pack in (*shown["packs"], *body["data"]["packs"]):
        pack.pop("refundable_until")  # asked for at another moment
    assert body["data"] == {"account_id": str(alice.pk), **shown}


def test_a_refused_order_tells_nothing() -> None:
    alice = opened(balance="1.00")
    listen(alice, URL)
    with pytest.raises(OrderRefused):
        place_order(account_id=alice.pk, lines=[LineRequest("pet-100k", 1)], key="k", now=at("2026-03-02T10:00"))
    assert told(alice) == []


def test_a_refund_is_told_by_the_customer_and_by_staff() -> None:
    alice = opened()
    first, second = buy(alice, "pet-100k", "2026-03-02T09:00", 2)
    listen(alice, URL)
    refund_pack(account_id=alice.pk, pack_id=first.pk, now=at("2026-03-02T10:00"))
    use(alice, "ai.pet", 50_000, "2026-03-02T11:00")
    night("2026-03-03T02:00")
    refund_used_pack(pack_id=second.pk, reason="goodwill", now=at("2026-03-04T10:00"))
    bodies = told(alice, "pack.refunded")
    assert [body["data"] for body in bodies] == [
        {"account_id": str(alice.pk), **Api(alice).get(f"packs/{pack.pk}/")} for pack in (first, second)
    ]
    assert bodies[0]["data"]["status"] == "refunded"


def test_a_bill_is_told_as_its_get_shows_it() -> None:
    alice, bob = opened("alice"), opened("bob")
    listen(alice, URL)
    buy(alice, "pet-100k", "2026-03-01T09:00", 2)
    for account in (alice, bob):
        use(account, "ai.pet", 150_000, "2026-03-01T10:00")
        use(account, "ai.vehicle", 3, "2026-03-01T10:00")
        use(account, "storage.standard", 123_456_789_012, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    use(alice, "ai.vehicle", 2, "2026-03-01T10:00", received="2026-03-03T10:00")
    night("2026-03-04T02:00")
    first, late = told(alice, "bill.ready")
    for body, sequence in ((first, 1), (late, 2)):
        bill = bill_of(alice, "2026-03-01", sequence)
        assert body["data"] == {"account_id": str(alice.pk), **Api(alice).get(f"bills/{bill.pk}/")}
    assert first["timestamp"] == "2026-03-02T02:00:00+08:00"
    assert first["data"]["lines"][0]["drawdowns"]
    assert told(bob) == []


def test_standing_is_told_at_each_change() -> None:
    alice = opened(balance="10.00")
    listen(alice, URL)
    listen(None, URL)
    use(alice, "ai.plate", 120, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    for moment in ("2026-03-03T02:00", "2026-03-03T02:05", "2026-03-10T02:00", "2026-03-10T02:05"):
        sweep(at(moment))
    top_up(alice, "2.00", "2026-03-10T03:00")
    expected = ["account.arrears", "bill.ready", "account.suspended", "account.reclaimed", "account.resumed"]
    assert types_told(alice) == [*expected, "payment.received"]
    assert types_told(None) == [*expected, "payment.received"]
    arrears, suspended, reclaimed, resumed = [body["data"] for body in told(alice) if "account." in body["type"]]
    assert [one["status"] for one in (arrears, suspended, reclaimed, resumed)] == [
        "arrears",
        "suspended",
        "reclaimed",
        "active",
    ]
    assert (arrears["balance"]["amount"], arrears["suspends_at"]) == ("-2.00", "2026-03-03T02:00:00+08:00")
    alice.refresh_from_db()
    assert resumed == Api(alice).get("account/")


def test_two_accounts_that_fall_at_the_same_instant_are_both_told() -> None:
    listen(None, URL, ["account.arrears"])
    accounts = [opened(name, balance="10.00") for name in ("alice", "bob")]
    for account in accounts:
        use(account, "ai.plate", 120, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    assert {body["data"]["account_id"] for body in told(None)} == {str(account.pk) for account in accounts}


def low(account: Account) -> list[tuple[str, int]]:
    return [(body["type"], body["data"]["remaining"]) for body in told(account, "pack.low", "pack.exhausted")]


def told_in_the_console(account: Account) -> list[str]:
    return list(Notice.objects.filter(account=account).order_by("id").values_list("kind", flat=True))


def test_a_pack_is_low_once_at_a_fifth_and_then_used_up() -> None:
    alice = opened()
    listen(alice, URL)
    [pack] = buy(alice, "pet-100k", "2026-03-01T09:00")
    use(alice, "ai.pet", 79_999, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    assert low(alice) == []
    use(alice, "ai.pet", 1, "2026-03-02T10:00")
    night("2026-03-03T02:00")
    assert low(alice) == [("pack.low", 20_000)]
    use(alice, "ai.pet", 5_000, "2026-03-03T10:00")
    night("2026-03-04T02:00")
    assert low(alice) == [("pack.low", 20_000)], "once"
    [body] = told(alice, "pack.low")
    assert body["data"]["pack_id"] == str(pack.pk)
    use(alice, "ai.pet", 15_000, "2026-03-04T10:00")
    night("2026-03-05T02:00")
    assert low(alice) == [("pack.low", 20_000), ("pack.exhausted", 0)]
    assert told(alice)[-1]["data"] == {"account_id": str(alice.pk), **Api(alice).get(f"packs/{pack.pk}/")}
    assert told_in_the_console(alice) == ["pack_low", "pack_exhausted"]


def test_several_lines_that_draw_from_one_pack_cross_the_threshold_together() -> None:
    alice = opened()
    listen(alice, URL)
    buy(alice, "kitchen-100k", "2026-03-01T09:00")
    use(alice, "ai.kitchen.hat", 50_000, "2026-03-01T10:00")
    use(alice, "ai.kitchen.mask", 35_000, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    assert low(alice) == [("pack.low", 15_000)]


def test_a_pack_that_falls_to_nothing_at_once_is_low_and_used_up_to_programs_and_used_up_to_people() -> None:
    alice = opened()
    listen(alice, URL)
    buy(alice, "pet-100k", "2026-03-01T09:00")
    use(alice, "ai.pet", 100_000, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    assert low(alice) == [("pack.low", 0), ("pack.exhausted", 0)]
    assert told_in_the_console(alice) == ["pack_exhausted"]


@pytest.mark.parametrize(
    ("percent", "used", "expected"),
    [
        (50, 49_999, []),
        (50, 50_000, ["pack_low"]),
        (1, 98_999, []),
        (1, 99_000, ["pack_low"]),
        (0, 99_999, []),
        (0, 100_000, ["pack_exhausted"]),
    ],
)
def test_the_threshold_is_the_customers(percent: int, used: int, expected: list[str]) -> None:
    alice = opened()
    Account.objects.filter(pk=alice.pk).update(low_percent=percent)
    listen(alice, URL)
    buy(alice, "pet-100k", "2026-03-01T09:00")
    use(alice, "ai.pet", used, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    assert told_in_the_console(alice) == expected
    assert [body["type"] for body in told(alice, "pack.low", "pack.exhausted")] == [
        kind.replace("_", ".") for kind in expected
    ]


def test_a_low_pack_is_told_in_words() -> None:
    alice = opened()
    buy(alice, "traffic-down-1tb", "2026-03-01T09:00")
    Account.objects.filter(pk=alice.pk).update(language="en")
    [pack] = buy(alice, "pet-100k", "2026-03-01T09:00")
    use(alice, "ai.pet", 90_000, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    [notice] = Notice.objects.filter(account=alice)
    subject, body = text_of(notice)
    assert (notice.reference, subject) == (f"pack:{pack.pk}", "宠物识别资源包：快用完了")
    assert "剩 1 万次" in body


def test_a_price_is_announced_to_everybody_who_listens() -> None:
    alice, bob = opened("alice"), opened("bob")
    listen(alice, URL)
    listen(bob, URL, ["bill.ready"])
    listen(None, URL)
    item = Item.objects.get(code="ai.pet")
    words: dict[str, Any] = {"item": item, "region": "cn-mainland", "per": 1000, "reason": "costs"}
    set_tariff(**words, price=4_000_000, effective_day=date(2026, 4, 1), now=at("2026-03-01T10:00"))
    set_tariff(**words, price=3_000_000, effective_day=date(2026, 4, 1), now=at("2026-03-02T10:00"))
    first, second = told(alice, "price.announced")
    entry = {"item": "ai.pet", "region": "cn-mainland", "per": 1000, "effective_from": "2026-04-01"}
    assert first["data"].items() >= entry.items()
    assert (first["data"]["account_id"], first["data"]["price"]) == (
        str(alice.pk),
        {"amount": "4.000000", "currency": "CNY"},
    )
    assert second["data"]["price"]["amount"] == "3.000000"
    assert told(bob) == []
    assert [body["data"]["account_id"] for body in told(None)] == [None, None]


def test_only_what_an_endpoint_listens_for_and_only_while_it_is_on() -> None:
    alice = opened()
    listen(alice, URL, ["order.placed"])
    off, _ = listen(alice, URL)
    gone, _ = listen(alice, URL)
    turn_off(off, at("2026-03-01T09:00"))
    remove_endpoint(gone, at("2026-03-01T09:00"))
    top_up(alice, "1.00", "2026-03-01T10:00")
    buy(alice, "pet-100k", "2026-03-01T10:00")
    assert types_told(alice) == ["order.placed"]


def test_accounts_hear_of_themselves_only_and_the_platform_of_all() -> None:
    alice, bob = opened("alice"), opened("bob")
    for account in (alice, bob, None):
        listen(account, URL)
    top_up(alice, "1.00", "2026-03-01T10:00")
    top_up(bob, "2.00", "2026-03-01T10:00")
    for account in (alice, bob):
        assert [body["data"]["account_id"] for body in told(account)] == [str(account.pk)]
    assert [body["data"]["account_id"] for body in told(None)] == [str(alice.pk), str(bob.pk)]


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_not_told() -> None:
    alice = opened()
    listen(alice, URL)

    class Interrupted(Exception):
        pass

    def interrupted() -> None:
        record_top_up(account_id=alice.pk, amount=100, reference="r", now=at("2026-03-01T10:00"))
        buy(alice, "pet-100k", "2026-03-01T10:00")
        assert types_told(alice) == ["payment.received", "order.placed"]
        raise Interrupted

    with pytest.raises(Interrupted), transaction.atomic():
        interrupted()
    assert told(alice) == []


def test_a_shard_whose_telling_fails_is_not_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    alice = opened()
    listen(alice, URL)
    use(alice, "ai.pet", 100, "2026-03-01T10:00")

    def broken(*arguments: Any) -> None:
        announce(*arguments)
        raise ArithmeticError("out of words")

    monkeypatch.setattr("settlement.posting.announce", broken)
    [failed] = night("2026-03-02T02:00").failed
    assert (failed.account_id, failed.error) == (alice.pk, "ArithmeticError: out of words")
    assert (told(alice), alice.bills.count()) == ([], 0)
    monkeypatch.undo()
    night("2026-03-02T02:00")
    assert types_told(alice) == ["bill.ready"]


def test_a_night_without_listeners_asks_once_a_shard_and_with_them_no_more_for_many_than_for_few() -> None:
    def queries(accounts: int, *, listening: bool, day: int) -> int:
        customers = [opened(f"{day}-{number}", on="2026-03-01") for number in range(accounts)]
        for customer in customers:
            if listening:
                listen(customer, URL, ["bill.ready"])
            use(customer, "ai.pet", 10, f"2026-03-{day:02}T10:00")
        with CaptureQueriesContext(connection) as captured:
            night(f"2026-03-{day + 1:02}T02:00")
        asked = [query["sql"] for query in captured if "accounts_endpoint" in query["sql"]]
        assert len(asked) == 1
        assert bool([query for query in captured if "accounts_delivery" in query["sql"]]) == listening
        return len(captured)

    assert queries(2, listening=False, day=2) == queries(40, listening=False, day=4)
    assert queries(2, listening=True, day=6) == queries(40, listening=True, day=8)
    assert Delivery.objects.filter(type="bill.ready").count() == 42
