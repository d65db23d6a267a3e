"""Changing prices: proposed, published all or none, scheduled, cancelled, withdrawn (rules 4.5, 5.5)."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django.db.utils import IntegrityError
from django.utils import timezone, translation

from accounts.models import AuditEntry, User
from packs.models import Item, Pack, PackType, Sku, SkuPrice, TariffPrice
from packs.orders import OrderRefused
from packs.price_checks import ProposalRefused
from packs.proposal_models import PriceProposal, ProposedPrice
from packs.proposals import change_prices, decline, propose, publish
from packs.shapes import catalogue_shape
from packs.tariff import PriceRefused, sku_prices, tariff_on, tariffs_between
from settlement.audit import audit
from settlement.models import Bill
from tests.worlds import assert_books, at, bills_of, buy, event, night, opened, send, use, withdraw_from_sale, yuan

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    with translation.override("en"):
        yield


HOME = "cn-mainland"
NOON = "2026-03-05T12:00"


def pack(code: str, price: str | None, day: str | None = None, **more: Any) -> ProposedPrice:
    return ProposedPrice(code=code, price=price and yuan(price), day=day and date.fromisoformat(day), **more)


def item(code: str, price: str | None, day: str, per: int = 1000, region: str = HOME, **more: Any) -> ProposedPrice:
    micro = None if price is None else yuan(price) * 10_000
    return ProposedPrice(
        code=code,
        region=region,
        price=micro,
        per=per if micro is not None else 0,
        day=date.fromisoformat(day),
        **more,
    )


def change(*cells: ProposedPrice, when: str = NOON, by: User | None = None, reason: str = "test") -> PriceProposal:
    return change_prices(cells=cells, reason=reason, now=at(when), made_by=by)


def price_of(code: str, when: str) -> int | None:
    return sku_prices(at(when)).get(Sku.objects.get(code=code).pk)


def tariff_of(code: str, day: str, region: str = HOME) -> int | None:
    found = tariff_on(date.fromisoformat(day)).get((Item.objects.get(code=code).pk, region))
    between = tariffs_between(date(2026, 3, 1), date(2026, 3, 30))[date.fromisoformat(day)]
    assert between.get((Item.objects.get(code=code).pk, region)) == found
    return found and found.price // 10_000


def people() -> tuple[User, User]:
    return User.objects.create_superuser("ann@example.com", "x"), User.objects.create_superuser("ben@example.com", "x")


def error_of(refused: pytest.ExceptionInfo[ProposalRefused], place: int = 0) -> str:
    return refused.value.errors[place]


# scheduled


def test_rule_5_5_a_pack_price_can_be_scheduled_and_an_order_takes_the_price_in_force_at_the_moment() -> None:
    change(pack("pet-100k", "300", "2026-03-07"))
    change(pack("pet-100k", "280"), when="2026-03-06T12:00")
    alice = opened()
    moments = ("2026-03-06T11:59", "2026-03-06T12:00", "2026-03-06T23:59", "2026-03-07T00:00")
    paid = [bought.price for when in moments for bought in buy(alice, "pet-100k", when)]
    assert paid == [yuan("250"), yuan("280"), yuan("280"), yuan("300")]
    assert [row.from_price for row in SkuPrice.objects.order_by("id")[34:]] == [yuan("250"), yuan("250")]
    shown = {entry["sku"]: entry["price"]["amount"] for entry in catalogue_shape(at("2026-03-06T23:59"))["packs"]}
    assert shown["pet-100k"] == "280.00"
    assert_books()


def test_rule_5_5_a_later_change_for_a_day_replaces_the_earlier_for_packs_too() -> None:
    change(pack("pet-100k", "300", "2026-03-07"))
    change(pack("pet-100k", "310", "2026-03-07"), when="2026-03-05T13:00")
    change(pack("pet-100k", "320", "2026-03-09"), when="2026-03-05T14:00")
    assert [price_of("pet-100k", f"2026-03-0{day}T00:00") for day in (6, 7, 8, 9)] == [
        yuan(price) for price in ("250", "310", "310", "320")
    ]
    kept = SkuPrice.objects.order_by("id")[34:].values_list("price", "from_price")
    assert list(kept) == [(30_000, 25_000), (31_000, 30_000), (32_000, 31_000)]


def test_rule_5_5_a_scheduled_change_is_cancelled_and_kept_with_who_when_and_why() -> None:
    ann, _ben = people()
    change(item("ai.pet", "3.00", "2026-03-07"), item("ai.pet", "4.00", "2026-03-09"), by=ann)
    change(item("ai.pet", "3.50", "2026-03-07"), when="2026-03-05T13:00")
    change(pack("pet-100k", "300", "2026-03-07"))
    cancels = (item("ai.pet", None, "2026-03-07", cancels=True), pack("pet-100k", None, "2026-03-07", cancels=True))
    change(*cancels, when="2026-03-06T10:00", by=ann, reason="too soon")
    # what had been replaced does not come back by itself, and no other day is touched
    assert [tariff_of("ai.pet", f"2026-03-0{day}") for day in (6, 7, 8, 9)] == [250, 250, 250, 400]
    assert price_of("pet-100k", "2026-03-07T00:00") == yuan("250")
    gone = [*TariffPrice.objects.exclude(cancelled_at=None), *SkuPrice.objects.exclude(cancelled_at=None)]
    assert len(gone) == 3
    assert {(row.cancelled_at, row.cancelled_by, row.cancel_reason) for row in gone} == {
        (at("2026-03-06T10:00"), ann, "too soon")
    }
    alice = opened()
    use(alice, "ai.pet", 1000, "2026-03-07T10:00")
    night("2026-03-08T02:00")
    assert [bill.amount_due for bill in bills_of(alice)] == [250]
    assert_books()


@pytest.mark.parametrize(
    ("cell", "when", "why"),
    [
        (item("ai.pet", None, "2026-03-08", cancels=True), NOON, "Nothing is scheduled"),
        (item("ai.pet", None, "2026-03-07", cancels=True), "2026-03-07T00:00", "coming 00:00"),
        (pack("pet-100k", None, "2026-03-07", cancels=True), "2026-03-07T00:00", "coming 00:00"),
        (pack("pet-1m", None, "2026-03-07", cancels=True), NOON, "Nothing is scheduled"),
    ],
    ids=str,
)
def test_only_what_is_still_to_come_is_cancelled(cell: ProposedPrice, when: str, why: str) -> None:
    change(item("ai.pet", "3.00", "2026-03-07"), pack("pet-100k", "300", "2026-03-07"))
    with pytest.raises(ProposalRefused) as refused:
        change(cell, when=when)
    assert why in error_of(refused)


# all or none


def test_a_change_is_published_all_or_none_and_says_what_is_wrong_with_each_cell() -> None:
    cells = [
        pack("pet-100k", "300"),
        pack("cat-100k", "1"),
        pack("pet-1m", "0"),
        item("ai.pet", "3.00", "2026-03-05"),
        item("ai.cat", "3.00", "2026-03-07"),
        item("ai.pet", "3.00", "2026-03-07", per=0),
        item("ai.pet", "3.00", "2026-03-08", region="中国"),
        pack("pet-10m", "1", "2026-03-05"),
        pack("pet-100k", "301"),
        item("ai.pet", "3.00", "2026-03-08", reason=" "),
        item("ai.pet", None, "2026-03-08", region="cn-hongkong"),
        ProposedPrice(code="ai.pet", region=HOME, price=1, per=1),
    ]
    with pytest.raises(ProposalRefused) as refused:
        change(*cells)
    words = {
        1: "no cat-100k",
        2: "above 0.00",
        3: "coming 00:00",
        4: "no ai.cat",
        5: "base units",
        6: "ASCII",
        7: "coming 00:00",
        8: "twice",
        9: "needs a reason",
        10: "not on sale",
        11: "a day is needed",
    }
    assert refused.value.errors.keys() == words.keys()
    for place, word in words.items():
        assert word in refused.value.errors[place], place
    assert SkuPrice.objects.count() + TariffPrice.objects.count() == 34 + 21
    assert PriceProposal.objects.count() == 0
    for reason in ("", " ", "x" * 501):
        with pytest.raises(PriceRefused):
            change(pack("pet-100k", "300"), reason=reason)
    with pytest.raises(ProposalRefused):
        change()


def test_of_two_proposals_for_a_cell_the_second_is_told_that_the_price_has_changed() -> None:
    first, second = (
        propose(cells=[pack("pet-100k", price), pack("pet-1m", "1")], reason="r", now=at(NOON))
        for price in ("300", "310")
    )
    publish(proposal_id=first.pk, now=at(NOON), published_by=None)
    with pytest.raises(ProposalRefused) as refused:
        publish(proposal_id=second.pk, now=at("2026-03-05T12:01"), published_by=None)
    assert refused.value.errors.keys() == {0, 1}
    assert price_of("pet-100k", "2026-03-05T12:01") == yuan("300")


def test_a_proposal_whose_day_has_come_is_refused_and_one_is_published_once() -> None:
    late = propose(cells=[item("ai.pet", "3.00", "2026-03-06")], reason="r", now=at(NOON))
    with pytest.raises(ProposalRefused) as refused:
        publish(proposal_id=late.pk, now=at("2026-03-06T00:00"), published_by=None)
    assert "coming 00:00" in error_of(refused)
    publish(proposal_id=late.pk, now=at("2026-03-05T23:59:59.999999"), published_by=None)
    with pytest.raises(ProposalRefused):
        publish(proposal_id=late.pk, now=at("2026-03-05T23:59:59.999999"), published_by=None)
    assert TariffPrice.objects.filter(proposal=late).count() == 1


def test_the_database_keeps_a_proposal_decided_or_open() -> None:
    proposal = propose(cells=[pack("pet-100k", "300")], reason="r", now=at(NOON))
    with pytest.raises(IntegrityError):
        PriceProposal.objects.filter(pk=proposal.pk).update(state="published")
    connection.needs_rollback = False


# withdrawn from sale, put back, new


def test_a_size_withdrawn_from_sale_cannot_be_bought_and_held_packs_go_on() -> None:
    alice = opened()
    buy(alice, "pet-100k", NOON)
    withdraw_from_sale("pet-100k", NOON)
    with pytest.raises(OrderRefused) as refused:
        buy(alice, "pet-100k", "2026-03-05T12:01")
    assert refused.value.code == "unknown_sku"
    assert "pet-100k" not in {entry["sku"] for entry in catalogue_shape(at("2026-03-05T12:01"))["packs"]}
    use(alice, "ai.pet", 1000, "2026-03-05T13:00")
    night("2026-03-06T02:00")
    assert (Pack.objects.get().remaining, Bill.objects.get().amount_due) == (99_000, 0)
    change(pack("pet-100k", "260"), when="2026-03-06T12:00")
    assert [bought.price for bought in buy(alice, "pet-100k", "2026-03-06T12:00")] == [yuan("260")]
    assert_books()


def test_a_withdrawal_can_be_scheduled_and_taken_back() -> None:
    change(pack("pet-100k", None, "2026-03-07"))
    assert price_of("pet-100k", "2026-03-06T23:59") == yuan("250")
    assert price_of("pet-100k", "2026-03-07T00:00") is None
    change(pack("pet-100k", None, "2026-03-07", cancels=True))
    assert price_of("pet-100k", "2026-03-07T00:00") == yuan("250")


def test_an_item_withdrawn_from_a_day_on_is_refused_there_and_billed_before_and_after() -> None:
    alice = opened()
    change(item("ai.pet", None, "2026-03-06"), item("ai.pet", "4.00", "2026-03-08"))
    days = [event(alice, "ai.pet", 1000, f"2026-03-0{day}T10:00:00") for day in (5, 6, 7, 8)]
    outcome = send(days, "2026-03-08T12:00")
    assert [(refused.index, refused.code) for refused in outcome.rejected] == [
        (1, "unknown_region"),
        (2, "unknown_region"),
    ]
    night("2026-03-09T02:00")
    assert [(str(bill.day), bill.amount_due) for bill in bills_of(alice)] == [("2026-03-05", 250), ("2026-03-08", 400)]
    assert [tariff_of("ai.pet", f"2026-03-0{day}") for day in (5, 6, 7, 8)] == [250, None, None, 400]
    assert_books()
    # the audit knows that nothing was sold on the days between
    with connection.cursor() as cursor:
        cursor.execute("UPDATE settlement_bill SET day = '2026-03-07' WHERE day = '2026-03-08'")
    assert next(check for check in audit().checks if check.name == "line_amount_is_charged_at_tariff").breaks


def test_what_would_leave_reported_usage_without_a_tariff_comes_too_late_in_the_last_minutes() -> None:
    change(item("ai.pet", "4.00", "2026-03-06", region="cn-hongkong"))
    for cell in (
        item("ai.pet", None, "2026-03-06", region="cn-hongkong", cancels=True),
        item("ai.pet", None, "2026-03-06"),
    ):
        with pytest.raises(ProposalRefused) as refused:
            change(cell, when="2026-03-05T23:45:01")
        assert "too late" in error_of(refused)
        change(cell, when="2026-03-05T23:45:00")
    # a price is changed until the last instant
    change(item("ai.face", "1.00", "2026-03-06"), when="2026-03-05T23:59:59.999999")


def new_type(**more: Any) -> dict[str, Any]:
    described = {"name_zh": "动物识别资源包", "name_en": "Animal pack", "covers": ["ai.pet", "ai.vehicle"]}
    return {"pack_type": "animal", "quantity": 1000, "type": described | more}


def test_a_new_pack_type_is_sold_from_its_day_on_and_covers_its_items_in_their_order() -> None:
    larger = new_type() | {"quantity": 2000}
    change(pack("animal-1k", "5", "2026-03-07", new=new_type()), pack("animal-2k", "9", "2026-03-07", new=larger))
    kind = PackType.objects.get(code="animal")
    assert (kind.unit, kind.region, kind.requires_billing_mode, kind.skus.count()) == ("call", HOME, None, 2)
    alice = opened()
    with pytest.raises(OrderRefused):
        buy(alice, "animal-1k", "2026-03-06T23:59")
    for day in ("06", "07"):
        use(alice, "ai.vehicle", 600, f"2026-03-{day}T10:00")
        use(alice, "ai.pet", 700, f"2026-03-{day}T10:00")
    buy(alice, "animal-1k", "2026-03-07T09:00")
    buy(alice, "pet-100k", "2026-03-07T09:30")
    night("2026-03-08T02:00")
    drawn = {
        line.item.code: [(draw.pack.sku.code, draw.quantity) for draw in line.drawdowns.order_by("pk")]
        for line in bills_of(alice)[-1].lines.select_related("item")
    }
    # pets stand before vehicles, and the pack that was bought first is drawn first, whatever its type
    assert drawn == {"ai.pet": [("animal-1k", 700)], "ai.vehicle": [("animal-1k", 300)]}
    assert all(not line.drawn for line in bills_of(alice)[0].lines.all())
    assert_books()


def test_a_new_pack_type_of_traffic_is_frozen_in_the_other_mode() -> None:
    change(pack("both-1", "5", new=new_type(covers=["traffic.up", "traffic.down"])))
    assert PackType.objects.get(code="animal").requires_billing_mode == "traffic"


def test_a_new_size_is_sold_from_its_day_on_in_its_place() -> None:
    new = {"pack_type": "pet", "quantity": 500_000}
    change(pack("pet-500k", "1200", "2026-03-07", new=new))
    alice = opened()
    with pytest.raises(OrderRefused) as refused:
        buy(alice, "pet-500k", "2026-03-06T23:59")
    assert refused.value.code == "unknown_sku"
    [bought] = buy(alice, "pet-500k", "2026-03-07T00:00")
    assert (bought.price, bought.total, bought.valid_until) == (yuan("1200"), 500_000, date(2099, 12, 31))
    order = list(Sku.objects.filter(pack_type__code__in=("pet", "vehicle")).values_list("code", flat=True))
    assert order[:5] == ["pet-100k", "pet-500k", "pet-1m", "pet-10m", "vehicle-100k"]
    use(alice, "ai.pet", 1000, "2026-03-07T10:00")
    night("2026-03-08T02:00")
    assert Pack.objects.get().remaining == 499_000
    assert_books()


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        (pack("pet-100k", "1", new={"pack_type": "pet", "quantity": 7}), "already"),
        (pack("pet-x", "1", new={"pack_type": "pet", "quantity": 100_000}), "this type and size"),
        (pack("pet-x", "1", new={"pack_type": "cat", "quantity": 7}), "no cat"),
        (pack("pet-x", "1", new={"pack_type": "pet", "quantity": 0}), "size"),
        (pack("pet-x", "1", new={"pack_type": "pet", "quantity": "7"}), "size"),
        (pack("cat-7", "1", new=new_type(name_en="")), "both languages"),
        (pack("cat-7", "1", new=new_type(covers=[])), "one item at least"),
        (pack("cat-7", "1", new=new_type(covers=["ai.pet", "ai.dodo"])), "not"),
        (pack("cat-7", "1", new=new_type(covers=["ai.pet", "ai.pet"])), "twice"),
        (pack("cat-7", "1", new=new_type(covers=["bandwidth.down"])), "used up"),
        (pack("cat-7", "1", new=new_type(covers=["ai.pet", "traffic.down"])), "one unit"),
        (pack("cat-7", "1", new=new_type() | {"pack_type": "pet"}), "a pet already"),
        (pack("cat-7", "1", new=new_type() | {"pack_type": "A pet"}), "lower-case"),
        (pack("pet-x", None, new={"pack_type": "pet", "quantity": 7}), "needs a price"),
        (pack("Pet X", "1", new={"pack_type": "pet", "quantity": 7}), "lower-case"),
        (item("ai.cat", "1.00", "2026-03-07", new={"name_zh": "猫"}), "both languages"),
        (item("ai.cat", "1.00", "2026-03-07", new={"name_zh": "猫", "name_en": "Cat", "unit": "paw"}), "unit"),
    ],
    ids=str,
)
def test_an_impossible_size_or_item_is_refused(cell: ProposedPrice, why: str) -> None:
    with pytest.raises(ProposalRefused) as refused:
        change(cell)
    assert why in error_of(refused)
    assert (Sku.objects.count(), Item.objects.count()) == (34, 21)


def test_a_new_item_is_metered_from_its_day_on() -> None:
    alice = opened()

    def codes(when: str) -> list[str]:
        return [refused.code for refused in send([event(alice, "ai.cat", 1000, when)], when).rejected]

    assert codes("2026-03-05T11:00:00") == ["unknown_item"]
    new = {"name_zh": "猫识别", "name_en": "Cat recognition", "unit": "call", "aggregation": "sum"}
    change(item("ai.cat", "2.00", "2026-03-07", new=new | {"requires_billing_mode": None}))
    assert codes("2026-03-06T23:00:00") == ["unknown_region"]
    assert codes("2026-03-07T00:00:00") == []
    night("2026-03-08T02:00")
    assert [bill.amount_due for bill in bills_of(alice)] == [200]
    assert Item.objects.latest("position").code == "ai.cat"
    assert_books()


# four eyes


def test_with_four_eyes_another_publishes_what_one_proposed(settings: LazySettings) -> None:
    settings.FOUR_EYES = True
    ann, ben = people()
    proposal = change(pack("pet-100k", "300"), by=ann)
    assert (proposal.state, price_of("pet-100k", "2026-03-06T00:00")) == ("proposed", yuan("250"))
    for wrong in (ann, None):
        with pytest.raises(ProposalRefused):
            publish(proposal_id=proposal.pk, now=at(NOON), published_by=wrong)
    assert price_of("pet-100k", "2026-03-06T00:00") == yuan("250")
    done = publish(proposal_id=proposal.pk, now=at("2026-03-05T13:00"), published_by=ben)
    assert (done.state, done.decided_by, done.decided_at) == ("published", ben, at("2026-03-05T13:00"))
    row = SkuPrice.objects.get(proposal=proposal)
    assert (row.made_by, row.made_at, row.effective_at) == (ann, at("2026-03-05T13:00"), at("2026-03-05T13:00"))
    log = AuditEntry.objects.order_by("id").values_list("action", "user__email", "subject_id", "reason")
    assert list(log) == [
        ("price.propose", "ann@example.com", str(proposal.pk), "test"),
        ("price.publish", "ben@example.com", str(proposal.pk), "test"),
    ]


def test_a_proposal_is_withdrawn_by_its_own_and_rejected_by_another() -> None:
    ann, ben = people()
    for by, state in ((ann, "withdrawn"), (ben, "rejected")):
        proposal = propose(cells=[pack("pet-100k", "300")], reason="r", now=at(NOON), made_by=ann)
        with pytest.raises(PriceRefused):
            decline(proposal_id=proposal.pk, reason=" ", now=at(NOON), declined_by=by)
        done = decline(proposal_id=proposal.pk, reason="not now", now=timezone.now(), declined_by=by)
        assert (done.state, done.decided_by, done.decision) == (state, by, "not now")
        with pytest.raises(PriceRefused):
            publish(proposal_id=proposal.pk, now=at(NOON), published_by=ben)
        with pytest.raises(PriceRefused):
            decline(proposal_id=proposal.pk, reason="r", now=at(NOON), declined_by=ben)
    assert SkuPrice.objects.count() == 34
