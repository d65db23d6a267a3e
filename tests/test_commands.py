"""The management commands as a shell sees them: one JSON value, exit codes 0, 1 and 2, and a clock of their own."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.keys import find_key
from accounts.models import Account, User
from packs.models import Item, PackType, Sku, SkuPrice, TariffPrice
from packs.tariff import sku_prices, tariff_on
from tests.shell import Shell
from tests.worlds import assert_books, at, buy, opened, yuan

pytestmark = pytest.mark.django_db


@pytest.fixture
def manage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: Settings) -> Shell:
    """`manage.py` of a development installation, whose clocks may be ahead."""
    settings.DEBUG = True
    return Shell(monkeypatch, capsys)


# every command


@pytest.mark.parametrize(
    "arguments",
    [
        ["load_catalogue", "a", "b"],
        ["create_account"],
        ["create_account", "alice", "--now", "yesterday"],
        ["create_account", " "],
        ["create_account", "x" * 121],
        ["create_account", "alice", "--email", "nobody"],
        ["create_api_key"],
        ["create_api_key", "--account", "1", "--platform"],
        ["top_up", "1", "5.00"],
        ["top_up", "1", "0", "--reference", "r"],
        ["top_up", "1", "0.00", "--reference", "r"],
        ["top_up", "1", "-5.00", "--reference", "r"],
        ["top_up", "1", "5.001", "--reference", "r"],
        ["top_up", "1", "1e3", "--reference", "r"],
        ["top_up", "1", "NaN", "--reference", "r"],
        ["top_up", "1", "5.00", "--reference", " "],
        ["set_pack_price", "pet-100k", "1.00"],
        ["set_pack_price", "pet-100k", "0", "--reason", "r"],
        ["set_pack_price", "pet-100k", "1.005", "--reason", "r"],
        ["set_pack_price", "pet-100k", "1.00", "--reason", " "],
        ["set_tariff", "ai.pet", "cn-mainland", "1", "--per", "1000", "--from", "2020-01-02", "--reason", "r"],
        ["set_tariff", "ai.pet", "cn-mainland", "1", "--per", "1000", "--from", "tomorrow", "--reason", "r"],
        ["set_tariff", "ai.pet", "cn-mainland", "1", "--per", "0", "--from", "2100-01-01", "--reason", "r"],
        ["set_tariff", "ai.pet", "cn-mainland", "1.0000001", "--per", "1", "--from", "2100-01-01", "--reason", "r"],
        ["set_tariff", "ai.pet", "cn-mainland", "1", "--per", "1", "--from", "2100-01-01"],
        ["import_usage"],
        ["settle", "--day", "2026-3-5"],
        ["settle", "--day", "2100-01-01"],
        ["sweep_arrears", "--now", "soon"],
        ["audit_books", "now"],
        ["demo", "--day", "1"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_exit_2_and_change_nothing(manage: Shell, arguments: list[str]) -> None:
    ran = manage(*arguments, "--json")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err
    counts = [model._default_manager.count() for model in (Account, User, SkuPrice, TariffPrice)]
    assert counts == [0, 0, 34, 21]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["load_catalogue", "/nowhere/catalogue.json"], "/nowhere/catalogue.json"),
        (["create_api_key", "--account", "999999999"], "999999999"),
        (["create_api_key", "--account", "alice"], "alice"),
        (["top_up", "999999999", "5.00", "--reference", "r"], "999999999"),
        (["set_pack_price", "cat-100k", "1.00", "--reason", "r"], "cat-100k"),
        (["set_tariff", "ai.cat", "x", "1", "--per", "1", "--from", "2100-01-01", "--reason", "r"], "ai.cat"),
        (["import_usage", "/nowhere/usage.jsonl"], "/nowhere/usage.jsonl"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_work_that_fails_exits_1_and_says_on_one_line_what_and_which_row(
    manage: Shell, arguments: list[str], named: str
) -> None:
    ran = manage(*arguments, "--json")
    code, line = ran.refusal
    assert (code, ran.out, named in line) == (1, "", True)


def test_a_clock_without_offset_is_shanghais(manage: Shell) -> None:
    for now in ("2026-03-05T10:00", "2026-03-05T02:00:00Z", "2026-03-05T10:00:00+08:00"):
        account = Account.objects.get(pk=manage("create_account", "alice", "--now", now, "--json").json["account_id"])
        assert account.opened_at == at("2026-03-05T10:00")


def test_a_clock_beyond_the_real_one_is_refused_in_production(manage: Shell, settings: Settings) -> None:
    assert manage("create_account", "alice", "--now", "2100-01-01T00:00", "--json").code == 0
    settings.DEBUG = False
    code, line = manage("create_account", "alice", "--now", "2100-01-01T00:00", "--json").refusal
    assert (code, "--now" in line, Account.objects.count()) == (2, True, 1)
    assert manage("create_account", "alice", "--now", "2026-03-05T10:00", "--json").code == 0


# the catalogue and prices


CATALOGUE = Path(__file__).resolve().parent.parent / "packs" / "catalogue.json"


def test_the_launch_catalogue_is_loaded_exactly() -> None:
    catalogue = json.loads(CATALOGUE.read_text(encoding="utf-8"))
    assert [len(catalogue[name]) for name in ("items", "pack_types", "packs")] == [21, 10, 34]
    now = timezone.now()
    tariff, prices = tariff_on(date(2026, 3, 5)), sku_prices(now)
    assert len(tariff) == Item.objects.count() == 21
    for entry, item in zip(catalogue["items"], Item.objects.order_by("position"), strict=True):
        price = tariff[item.pk, "cn-mainland"]
        assert (price.price, price.per) == (int(Decimal(entry["price"]) * 1_000_000), entry["per"])
        names = ("code", "name_zh", "name_en", "unit", "aggregation", "requires_billing_mode")
        assert {name: getattr(item, name) for name in names} == {name: entry[name] for name in names}
    for entry, pack_type in zip(catalogue["pack_types"], PackType.objects.order_by("position"), strict=True):
        names = ("code", "name_zh", "name_en", "unit", "region", "requires_billing_mode")
        assert {name: getattr(pack_type, name) for name in names} == {name: entry[name] for name in names}
        assert [item.code for item in pack_type.covers.order_by("position")] == entry["covers"]
    for entry, sku in zip(catalogue["packs"], Sku.objects.order_by("position"), strict=True):
        assert (sku.code, sku.pack_type.code, sku.quantity) == (entry["sku"], entry["pack_type"], entry["quantity"])
        assert (prices[sku.pk], sku.valid_until) == (int(Decimal(entry["price"]) * 100), date(2099, 12, 31))


def stored() -> list[Any]:
    """Every row of the catalogue."""
    return [list(model._default_manager.order_by("pk").values()) for model in (Item, TariffPrice, Sku, SkuPrice)]


def test_load_catalogue_again_changes_nothing_and_undoes_no_price(manage: Shell) -> None:
    assert manage("set_pack_price", "pet-100k", "199.00", "--reason", "spring", "--json").json == {}
    tariff = ["ai.pet", "cn-mainland", "3", "--per", "1000", "--from", "2026-03-06", "--reason", "r"]
    assert manage("set_tariff", *tariff, "--now", "2026-03-05T10:00", "--json").json == {}
    before = stored()
    assert manage("load_catalogue", "--json").json == {}
    assert manage("load_catalogue", CATALOGUE, "--json").json == {}
    assert stored() == before
    assert sku_prices(timezone.now())[Sku.objects.get(code="pet-100k").pk] == yuan("199.00")


def test_load_catalogue_adds_what_is_missing(manage: Shell) -> None:
    gone = Sku.objects.get(code="face-10m")
    gone.prices.all().delete()
    gone.delete()
    assert "1 packs" in manage("load_catalogue").out
    again = Sku.objects.get(code="face-10m")
    assert (again.quantity, again.prices.get().price) == (10_000_000, yuan("4000.00"))


def test_a_file_that_is_no_catalogue_loads_nothing(manage: Shell, tmp_path: Path) -> None:
    before = stored()
    catalogue = json.loads(CATALOGUE.read_text(encoding="utf-8"))
    catalogue["items"].append(catalogue["items"][0] | {"code": "ai.new"})
    catalogue["packs"][-1] = {"sku": "half"}
    for number, text in enumerate(("{", "[]", "{}", json.dumps(catalogue))):
        path = tmp_path / f"{number}.json"
        path.write_text(text, encoding="utf-8")
        code, line = manage("load_catalogue", path, "--json").refusal
        assert (code, str(path) in line, stored()) == (1, True, before)


def test_a_catalogue_that_clashes_with_what_is_there_is_refused_on_one_line(manage: Shell, tmp_path: Path) -> None:
    before = stored()
    catalogue = json.loads(CATALOGUE.read_text(encoding="utf-8"))
    catalogue["items"][0]["code"] = "ai.new"  # in the place of ai.face
    path = tmp_path / "clash.json"
    path.write_text(json.dumps(catalogue), encoding="utf-8")
    ran = manage("load_catalogue", path, "--json")
    assert (ran.code, ran.out, len(ran.err.strip().splitlines()), stored()) == (1, "", 1, before)


def test_set_pack_price_is_at_once(manage: Shell) -> None:
    alice, pet = opened(), Sku.objects.get(code="pet-100k")
    words = ["pet-100k", "199.50", "--reason", "spring sale", "--now", "2026-03-05T10:00"]
    assert manage("set_pack_price", *words, "--json").json == {}
    row = pet.prices.latest("id")
    shown = (row.price, row.from_price, row.effective_at, row.reason, row.made_by)
    assert shown == (yuan("199.50"), yuan("250.00"), at("2026-03-05T10:00"), "spring sale", None)
    assert [pack.price for pack in buy(alice, "pet-100k", "2026-03-05T10:00")] == [yuan("199.50")]


def test_set_tariff_is_from_a_coming_day_and_opens_regions(manage: Shell) -> None:
    words = ["ai.pet", "cn-hongkong", "0.000001", "--per", "3", "--from", "2026-03-06", "--reason", "opening"]
    assert manage("set_tariff", *words, "--now", "2026-03-06T00:00", "--json").code == 2
    assert manage("set_tariff", *words, "--now", "2026-03-05T23:59:59", "--json").json == {}
    pet = Item.objects.get(code="ai.pet").pk
    assert (pet, "cn-hongkong") not in tariff_on(date(2026, 3, 5))
    assert tariff_on(date(2026, 3, 6))[pet, "cn-hongkong"] == (1, 3, date(2026, 3, 6))


# accounts, keys, money


def test_create_account_with_and_without_a_login(manage: Shell) -> None:
    shown = manage(
        "create_account", "爱丽丝", "--email", "Alice@Example.com", "--now", "2026-03-05T10:00", "--json"
    ).json
    account = Account.objects.get()
    assert (shown, account.name) == ({"account_id": str(account.pk)}, "爱丽丝")
    assert account.user is not None
    assert (account.user.email, account.user.is_staff, account.balance) == ("alice@example.com", False, 0)
    code, line = manage("create_account", "bob", "--email", "ALICE@example.com", "--json").refusal
    assert (code, "ALICE@example.com" in line, Account.objects.count()) == (1, True, 1)
    pk = manage("create_account", "bob", "--json").json["account_id"]
    assert (Account.objects.get(pk=pk).user, User.objects.count()) == (None, 1)


def test_create_api_key_prints_a_key_that_works(manage: Shell) -> None:
    alice = opened()
    shown = manage("create_api_key", "--account", alice.pk, "--name", "ci", "--json").json
    key = find_key(shown["key"], timezone.now())
    assert key is not None
    assert (shown.keys(), key.account, key.name) == ({"key"}, alice, "ci")
    printed = manage("create_api_key", "--platform").out
    platform = find_key(printed.split()[-1], timezone.now())
    assert platform is not None
    assert platform.account is None


def test_top_up_is_recorded_once_for_a_reference(manage: Shell) -> None:
    alice, bob = opened(balance=None), opened("bob", balance=None)
    words = ["--reference", "bank-1", "--now", "2026-03-05T10:00", "--json"]
    first = manage("top_up", alice.pk, "12.5", *words).json
    transfer = alice.transfers.get()
    assert first == {"transfer_id": str(transfer.pk), "balance": "12.50"}
    assert (transfer.kind, transfer.reference, transfer.time) == ("top_up", "bank-1", at("2026-03-05T10:00"))
    assert manage("top_up", alice.pk, "12.50", *words).json == first
    for account, amount in ((alice, "12.51"), (bob, "12.50")):
        code, line = manage("top_up", account.pk, amount, *words).refusal
        assert (code, "bank-1" in line) == (1, True)
    alice.refresh_from_db()
    assert (alice.balance, alice.transfers.count(), bob.transfers.count()) == (1250, 1, 0)
    assert_books()
