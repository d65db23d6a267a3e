"""Staff's pages: prices with a reason, money with a cause, refunds, and records that nobody edits by hand."""

from collections.abc import Iterator
from copy import deepcopy
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.keys import make_key
from accounts.ledger import record_adjustment
from accounts.models import Account, ApiKey, AuditEntry, Notice, Transfer, User
from accounts.modes import switch_mode
from accounts.opening import open_account
from iss_billing.staff import FirstPages, FirstRows
from packs.models import Item, Order, Pack, PackType, Sku, SkuPrice, TariffPrice
from settlement.models import Bill, SettlementRun
from tests.conftest import made_once
from tests.worlds import assert_books, at, buy, night, opened, top_up, use, yuan

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """Noon of 8 March 2026; the books are true in the end."""
    with time_machine.travel(at("2026-03-08T12:00"), tick=False):
        yield
    assert_books()


@pytest.fixture
def staff() -> User:
    return User.objects.create_superuser("staff@example.com", "x")


@pytest.fixture
def desk(staff: User) -> Client:
    """A browser in which staff are signed in."""
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(staff)
    return client


class Fields(HTMLParser):
    """The fields of a page's forms with their values, as a browser would send them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take an input or the chosen option, and know a textarea."""
        given = {name: value or "" for name, value in attrs}
        if tag in ("input", "textarea") and given.get("name") and given.get("type") not in ("submit", "checkbox"):
            self.found[given["name"]] = given.get("value", "")
        if tag == "select":
            self.select = given["name"]
        if tag == "option" and ("selected" in given or self.select not in self.found):
            self.found[self.select] = given.get("value", "")


def url_of(row: Model, page: str = "change") -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{page}", args=[row.pk])


def submit(client: Client, url: str, **entered: str) -> Any:
    """Fill in the form of a page and send it; the response of the page that follows."""
    page = client.get(url)
    assert page.status_code == 200
    fields = Fields(page.content.decode()).found
    assert entered.keys() <= fields.keys(), (entered.keys(), fields.keys())
    return client.post(url, fields | entered, follow=True)


def complaints(response: Any) -> str:
    """What the page says is wrong."""
    assert not response.redirect_chain, "the form was accepted"
    page = response.content.decode()
    assert 'class="errorlist' in page
    return unescape(page)


def test_carries_are_shown_with_all_their_decimals(desk: Client) -> None:
    alice = opened()
    use(alice, "ai.face", 3, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    for row in (alice, Bill.objects.get()):
        assert "0.0015" in desk.get(url_of(row)).content.decode()


# money


def test_staff_record_a_top_up_once_for_a_reference(desk: Client, staff: User) -> None:
    alice, bob = opened(balance=None), opened("bob", balance=None)
    for _ in range(2):
        assert submit(
            desk, url_of(alice, "top-up"), amount_0="12.5", reference="bank-1", reason="by phone"
        ).redirect_chain
    [transfer] = Transfer.objects.all()
    assert (transfer.account, transfer.kind, transfer.amount, transfer.reference) == (alice, "top_up", 1250, "bank-1")
    assert (transfer.reason, transfer.made_by, transfer.time) == ("by phone", staff, timezone.now())
    for account, amount in ((alice, "12.51"), (bob, "12.50")):
        assert "bank-1" in complaints(
            submit(desk, url_of(account, "top-up"), amount_0=amount, reference="bank-1", reason="r")
        )
    for amount, reference in (("0", "r"), ("-1", "r"), ("1.001", "r"), ("", "r"), ("1", ""), ("100000000000.01", "r")):
        assert complaints(submit(desk, url_of(alice, "top-up"), amount_0=amount, reference=reference, reason="r"))
    assert Transfer.objects.count() == 1
    [entry] = AuditEntry.objects.filter(account=alice)
    assert (entry.user, entry.action, entry.subject_id) == (staff, "account.top_up", str(transfer.pk))


def test_staff_adjust_a_balance_both_ways_with_a_reason(desk: Client, staff: User) -> None:
    alice = opened(balance="10.00")
    url = url_of(alice, "adjust")
    assert submit(desk, url, amount_0="2.50", reason="our mistake").redirect_chain
    assert submit(desk, url, amount_0="-0.50", reason="too much").redirect_chain
    rows = alice.transfers.filter(kind="adjustment").order_by("id")
    assert [(row.signed_amount, row.reason, row.made_by) for row in rows] == [
        (250, "our mistake", staff),
        (-50, "too much", staff),
    ]
    for amount, reason in (("1", ""), ("1", "  "), ("0", "why"), ("0.001", "why"), ("", "why")):
        assert complaints(submit(desk, url, amount_0=amount, reason=reason))
    alice.refresh_from_db()
    assert alice.balance == yuan("12.00")


def test_an_adjustment_sent_twice_is_one(desk: Client) -> None:
    alice = opened(balance=None)
    form = Fields(desk.get(url_of(alice, "adjust")).content.decode()).found | {"amount_0": "1.00", "reason": "mistake"}
    for _ in range(2):
        assert desk.post(url_of(alice, "adjust"), form).status_code == 302
    alice.refresh_from_db()
    assert (alice.balance, alice.transfers.count()) == (100, 1)


def test_staff_refund_a_used_pack_with_a_reason(desk: Client, staff: User) -> None:
    alice = opened()
    [pack] = buy(alice, "pet-100k", "2026-03-01T10:00")
    use(alice, "ai.pet", 40_000, "2026-03-01T11:00")
    night("2026-03-02T02:00")
    url = url_of(pack, "refund")
    assert "150.00" in desk.get(url).content.decode()  # what it gives is shown before
    assert complaints(submit(desk, url, reason=" "))
    assert submit(desk, url, reason="complaint 7").redirect_chain
    transfer = alice.transfers.get(kind="refund")
    assert (transfer.amount, transfer.reason, transfer.made_by) == (yuan("150.00"), "complaint 7", staff)
    again = submit(desk, url, reason="complaint 7")
    assert "refunded before" in again.content.decode()
    assert alice.transfers.filter(kind="refund").count() == 1


# what nobody edits by hand, and who may not come in


LOOKED_AT = [Account, ApiKey, Bill, Notice, Order, Pack, PackType, SettlementRun, Transfer]


def _world() -> Account:
    alice = opened(balance="250.00")
    make_key(account_id=alice.pk, name="ci", now=timezone.now())
    buy(alice, "pet-100k", "2026-03-01T10:00")
    use(alice, "ai.pet", 101_000, "2026-03-01T11:00")
    night("2026-03-02T02:00")
    top_up(alice, "5.00", "2026-03-02T03:00")
    return alice


world_of_all = made_once(_world)


@pytest.fixture
def world(world_of_all: Account) -> Account:
    """A row of everything that staff look at."""
    return deepcopy(world_of_all)


def everything() -> list[Any]:
    """Every row that is looked at, and the catalogue."""
    return [
        list(model._default_manager.order_by("pk").values()) for model in (*LOOKED_AT, Sku, SkuPrice, Item, TariffPrice)
    ]


@pytest.mark.parametrize("model", [*LOOKED_AT, Sku, Item])
def test_records_are_looked_at_and_never_added_changed_or_deleted_by_hand(
    desk: Client, world: Account, model: type[Model]
) -> None:
    row = model._default_manager.latest("pk")
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    for url in (reverse(f"{name}_changelist"), url_of(row)):
        assert desk.get(url).status_code == 200
    before = everything()
    form = Fields(desk.get(url_of(row)).content.decode()).found
    values = {field.name: "7" for field in model._meta.fields}
    # a key is made, but never by writing its row
    for url in (url_of(row, "delete"), *([] if model is ApiKey else [reverse(f"{name}_add")])):
        assert desk.get(url).status_code == 403
        assert desk.post(url, form | values | {"post": "yes"}).status_code == 403
    assert desk.post(url_of(row), form | values).status_code == 403
    action = {"action": "delete_selected", "_selected_action": str(row.pk), "post": "yes"}
    desk.post(reverse(f"{name}_changelist"), action)
    assert everything() == before


def test_records_are_found_by_name_and_number(desk: Client, world: Account) -> None:
    for model in (Account, Transfer, Notice, Pack, Order, Bill):
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        row = model._default_manager.latest("pk")
        assert url_of(row) in desk.get(url, {"q": "alice"}).content.decode()
        assert url_of(row) not in desk.get(url, {"q": "nobody at all"}).content.decode()


def doors() -> list[str]:
    """Every way in that moves money or prices, and the front door."""
    account, pack = Account.objects.get(name="alice"), Pack.objects.get()
    acts = [url_of(account, "top-up"), url_of(account, "adjust"), url_of(pack, "refund")]
    return [reverse("admin:index"), url_of(account), reverse("admin:packs_pricelist_changelist"), *acts]


def test_customers_and_strangers_are_sent_to_sign_in(world: Account) -> None:
    customer = open_account(name="b", now=timezone.now(), email="b@example.com", password="x").user
    for user in (None, customer):
        client = Client()
        if user:
            client.force_login(user)
        before = everything()
        for url in doors():
            for response in (client.get(url), client.post(url, {"amount_0": "5", "reference": "r", "reason": "r"})):
                assert response.status_code == 302
                assert response.headers["Location"].startswith(reverse("admin:login"))
        assert everything() == before


def test_staff_without_the_right_neither_move_money_nor_change_prices(world: Account) -> None:
    client = Client()
    client.force_login(User.objects.create_user("junior@example.com", "x", is_staff=True))
    before = everything()
    for url in doors()[1:]:
        for response in (client.get(url), client.post(url, {"amount_0": "5", "reference": "r", "reason": "r"})):
            assert response.status_code == 403
    assert everything() == before


def test_a_list_counts_no_more_rows_than_its_pages_show(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    address = reverse("admin:accounts_account_changelist")
    oldest, *_others = [opened(name) for name in ("alice", "bob", "carol")]
    assert f"{Account.objects.count()} accounts" in desk.get(address).content.decode()
    monkeypatch.setattr(FirstPages, "MOST", 2)
    page = desk.get(address).content.decode()
    assert "the first 2; search or filter for others" in page
    assert url_of(oldest, "change") in desk.get(address, {"q": "alice"}).content.decode()


def test_figures_are_shown_with_their_units(desk: Client) -> None:
    alice = opened()
    switch_mode(account_id=alice.pk, mode="traffic", now=at("2026-03-04T10:00"))
    [pack] = buy(alice, "traffic-down-1tb", "2026-03-05T09:00")
    use(alice, "traffic.down", 1_234_000_000, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    bill = Bill.objects.get(account=alice)
    shown = {
        url_of(pack): ("1 TB", "998.766000 GB", "1.234000 GB"),
        reverse("admin:packs_pack_changelist"): ("1 TB", "998.766000 GB"),
        url_of(pack, "refund"): ("1.234000 GB / 1 TB",),
        url_of(bill): ("1.234000 GB",),
        reverse("admin:packs_sku_changelist"): ("1 TB", "100,000 calls"),
    }
    for url, texts in shown.items():
        page = desk.get(url).content.decode()
        assert not [text for text in texts if text not in page], url
        assert "000000000" not in page, url


def test_rows_below_another_are_the_latest_and_never_all(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = opened(balance="500")
    [pack] = buy(alice, "pet-100k", "2026-03-01T09:00")
    for number in range(1, 5):
        use(alice, "ai.pet", 1000 + number, f"2026-03-0{number}T10:00")
        night(f"2026-03-0{number + 1}T02:00")
    monkeypatch.setattr(FirstRows, "MOST", 3)
    with CaptureQueriesContext(connection) as asked:
        page = desk.get(url_of(pack)).content.decode()
    assert len(asked) < 15
    assert [page.find(f"1,00{number} calls") > 0 for number in (1, 2, 3, 4)] == [False, True, True, True]
    assert page.find("1,004 calls") < page.find("1,002 calls") < page.find("The first 3; there are more.")
    use(alice, "ai.pet", 1005, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    with CaptureQueriesContext(connection) as later:
        desk.get(url_of(pack))
    assert len(later) == len(asked)


def test_accounts_are_found_by_their_standing(desk: Client) -> None:
    owing = {"arrears": "2026-03-07T14:00", "suspended": "2026-03-07T10:00", "reclaimed": "2026-02-28T10:00"}
    accounts = {"active": opened("solvent"), "closed": opened("gone", on="2026-02-20", balance="0.01")}
    for name, since in owing.items():
        accounts[name] = account = opened(name, on="2026-02-20", balance="0.01")
        record_adjustment(account_id=account.pk, amount=-100, reference=name, reason="r", now=at(since))
    late = at("2026-03-07T10:00")  # of what came after its closing
    record_adjustment(account_id=accounts["closed"].pk, amount=-100, reference="closed", reason="r", now=late)
    Account.objects.filter(pk=accounts["closed"].pk).update(closed_at=timezone.now())
    words = {"arrears": "in arrears", "suspended": "suspended", "reclaimed": "resources reclaimed", "closed": "closed"}
    for asked in accounts:
        page = desk.get(reverse("admin:accounts_account_changelist"), {"standing": asked}).content.decode()
        found = {name for name, one in accounts.items() if url_of(one) in page}
        assert found == {asked}
        # a cell knows the name of its column: on a telephone that is all there is
        assert f'<td data-label="Standing" class="field-standing">{words.get(asked, "active")}</td>' in page


def test_the_history_of_a_row_is_the_audit_logs(desk: Client) -> None:
    alice, bob = opened(balance="500"), opened("bob", balance="500")
    [mine], [his] = (buy(one, "pet-100k", "2026-03-01T09:00") for one in (alice, bob))
    submit(desk, url_of(mine, "refund"), reason="complaint 7")
    submit(desk, url_of(his, "refund"), reason="complaint 8")
    submit(desk, url_of(alice, "adjust"), amount_0="1", reason="goodwill")
    for row, reasons in ((mine, {"complaint 7"}), (his, {"complaint 8"}), (alice, {"complaint 7", "goodwill"})):
        page = desk.get(url_of(row, "history"), follow=True).content.decode()
        assert {why for why in ("complaint 7", "complaint 8", "goodwill") if why in page} == reasons
