"""The audit log is written with each act and never changed; the roles' groups follow their mapping."""

from collections.abc import Iterator
from datetime import datetime

import pytest
import time_machine
from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import DatabaseError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import audit_log
from accounts.keys import make_key
from accounts.models import AuditEntry, User
from iss_billing import roles
from tests.test_admin import complaints, submit, url_of
from tests.worlds import assert_books, at, buy, opened

pytestmark = pytest.mark.django_db
NOW = at("2026-03-08T12:00")


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """Noon of 8 March 2026; the books are true in the end."""
    with time_machine.travel(NOW, tick=False):
        yield
    assert_books()


def member(role: str) -> Client:
    """A browser in which a member of staff of this role is signed in."""
    user = User.objects.create_user(f"{role}@example.com", "x", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(user)
    return client


def kept(action: str) -> list[tuple[str, datetime, str, str]]:
    rows = AuditEntry.objects.filter(action=action).order_by("pk")
    return [(row.who, row.time, row.subject, row.reason) for row in rows]


def test_each_act_of_staff_is_kept_with_who_when_what_and_why() -> None:
    alice = opened(balance="500.00")
    [pack] = buy(alice, "pet-100k", "2026-03-01T10:00")
    key, _plain = make_key(account_id=alice.pk, name="ci", now=timezone.now())
    desk, who = member(roles.ADMINISTRATOR), "administrator@example.com"
    submit(desk, url_of(alice, "top-up"), amount_0="12.50", reference="bank-1", reason="by phone")
    submit(desk, url_of(alice, "top-up"), amount_0="12.50", reference="bank-1", reason="again")
    submit(desk, url_of(alice, "adjust"), amount_0="-2.50", reason="our mistake")
    submit(desk, url_of(pack, "refund"), reason="complaint 7")
    assert complaints(submit(desk, url_of(key, "revoke"), reason=" "))
    submit(desk, url_of(key, "revoke"), reason="found in a log")
    assert kept("account.top_up") == [(who, NOW, "accounts.transfer", "by phone")]
    assert kept("account.adjust") == [(who, NOW, "accounts.transfer", "our mistake")]
    assert kept("pack.refund") == [(who, NOW, "packs.pack", "complaint 7")]
    assert kept("key.revoke") == [(who, NOW, "accounts.apikey", "found in a log")]
    assert set(AuditEntry.objects.values_list("account_id", flat=True)) == {alice.pk}
    adjusted = AuditEntry.objects.get(action="account.adjust")
    assert adjusted.data["amount"] == -250
    page = desk.get(reverse("admin:accounts_auditentry_changelist")).content.decode()
    assert all(text in page for text in ("adjusted the balance", "our mistake", who))
    assert f'href="{reverse("admin:accounts_transfer_change", args=[adjusted.subject_id])}"' in page
    assert "-250" in desk.get(url_of(adjusted)).content.decode()


def test_an_act_that_fails_leaves_no_entry_and_an_entry_that_fails_no_act(monkeypatch: pytest.MonkeyPatch) -> None:
    alice = opened(balance="10.00")
    desk = member(roles.FINANCE)
    submit(desk, url_of(alice, "top-up"), amount_0="5", reference="bank-1", reason="by phone")
    assert "bank-1" in complaints(submit(desk, url_of(alice, "top-up"), amount_0="6", reference="bank-1", reason="r"))
    assert AuditEntry.objects.count() == 1

    def broken(*_args: object, **_named: object) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(audit_log, "record", broken)
    with pytest.raises(DatabaseError):
        submit(desk, url_of(alice, "adjust"), amount_0="1", reason="why")
    alice.refresh_from_db()
    assert alice.balance == 1500


def test_an_entry_is_never_changed_or_deleted() -> None:
    staff = User.objects.create_user("a@example.com", is_staff=True)
    entry = audit_log.record("account.adjust", by=staff, now=NOW, subject=opened(), reason="why")
    for change in (
        lambda: AuditEntry.objects.filter(pk=entry.pk).update(reason="another"),
        lambda: AuditEntry.objects.filter(pk=entry.pk).delete(),
    ):
        with pytest.raises(DatabaseError, match="never changed or deleted"), transaction.atomic():
            change()
    desk = member(roles.ADMINISTRATOR)
    for page in ("change", "delete"):
        assert desk.post(url_of(entry, page), {"reason": "x", "post": "yes"}).status_code == 403
    entry.refresh_from_db()
    assert (entry.reason, entry.account_id) == ("why", int(entry.subject_id))


@pytest.mark.django_db(transaction=True)
def test_an_entry_is_refused_outside_a_transaction() -> None:
    with pytest.raises(RuntimeError):
        audit_log.record("account.adjust", by=None, now=NOW)


def test_the_groups_follow_the_mapping_after_migrate(monkeypatch: pytest.MonkeyPatch) -> None:
    def allowed(role: str) -> set[str]:
        group = Group.objects.get(name=role)
        return {f"{one.content_type.app_label}.{one.codename}" for one in group.permissions.all()}

    looks = {"accounts.view_account", "packs.view_pack", "settlement.view_bill", "accounts.view_auditentry"}
    moves = {"accounts.add_transfer", "packs.change_pack"}
    for role in roles.ROLES:
        assert looks <= allowed(role)
        assert bool(moves & allowed(role)) is (role in (roles.FINANCE, roles.ADMINISTRATOR))
    assert "accounts.change_user" in allowed(roles.ADMINISTRATOR) - allowed(roles.FINANCE)
    everything = {"accounts.add_transfer", "packs.change_sku", "settlement.retry_failure"}
    assert everything <= allowed(roles.ADMINISTRATOR)

    own = Group.objects.create(name="auditors")
    own.permissions.add(Permission.objects.get(codename="view_bill"))
    Group.objects.get(name=roles.SUPPORT).permissions.add(Permission.objects.get(codename="add_transfer"))
    monkeypatch.setitem(
        roles.ROLES, roles.PRICING, (*roles.ROLES[roles.PRICING], "packs.not_made_yet", "packs.add_sku")
    )
    call_command("migrate", verbosity=0)
    assert "accounts.add_transfer" not in allowed(roles.SUPPORT)
    assert "packs.add_sku" in allowed(roles.PRICING)
    assert allowed("auditors") == {"settlement.view_bill"}
    roles.apply(apps)
