"""After a test that commits the database is as it was before it."""

import pytest
from django.db import connection
from django.test import TransactionTestCase

from accounts.models import Account, Transfer
from packs.models import Item, SkuPrice
from tests.worlds import buy, opened, use


@pytest.mark.django_db(transaction=True)
def test_what_was_made_goes_and_what_was_changed_comes_back() -> None:
    items, prices = list(Item.objects.values()), list(SkuPrice.objects.order_by("pk").values())
    use(opened(), "ai.pet", 1, "2026-03-01T10:00")
    buy(Account.objects.get(), "pet-100k", "2026-03-01T10:00")
    Item.objects.filter(code="ai.pet").update(unit="byte")
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE packs_skuprice CASCADE")
    TransactionTestCase._fixture_teardown()  # type: ignore[attr-defined]
    assert not Account.objects.exists()
    assert not Transfer.objects.exists()
    assert list(Item.objects.values()) == items
    assert list(SkuPrice.objects.order_by("pk").values()) == prices
    opened("another")
