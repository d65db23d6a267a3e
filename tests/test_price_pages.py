"""Staff's pages of prices: the sheet, changes to review and publish, what is scheduled, history, files."""

import io
import re
import zipfile
from collections.abc import Iterator
from datetime import date
from html import unescape
from typing import Any

import pytest
import time_machine
from django.conf import LazySettings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from openpyxl import Workbook, load_workbook

from accounts.models import User
from packs.models import Item, PackType, Sku, SkuPrice, TariffPrice
from packs.price_files import COLUMNS, MOST_ROWS
from packs.proposal_models import PriceProposal
from packs.proposals import propose
from packs.tariff import sku_prices, tariff_on
from tests.test_admin import Fields
from tests.test_rules_prices import item
from tests.worlds import at, yuan

pytestmark = pytest.mark.django_db

SHEET = "/admin/packs/pricelist/"
NOW = "2026-03-08T12:00"


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """Noon of 8 March 2026."""
    with time_machine.travel(at(NOW), tick=False):
        yield


def staff(name: str, *permissions: str) -> Client:
    """Somebody of the staff who may do so much; everything without permissions."""
    from django.contrib.auth.models import Permission

    make = User.objects.create_user if permissions else User.objects.create_superuser
    user = make(f"{name}@example.com", "x", **({"is_staff": True} if permissions else {}))
    codes = [one.rpartition(".")[2] for one in permissions]
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="packs", codename__in=codes))
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(user)
    return client


@pytest.fixture
def desk() -> Client:
    return staff("ann")


def send_sheet(client: Client, on: str = "", **entered: str) -> Any:
    """Fill in cells of the sheet and send it as a browser would; names have a colon for each double underscore."""
    page = client.get(SHEET, {"on": on} if on else {})
    fields = Fields(page.content.decode()).found
    entered = {name.replace("__", ":").replace("_", "-") if "__" in name else name: v for name, v in entered.items()}
    entered = {name.replace("ai-pet", "ai.pet").replace("ai-face", "ai.face"): value for name, value in entered.items()}
    assert entered.keys() <= fields.keys() | {"packs"}, entered.keys() - fields.keys()
    fields["packs"] = "day" if on else "now"
    fields.setdefault("reason", "")
    return client.post(SHEET, fields | entered, follow=True)


def proposal_of(response: Any) -> PriceProposal:
    assert response.redirect_chain, said(response)
    return PriceProposal.objects.get(pk=re.search(r"priceproposal/(\d+)/", response.redirect_chain[-1][0])[1])  # type: ignore[index]


def said(response: Any) -> str:
    return unescape(response.content.decode())


def publish(client: Client, proposal: PriceProposal) -> str:
    return said(client.post(reverse("admin:packs_priceproposal_publish", args=[proposal.pk]), follow=True))


def price_rows() -> int:
    return SkuPrice.objects.count() + TariffPrice.objects.count()


ALL = 34 + 21


# the sheet


def test_the_sheet_shows_every_price_and_makes_prices_of_changed_cells_only(desk: Client) -> None:
    page = said(desk.get(SHEET))
    assert page.count('name="p:') == 34
    assert page.count('name="t:') == 21
    for shown in ("1,000 calls", "100,000 calls", "500 GB", "Pet recognition", "cn-mainland"):
        assert shown in page
    response = send_sheet(desk, p__pet_100k="199.50", t__ai_pet__cn_mainland="3", reason="spring")
    proposal = proposal_of(response)
    assert price_rows() == ALL
    for shown in (
        "CNY 250.00",
        "CNY 199.50",
        "−20.2%",
        "CNY 2.5 / 1,000 calls",
        "+20%",
        "2026-03-09",
        "at once",
        "spring",
    ):
        assert shown in said(response), shown
    assert "is published" in publish(desk, proposal)
    assert price_rows() == ALL + 2
    sold, rated = SkuPrice.objects.latest("id"), TariffPrice.objects.latest("id")
    assert (sold.price, sold.from_price, sold.effective_at, sold.reason) == (19_950, 25_000, timezone.now(), "spring")
    assert (rated.price, rated.per, rated.effective_day) == (3_000_000, 1000, date(2026, 3, 9))
    assert sold.made_by == rated.made_by == User.objects.get()


@pytest.mark.parametrize("price", ["0", "-1", "1.005", "free", "NaN", "1000000000.01", "1e3", "١"])
def test_a_faulty_cell_is_told_at_the_cell_and_nothing_is_half_done(desk: Client, price: str) -> None:
    response = send_sheet(desk, p__pet_100k=price, p__pet_1m="2000", t__ai_face__cn_mainland="-1", reason="r")
    page = said(response)
    assert not response.redirect_chain
    assert 'id="id_p:pet-100k_error"' in page
    assert 'id="id_p:pet-1m_error"' not in page
    assert 'id="id_t:ai.face:cn-mainland_error"' in page
    assert f'value="{price}"' in page
    assert PriceProposal.objects.count() == 0


def test_a_sheet_without_a_change_a_reason_or_a_coming_day_is_refused(desk: Client) -> None:
    for entered in ({}, {"p__pet_100k": "250.00"}, {"p__pet_100k": "200", "reason": " "}):
        response = send_sheet(desk, **({"reason": "r"} | entered))
        assert not response.redirect_chain
        assert "errorlist" in said(response)
    response = send_sheet(desk, t__ai_pet__cn_mainland="3", day="2026-03-08", reason="r")
    assert "coming 00:00" in said(response)
    assert PriceProposal.objects.count() == 0


def test_a_cell_that_changed_meanwhile_is_told_and_untouched_cells_are_not_put_back(desk: Client) -> None:
    fields = Fields(said(desk.get(SHEET))).found | {"packs": "now", "reason": "r"}
    other = proposal_of(send_sheet(desk, p__pet_100k="199", p__pet_1m="1999", reason="first"))
    publish(desk, other)
    response = desk.post(SHEET, fields | {"p:pet-100k": "210", "p:face-100k": "60"}, follow=True)
    assert "Changed meanwhile: it is 199 now" in said(response)
    response = desk.post(SHEET, fields | {"p:face-100k": "60"}, follow=True)
    assert list(proposal_of(response).cells.values_list("code", "price")) == [("face-100k", 6000)]


def test_an_emptied_cell_withdraws_from_sale_and_a_filled_one_sells_again(desk: Client) -> None:
    response = send_sheet(desk, p__pet_100k="", reason="r")
    assert "not on sale" in said(response)
    publish(desk, proposal_of(response))
    pet = Sku.objects.get(code="pet-100k")
    assert pet.pk not in sku_prices(timezone.now())
    publish(desk, proposal_of(send_sheet(desk, p__pet_100k="260", reason="r")))
    assert sku_prices(timezone.now())[pet.pk] == yuan("260")


def test_prices_of_a_coming_day_are_the_ground_that_day_is_changed_from(desk: Client) -> None:
    publish(desk, proposal_of(send_sheet(desk, on="2026-03-10", p__pet_100k="300", reason="r")))
    assert "300 from 2026-03-10" in said(desk.get(SHEET))
    publish(desk, proposal_of(send_sheet(desk, on="2026-03-12", day="2026-03-12", p__pet_100k="250", reason="r")))
    rows = SkuPrice.objects.filter(sku__code="pet-100k").order_by("id").values_list("from_price", "price")
    assert list(rows)[1:] == [(25_000, 30_000), (30_000, 25_000)]


def test_a_size_and_an_item_are_added_from_a_coming_day(desk: Client) -> None:
    size = {"pack_type": Sku.objects.get(code="pet-1m").pack_type_id, "number": "50", "scale": "10000"}
    response = desk.post(SHEET + "new-size/", size | {"price": "1200", "day": "2026-03-10", "reason": "r"}, follow=True)
    publish(desk, proposal_of(response))
    assert Sku.objects.get(code="pet-500k").quantity == 500_000
    again = desk.post(SHEET + "new-size/", size | {"price": "1200", "reason": "r"})
    assert "already" in said(again)
    fields = {"code": "ai.cat", "region": "cn-mainland", "price": "0.5", "per": "1000", "day": "2026-03-10"}
    names = {"name_zh": "猫识别", "name_en": "Cat recognition", "unit": "call", "aggregation": "sum", "reason": "r"}
    assert "both languages" in said(desk.post(SHEET + "new-item/", fields | {"reason": "r"}))
    publish(desk, proposal_of(desk.post(SHEET + "new-item/", fields | names, follow=True)))
    kind = {"code": "animal", "name_zh": "动物识别资源包", "name_en": "Animal pack", "number": "10", "scale": "10000"}
    kind |= {"price": "300", "day": "2026-03-10", "reason": "r"}
    pet, cats, mbps = (Item.objects.get(code=code).pk for code in ("ai.pet", "ai.cat", "bandwidth.up"))
    assert "not one of the available choices" in said(desk.post(SHEET + "new-type/", kind | {"covers": [pet, mbps]}))
    response = desk.post(SHEET + "new-type/", kind | {"covers": [pet, cats]}, follow=True)
    assert "New pack type animal, 动物识别资源包 / Animal pack, covers: Pet recognition (ai.pet), Cat" in said(response)
    publish(desk, proposal_of(response))
    assert [item.code for item in PackType.objects.get(code="animal").covers.all()] == ["ai.pet", "ai.cat"]
    assert "p:animal-100k" in said(desk.get(SHEET + "?on=2026-03-10"))
    cat = Item.objects.get(code="ai.cat")
    assert (cat.pk, "cn-mainland") not in tariff_on(date(2026, 3, 9))
    assert tariff_on(date(2026, 3, 10))[cat.pk, "cn-mainland"].price == 500_000
    # a region of an item that there is
    response = desk.post(SHEET + "new-item/", fields | {"code": "ai.pet", "region": "eu-1", "reason": "r"}, follow=True)
    assert proposal_of(response).cells.get().new is None
    # the new size is a column, where other types can be sold too
    assert "n:vehicle:500000" in said(desk.get(SHEET))


# scheduled, cancelled, history


def test_what_is_scheduled_is_listed_and_cancelled_and_the_history_tells_all(desk: Client) -> None:
    publish(
        desk, proposal_of(send_sheet(desk, on="2026-03-10", p__pet_100k="300", t__ai_pet__cn_mainland="3", reason="up"))
    )
    page = said(desk.get(SHEET + "scheduled/"))
    for shown in ("pet-100k", "CNY 300.00", "ai.pet", "2026-03-10", "ann@example.com", "up"):
        assert shown in page
    links = re.findall(r'href="(/admin/packs/pricelist/scheduled/cancel/[^"]+)"', page)
    assert len(links) == 2
    for link in links:
        assert "errorlist" in said(desk.post(link, {"reason": " "}))
        publish(desk, proposal_of(desk.post(link, {"reason": "too soon"}, follow=True)))
    assert "Nothing is scheduled" in said(desk.get(SHEET + "scheduled/"))
    page = said(desk.get(SHEET + "history/", {"q": "pet-100k"}))
    for shown in ("CNY 250.00", "CNY 300.00", "up", "cancelled", "too soon", "ann@example.com", "launch catalogue"):
        assert shown in page
    assert "ai.pet" not in page
    assert "There is no such price" in said(desk.get(SHEET + "history/", {"q": "nobody\x00"}))
    assert "Older" in said(desk.get(SHEET + "history/"))
    assert "Newer" in said(desk.get(SHEET + "history/", {"p": "2"}))
    for nonsense in ("0", "-1", "x", "9" * 30, "²"):
        assert desk.get(SHEET + "history/", {"p": nonsense}).status_code == 200
    for asked in ({}, {"day": "x"}, {"day": "2026-03-10", "code": "cat"}):
        assert desk.get(SHEET + "scheduled/cancel/", asked).status_code in (200, 302)


# who may


def test_with_four_eyes_one_proposes_and_another_publishes(settings: LazySettings) -> None:
    settings.FOUR_EYES = True
    ann = staff("ann", "packs.view_sku", "packs.view_priceproposal", "packs.propose_prices", "packs.publish_prices")
    ben = staff("ben", "packs.view_sku", "packs.view_priceproposal", "packs.publish_prices")
    response = send_sheet(ann, p__pet_100k="199", reason="r")
    proposal = proposal_of(response)
    assert "Another than who proposed it" in said(response)
    assert ">Publish<" not in said(response)
    assert "Nothing was published" in publish(ann, proposal)
    assert price_rows() == ALL
    assert "is published" in publish(ben, proposal)
    assert price_rows() == ALL + 1
    assert "Nothing was published" in publish(ben, proposal)
    # nor by any other way: a file, a size, a type, what is scheduled and its end
    size = {"number": "50", "scale": "10000", "price": "1200", "reason": "r"}
    pet = {"pack_type": Sku.objects.get(code="pet-1m").pack_type_id}
    kind = {"code": "cat", "name_zh": "猫", "name_en": "Cat", "covers": [Item.objects.get(code="ai.pet").pk]}
    coming = send_sheet(ann, on="2026-03-10", p__pet_100k="300", reason="r")
    ways = [
        upload(ann, b"kind,code,price\npack,pet-1m,2300\n"),
        ann.post(SHEET + "new-size/", size | pet, follow=True),
        ann.post(SHEET + "new-type/", size | kind, follow=True),
        coming,
    ]
    assert "is published" in publish(ben, proposal_of(coming))
    where = SHEET + "scheduled/cancel/?code=pet-100k&region=&day=2026-03-10"
    ways[-1] = ann.post(where, {"reason": "r"}, follow=True)
    for response in ways:
        assert "Nothing was published" in publish(ann, proposal_of(response))
    assert price_rows() == ALL + 2


def test_looking_proposing_and_publishing_are_rights_of_their_own() -> None:
    looks = staff("lou", "packs.view_sku", "packs.view_priceproposal")
    proposes = staff("pat", "packs.view_sku", "packs.view_priceproposal", "packs.propose_prices")
    publishes = staff("pia", "packs.view_priceproposal", "packs.publish_prices")
    nobody = staff("nat", "packs.view_order")
    form = Fields(said(proposes.get(SHEET))).found | {"packs": "now", "p:pet-100k": "199", "reason": "r"}
    pages = ["", "new-size/", "new-item/", "new-type/", "scheduled/", "scheduled/cancel/?day=2026-03-10", "history/"]
    pages += ["import/"]
    for where in pages:
        assert nobody.get(SHEET + where).status_code == 403
        assert nobody.post(SHEET + where, form).status_code == 403
        only_looks = where in ("scheduled/", "history/")
        assert looks.post(SHEET + where, form).status_code == (200 if only_looks else 403)
    assert nobody.get(SHEET + "export/csv/").status_code == 403
    assert 'name="p:pet-100k"' not in said(looks.get(SHEET))
    assert PriceProposal.objects.count() == 0
    proposal = proposal_of(proposes.post(SHEET, form, follow=True))

    def act(name: str) -> str:
        return reverse(f"admin:packs_priceproposal_{name}", args=[proposal.pk])

    for client in (looks, proposes, nobody):
        assert client.post(act("publish")).status_code == 403
    for client in (looks, nobody):
        assert client.post(act("decline"), {"reason": "r"}).status_code == 403
    assert publishes.get(act("publish")).status_code == 405
    assert publishes.post(act("decline"), {"reason": "no"}).status_code == 302
    proposal.refresh_from_db()
    assert (proposal.state, proposal.decision) == ("rejected", "no")
    assert price_rows() == ALL


def test_a_change_that_can_no_longer_be_published_says_which_cell(desk: Client) -> None:
    first = proposal_of(send_sheet(desk, p__pet_100k="199", reason="a"))
    second = proposal_of(send_sheet(desk, p__pet_100k="198", p__pet_1m="1", reason="b"))
    publish(desk, first)
    page = said(desk.get(reverse("admin:packs_priceproposal_change", args=[second.pk])))
    assert page.count("has changed since it was proposed") == 1
    assert "Nothing was published" in publish(desk, second)
    assert price_rows() == ALL + 1


def test_no_page_asks_more_queries_for_more_prices(desk: Client, django_assert_max_num_queries: Any) -> None:
    cells = [item("ai.pet", "3.00", f"2026-04-{day:02}") for day in range(1, 29)]
    proposal = propose(cells=cells, reason="many", now=timezone.now())
    publish(desk, proposal)
    pages = ("", "scheduled/", "history/", "import/", "export/csv/")
    for address in (
        *(SHEET + where for where in pages),
        reverse("admin:packs_priceproposal_change", args=[proposal.pk]),
    ):
        with django_assert_max_num_queries(20):
            assert desk.get(address).status_code == 200


@pytest.mark.parametrize("entered", ["１２", "12.345", "-1", "1e3", "NaN"])
def test_a_price_that_is_none_is_refused_in_the_readers_language(desk: Client, entered: str) -> None:
    page = said(send_sheet(desk, p__pet_100k=entered, reason="r"))
    assert f"“{entered}” is no price" in page
    desk.cookies["django_language"] = "zh-hans"
    page = said(send_sheet(desk, p__pet_100k=entered, reason="r"))
    assert f"“{entered}”不是" in page
    assert "is no price" not in page
    assert price_rows() == ALL


# files


def upload(client: Client, content: bytes, name: str = "prices.csv", **fields: str) -> Any:
    file = SimpleUploadedFile(name, content)
    return client.post(SHEET + "import/", {"file": file, "reason": "from a file"} | fields, follow=True)


def csv_of(*rows: str) -> bytes:
    return "\n".join(["kind,code,region,price,per,from,reason", *rows]).encode()


def excel_of(rows: list[list[Any]]) -> bytes:
    book = Workbook()
    for row in rows:
        book.active.append(row)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_what_is_exported_changes_nothing_when_it_is_imported(desk: Client, kind: str) -> None:
    response = desk.get(SHEET + f"export/{kind}/")
    assert response["Content-Disposition"] == f'attachment; filename="prices-2026-03-08.{kind}"'
    assert "The file changes nothing" in said(upload(desk, response.content, f"p.{kind}"))
    if kind == "csv":
        lines = response.content.decode("utf-8-sig").splitlines()
        assert lines[0] == ",".join(COLUMNS)
        assert len(lines) == 1 + 34 + 21
        told = "pet,100000,宠物识别资源包,Pet recognition pack,,,ai.pet"
        assert f"pack,pet-100k,Pet recognition pack 100000,,250,,call,,,{told}" in lines
        changed = response.content.replace(b",250,,call,,", b",249.5,,call,2026-03-10,sale")
    else:
        sheet = load_workbook(io.BytesIO(response.content)).worksheets[0]
        rows = [list(row) for row in sheet.iter_rows(values_only=True)]
        assert rows[1][4] == 250
        for row in rows[1:]:
            if row[4] == 250 and row[6] == "call":
                row[4], row[7], row[8] = 249.5, date(2026, 3, 10), "sale"
        changed = excel_of(rows)
    proposal = proposal_of(upload(desk, changed, f"p.{kind}"))
    cells = proposal.cells.values_list("code", "price", "day", "reason", "from_price")
    assert set(cells) == {
        (f"{code}-100k", 24_950, date(2026, 3, 10), "sale", 25_000) for code in ("pet", "image-label", "kitchen")
    }
    assert price_rows() == ALL


def test_a_file_may_withdraw_price_tomorrow_and_be_of_excel_in_china(desk: Client) -> None:
    rows = csv_of("pack,pet-100k,,,,,停售", "item,ai.pet,,3.25,1000,,", "item,ai.face,cn-mainland,0.5,1000,,").decode()
    proposal = proposal_of(upload(desk, rows.encode("gb18030")))
    assert list(proposal.cells.values_list("code", "region", "price", "day", "reason")) == [
        ("pet-100k", "", None, None, "停售"),
        ("ai.pet", "cn-mainland", 3_250_000, date(2026, 3, 9), "from a file"),
    ]


NEW = "kind,code,region,price,per,unit,type,size,name_zh,name_en,aggregation,mode,covers"


def test_a_file_adds_sizes_pack_types_items_and_regions(desk: Client) -> None:
    rows = (
        "pack,pet-50k,,140,,,pet,50000,,,,,",
        "pack,baby-100k,,250,,,baby,100000,婴儿识别资源包,Baby recognition pack,,,ai.baby",
        "pack,baby-1m,,2200,,,baby,1000000,,,,,",
        "item,ai.fire,cn-mainland,5,1000,call,,,火焰识别,Fire recognition,sum,,",
        "item,ai.fire,cn-north,6,1000,call,,,火焰识别,Fire recognition,sum,,",
    )
    proposal = proposal_of(upload(desk, "\n".join([NEW, *rows]).encode()))
    page = said(desk.get(reverse("admin:packs_priceproposal_change", args=[proposal.pk])))
    assert "New pack type baby, 婴儿识别资源包 / Baby recognition pack, covers: Baby recognition (ai.baby)" in page
    assert "火焰识别 / Fire recognition" in page
    publish(desk, proposal)
    proposal.refresh_from_db()
    assert proposal.state == "published"
    sold = Sku.objects.filter(code__in=["pet-50k", "baby-100k", "baby-1m"])
    assert set(sold.values_list("pack_type__code", "quantity")) == {("pet", 50000), ("baby", 100000), ("baby", 1000000)}
    assert [item.code for item in PackType.objects.get(code="baby").covers.all()] == ["ai.baby"]
    assert set(Item.objects.get(code="ai.fire").tariff.values_list("region", "price")) == {
        ("cn-mainland", 5_000_000),
        ("cn-north", 6_000_000),
    }
    exported = desk.get(SHEET + "export/csv/").content
    assert "The file changes nothing" in said(upload(desk, exported))


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (("pack,pet-50k,,,,,pet,50000,,,,,",), "Row 2: What is new needs a price"),
        (("pack,pet-50k,,140,,,pet,5e4,,,,,",), "Row 2: “5e4” is not a whole number"),
        (("pack,pet-100x,,140,,,pet,100000,,,,,",), "Row 2: There is a pack of this type and size"),
        (("pack,cat-1m,,140,,,cat,1000000,,,,,",), "Row 2: A name is needed"),
        (("pack,cat-1m,,140,,,cat,1000000,猫,cat,,,ai.pet ai.cat",), "Row 2: It covers an item that there is not"),
        (
            ("pack,pet-50k,,140,,,pet,50000,,,,,", "pack,pet-fifty,,1,,,pet,50000,,,,,"),
            "Row 3: This size is added twice",
        ),
        (
            ("pack,a-1,,1,,,a,1,一,one,,,ai.pet", "pack,a-2,,1,,,a,2,二,two,,,ai.pet"),
            "Row 3: It is described twice, and not alike",
        ),
        (
            ("item,x,cn,1,1,call,,,一,one,sum,,", "item,x,us,1,1,call,,,一,one,distinct,,"),
            "Row 3: It is described twice, and not alike",
        ),
        (("item,x,cn,1,1,call,,,一,one,median,,",), "Row 2: The item's unit, aggregation or billing mode"),
        (("item,ai.typo,,,,,,,,,,,",), "Row 2: There is no ai.typo"),
        (("pack,typo-100k,,,,,,,,,,,",), "Row 2: There is no typo-100k"),
    ],
)
def test_what_a_file_adds_is_refused_with_what_and_where(desk: Client, rows: tuple[str, ...], why: str) -> None:
    response = upload(desk, "\n".join([NEW, *rows]).encode())
    assert why in said(response)
    assert PriceProposal.objects.count() == 0


@pytest.mark.parametrize(
    ("content", "name", "why"),
    [
        (b"", "p.csv", "empty"),
        (b"kind,code\npack,pet-100k", "p.csv", "no column price"),
        (csv_of("pack,pet-100k,,free,,,"), "p.csv", "Row 2"),
        (csv_of("pack,pet-100k,,1,,,", "pack,cat,,1,,,"), "p.csv", "Row 3: There is no cat"),
        (csv_of("pack,pet-100k,,1,,2026-03-08,"), "p.csv", "Row 2: A tariff changes at a coming 00:00"),
        (csv_of("cat,pet-100k,,1,,,"), "p.csv", "“pack” or “item”"),
        (csv_of("item,ai.pet,,1,x,,"), "p.csv", "whole number"),
        (csv_of("item,ai.pet,,1,1,soon,"), "p.csv", "is not a day"),
        (csv_of("pack,pet-100k,,1,,,,,,"), "p.csv", "more cells"),
        (csv_of(*["pack,pet-100k,,1,,,"] * 2), "p.csv", "Row 3: It is changed twice"),
        (csv_of(*["pack,pet-100k,,1,,,"] * (MOST_ROWS + 1)), "p.csv", "5,000 rows"),
        (b"x" * (2**20 + 1), "p.csv", "larger than 1 MB"),
        (b"PK\x03\x04nonsense", "p.xlsx", "cannot be read"),
        (b"PK\x03\x04nonsense", "p.csv", ".xlsx"),
        (csv_of(), "p.xlsx", ".xlsx"),
        (b"\xff\xfe\x00", "p.csv", "cannot be read"),
    ],
)
def test_a_faulty_file_is_refused_with_what_and_where(desk: Client, content: bytes, name: str, why: str) -> None:
    response = upload(desk, content, name)
    assert response.status_code == 200
    assert why in said(response)
    assert PriceProposal.objects.count() == 0


def test_an_excel_bomb_is_not_unpacked(desk: Client) -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr("xl/worksheets/sheet1.xml", b"0" * 2**26)
    assert len(bomb.getvalue()) < 2**20
    assert "too large when it is unpacked" in said(upload(desk, bomb.getvalue(), "p.xlsx"))
    # a small sheet that claims to be as large as a sheet can be
    small = excel_of([["kind", "code", "price"], ["pack", "pet-100k", 249]])
    claimed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(small)) as old, zipfile.ZipFile(claimed, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.namelist():
            text = old.read(part)
            if part.endswith("sheet1.xml"):
                text = re.sub(rb'<dimension ref="[^"]+"', b'<dimension ref="A1:XFD1048576"', text)
                assert b"XFD1048576" in text
            new.writestr(part, text)
    assert proposal_of(upload(desk, claimed.getvalue(), "p.xlsx")).cells.get().price == 24_900


def test_what_is_exported_is_never_taken_for_a_formula(desk: Client) -> None:
    for name in ("=HYPERLINK(1)", "＝HYPERLINK(1)", " @x"):
        Item.objects.filter(code="ai.pet").update(name_zh=name, name_en=name)
        assert f"'{name}" in desk.get(SHEET + "export/csv/").content.decode()
    sheet = load_workbook(io.BytesIO(desk.get(SHEET + "export/xlsx/").content)).worksheets[0]
    assert not [cell for row in sheet.iter_rows() for cell in row if cell.data_type == "f"]
    assert desk.get(SHEET + "export/exe/").status_code == 404
