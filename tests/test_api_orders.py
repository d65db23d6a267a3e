"""The API's orders and packs: shapes, every refusal in its order, and what an Idempotency-Key promises."""

from collections.abc import Iterator
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from accounts.models import Account
from packs.models import Order, Pack, Sku
from tests.api_client import BASE, Api, problem, yuan_of
from tests.worlds import (
    assert_books,
    at,
    bill_of,
    buy,
    night,
    opened,
    set_pack_price,
    top_up,
    use,
    withdraw_from_sale,
    yuan,
)

pytestmark = pytest.mark.django_db

PET = {"sku": "pet-100k", "quantity": 1}


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    """Noon of 8 March 2026, until a test moves it; the books are true in the end."""
    with time_machine.travel(at("2026-03-08T12:00"), tick=False) as traveller:
        yield traveller
    assert_books()


@pytest.fixture
def alice() -> Account:
    return opened("alice")


def price_pack(price: str) -> None:
    set_pack_price(sku=Sku.objects.get(code="pet-100k"), price=yuan(price), reason="test", now=timezone.now())


def pack_of(pack: Pack, **changed: Any) -> dict[str, Any]:
    """A pack of 100,000 pet calls, bought and looked at at noon of 8 March, as answers show it."""
    return {
        "pack_id": str(pack.pk),
        "sku": "pet-100k",
        "pack_type": "pet",
        "order_id": str(pack.order_line.order_id),
        "total": 100_000,
        "remaining": 100_000,
        "status": "active",
        "purchased_at": "2026-03-08T12:00:00+08:00",
        "effective_day": "2026-03-08",
        "valid_until": "2099-12-31",
        "price_paid": yuan_of("250.00"),
        "refundable_until": "2026-03-13T12:00:00+08:00",
    } | changed


# orders


def test_an_order_to_the_letter(alice: Account) -> None:
    api = Api(alice)
    response = api.order([PET | {"quantity": 2, "expected_price": "250"}, {"sku": "face-100k", "quantity": 1}, PET])
    packs = list(Pack.objects.order_by("pk"))
    face = {"sku": "face-100k", "pack_type": "face", "price_paid": yuan_of("50.00")}
    expected = {
        "order_id": str(Order.objects.get().pk),
        "placed_at": "2026-03-08T12:00:00+08:00",
        "total": yuan_of("800.00"),
        "lines": [
            {"sku": "pet-100k", "quantity": 2, "price": yuan_of("250.00"), "amount": yuan_of("500.00")},
            {"sku": "face-100k", "quantity": 1, "price": yuan_of("50.00"), "amount": yuan_of("50.00")},
            {"sku": "pet-100k", "quantity": 1, "price": yuan_of("250.00"), "amount": yuan_of("250.00")},
        ],
        "packs": [pack_of(packs[0]), pack_of(packs[1]), pack_of(packs[2], **face), pack_of(packs[3])],
    }
    assert (response.status_code, response.json()) == (201, expected)
    assert api.get(f"orders/{expected['order_id']}/") == expected
    second = api.order([PET], "key-2").json()
    assert api.get("orders/")["results"] == [second, expected]
    assert api.get("account/")["balance"] == yuan_of("98950.00")


def test_the_same_key_and_body_again_is_the_same_order_whatever_has_changed(alice: Account) -> None:
    api = Api(alice)
    first = api.order([PET | {"expected_price": "250.00"}])
    price_pack("300.00")
    withdraw_from_sale("pet-100k", timezone.now().isoformat())
    for price in ("250.00", "250", "250.0"):  # the same value
        again = api.order([PET | {"expected_price": price}])
        assert (again.status_code, again.json()) == (200, first.json())
    use(alice, "ai.plate", 1_000_000, "2026-03-07T10:00")
    night("2026-03-08T12:00")
    assert api.get("account/")["status"] == "arrears"
    assert api.order([PET | {"expected_price": "250.00"}]).status_code == 200
    assert Order.objects.count() == 1


@pytest.mark.parametrize(
    "other",
    [[PET | {"quantity": 2}], [PET, PET], [PET | {"expected_price": "250.00"}], [{"sku": "pet-1m", "quantity": 1}]],
)
def test_the_same_key_with_another_body_is_refused(alice: Account, other: Any) -> None:
    api = Api(alice)
    assert api.order([PET]).status_code == 201
    answer = problem(api.order(other))
    assert (answer["status"], answer["code"]) == (422, "idempotency_key_reused")
    assert Order.objects.count() == 1


def test_a_refusal_is_not_remembered() -> None:
    alice = opened(balance="249.99")
    api = Api(alice)
    answer = problem(api.order([PET]))
    assert (answer["status"], answer["code"], answer["missing"]) == (402, "insufficient_balance", yuan_of("0.01"))
    assert api.get("orders/")["results"] == []
    top_up(alice, "0.01", "2026-03-08T12:00")
    assert api.order([PET]).status_code == 201
    assert api.get("account/")["balance"] == yuan_of("0.00")


def test_a_key_belongs_to_its_account(alice: Account) -> None:
    bob = opened("bob")
    orders = [Api(account).order([PET]) for account in (alice, bob)]
    assert [response.status_code for response in orders] == [201, 201]
    assert orders[0].json()["order_id"] != orders[1].json()["order_id"]


@pytest.mark.parametrize(("key", "code"), [("k" * 255, None), ("k" * 256, "invalid"), ("a\tb", "invalid"), ("~", None)])
def test_a_key_is_1_to_255_printable_characters(alice: Account, key: str, code: str | None) -> None:
    response = Api(alice).order([PET], key)
    assert (problem(response)["code"] if code else response.status_code) == (code or 201)


def test_an_order_needs_a_key(alice: Account) -> None:
    for headers in ({}, {"Idempotency_Key": ""}):
        refusal = Api(alice).refusal("POST", "orders/", {"lines": []}, **headers)  # before anything is read
        assert refusal == (400, "idempotency_key_required")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "lines"),
        ([], "lines"),
        ('"text"', "lines"),
        ({"lines": []}, "lines"),
        ({"lines": {}}, "lines"),
        ({"lines": [PET] * 51}, "lines"),
        ({"lines": [PET, 7]}, "lines[1].sku"),
        ({"lines": [{"quantity": 1}]}, "lines[0].sku"),
        ({"lines": [PET | {"sku": 5}]}, "lines[0].sku"),
        ({"lines": [{"sku": "pet-100k"}]}, "lines[0].quantity"),
        ({"lines": [PET | {"quantity": 0}]}, "lines[0].quantity"),
        ({"lines": [PET | {"quantity": 1001}]}, "lines[0].quantity"),
        ({"lines": [PET | {"quantity": "1"}]}, "lines[0].quantity"),
        ({"lines": [PET | {"quantity": 1.0}]}, "lines[0].quantity"),
        ({"lines": [PET | {"quantity": True}]}, "lines[0].quantity"),
        ({"lines": [PET | {"expected_price": 250}]}, "lines[0].expected_price"),
        ({"lines": [PET | {"expected_price": "-250.00"}]}, "lines[0].expected_price"),
        ({"lines": [PET | {"expected_price": "250.001"}]}, "lines[0].expected_price"),
        ({"lines": [PET | {"expected_price": "NaN"}]}, "lines[0].expected_price"),
    ],
)
def test_a_bad_form_is_invalid_and_names_its_fields(alice: Account, body: Any, field: str) -> None:
    answer = problem(Api(alice).call("POST", "orders/", body, Idempotency_Key="k"))
    assert (answer["status"], answer["code"]) == (400, "invalid")
    assert field in answer["errors"]


def test_what_is_no_json_is_invalid_and_what_is_no_json_type_is_not_read(alice: Account) -> None:
    api = Api(alice)
    assert api.refusal("POST", "orders/", "{", Idempotency_Key="k") == (400, "invalid")
    response = api.client.post(BASE + "orders/", "x", content_type="text/plain", headers={"Idempotency-Key": "k"})
    assert (response.status_code, problem(response)["code"]) == (415, "unsupported_media_type")


def test_50_lines_of_1000_packs_are_within_the_form() -> None:
    answer = problem(Api(opened(balance=None)).order([PET | {"quantity": 1000}] * 50))
    assert (answer["code"], answer["missing"]) == ("insufficient_balance", yuan_of("12500000.00"))


def test_refusals_come_in_the_order_of_the_contract() -> None:
    alice = opened(balance="250.01")
    api = Api(alice)
    assert api.order([PET], "used").status_code == 201
    use(alice, "ai.plate", 1, "2026-03-07T10:00")
    night("2026-03-08T12:00")  # 0.10 due: -0.09
    price_pack("300.00")
    old = PET | {"expected_price": "250.00"}
    assert problem(api.order([old | {"sku": "none"}, PET | {"quantity": 0}], "used"))["code"] == "invalid"
    assert problem(api.order([old | {"sku": "none"}], "used"))["code"] == "idempotency_key_reused"
    unknown = problem(api.order([old, old | {"sku": "none"}], "new"))
    assert (unknown["status"], unknown["code"]) == (400, "unknown_sku")
    arrears = problem(api.order([old], "new"))
    assert (arrears["status"], arrears["code"]) == (403, "account_in_arrears")
    top_up(alice, "0.09", "2026-03-08T12:00")
    changed = problem(api.order([old, {"sku": "face-100k", "quantity": 1}], "new"))
    assert (changed["status"], changed["code"]) == (409, "price_changed")
    assert {"sku": "pet-100k", "price": yuan_of("300.00")} in changed["prices"]
    poor = problem(api.order([PET], "new"))
    assert (poor["status"], poor["code"], poor["missing"]) == (402, "insufficient_balance", yuan_of("300.00"))
    assert Order.objects.count() == 1


def test_a_pack_withdrawn_from_sale_is_an_unknown_sku(alice: Account) -> None:
    withdraw_from_sale("pet-100k", timezone.now().isoformat())
    assert problem(Api(alice).order([PET]))["code"] == "unknown_sku"


# packs


def test_a_pack_to_the_letter_while_it_is_drawn(alice: Account, clock: time_machine.Traveller) -> None:
    api = Api(alice)
    [pack] = buy(alice, "pet-100k", "2026-03-08T12:00")
    assert api.get(f"packs/{pack.pk}/") == pack_of(pack)
    clock.move_to(at("2026-03-13T12:00"))
    assert api.get(f"packs/{pack.pk}/") == pack_of(pack)
    clock.move_to(at("2026-03-13T12:00:00.000001"))
    assert api.get(f"packs/{pack.pk}/") == pack_of(pack, refundable_until=None)
    use(alice, "ai.pet", 100_000, "2026-03-12T10:00")
    night("2026-03-13T13:00")
    assert api.get(f"packs/{pack.pk}/") == pack_of(pack, remaining=0, status="exhausted", refundable_until=None)


def test_packs_come_in_drawing_order_and_by_status_and_type(alice: Account) -> None:
    bought = [buy(alice, sku, "2026-03-07T12:00")[0] for sku in ("pet-100k", "traffic-up-1tb", "pet-1m", "face-100k")]
    Pack.objects.filter(pk=bought[3].pk).update(valid_until="2026-03-07")
    use(alice, "ai.pet", 100_000, "2026-03-07T13:00")
    night("2026-03-08T02:00")
    api = Api(alice)
    assert api.call("POST", f"packs/{bought[2].pk}/refund/").status_code == 200
    [latest] = buy(alice, "pet-100k", "2026-03-08T12:00")
    order = [pack.pk for pack in [*bought, latest]]

    def shown(**query: str) -> list[int]:
        return [int(row["pack_id"]) for row in api.get("packs/", **query)["results"]]

    assert shown() == order
    statuses = ("exhausted", "frozen", "refunded", "expired", "active")
    assert [shown(status=status) for status in statuses] == [[pk] for pk in order]
    assert [row["status"] for row in api.get("packs/")["results"]] == list(statuses)
    assert shown(pack_type="pet") == [order[0], order[2], order[4]]
    assert (shown(pack_type="pet", status="active"), shown(pack_type="body")) == ([latest.pk], [])
    for query in ("status=fresh", "pack_type=cat"):
        answer = problem(api.client.get(f"{BASE}packs/?{query}"))
        assert (answer["status"], answer["code"], list(answer["errors"])) == (400, "invalid", [query.split("=")[0]])


def test_a_nul_character_in_a_filter_is_invalid(alice: Account) -> None:
    api = Api(alice)
    api.client.raise_request_exception = False
    for query in ("pack_type=pet%00", "status=active%00"):
        assert problem(api.client.get(f"{BASE}packs/?{query}"))["code"] == "invalid"


def test_drawdowns_to_the_letter_oldest_first(alice: Account) -> None:
    [pack] = buy(alice, "kitchen-100k", "2026-03-05T09:00")
    use(alice, "ai.kitchen.hat", 30, "2026-03-05T10:00")
    use(alice, "ai.kitchen.uniform", 20, "2026-03-05T10:00")
    use(alice, "ai.kitchen.hat", 10, "2026-03-06T10:00")
    night("2026-03-07T02:00")
    fifth, sixth = (str(bill_of(alice, f"2026-03-0{day}").pk) for day in (5, 6))
    rows = [
        ("2026-03-05", fifth, "ai.kitchen.uniform", 20, 99_980),
        ("2026-03-05", fifth, "ai.kitchen.hat", 30, 99_950),
        ("2026-03-06", sixth, "ai.kitchen.hat", 10, 99_940),
    ]
    names = ("day", "bill_id", "item", "quantity", "remaining_after")
    expected = [dict(zip(names, row, strict=True)) | {"region": "cn-mainland"} for row in rows]
    assert Api(alice).get(f"packs/{pack.pk}/drawdowns/")["results"] == expected


def test_a_refund_answers_with_the_pack_and_its_repeat_carries_it(alice: Account) -> None:
    api = Api(alice)
    [pack] = buy(alice, "pet-100k", "2026-03-08T12:00")
    refunded = pack_of(pack, remaining=0, status="refunded", refundable_until=None)
    response = api.call("POST", f"packs/{pack.pk}/refund/")
    assert (response.status_code, response.json()) == (200, refunded)
    assert api.get("account/")["balance"] == yuan_of("100000.00")
    again = problem(api.call("POST", f"packs/{pack.pk}/refund/"))
    assert (again["status"], again["code"], again["pack"]) == (409, "already_refunded", refunded)
    assert api.get("account/")["balance"] == yuan_of("100000.00")


def test_refund_refusals_come_in_the_order_of_the_contract(alice: Account, clock: time_machine.Traveller) -> None:
    api = Api(alice)
    [refunded, used, unused] = (
        buy(alice, sku, "2026-03-08T12:00")[0] for sku in ("pet-100k", "face-100k", "body-100k")
    )
    assert api.call("POST", f"packs/{refunded.pk}/refund/").status_code == 200
    use(alice, "ai.face", 1, "2026-03-08T13:00")
    night("2026-03-09T02:00")
    clock.move_to(at("2026-03-13T12:00:00.000001"))  # the window of all three is over
    codes = [api.refusal("POST", f"packs/{pack.pk}/refund/") for pack in (refunded, used, unused)]
    assert codes == [(409, "already_refunded"), (409, "pack_used"), (409, "refund_window_over")]
    clock.move_to(at("2026-03-13T12:00"))
    assert api.call("POST", f"packs/{unused.pk}/refund/").status_code == 200
