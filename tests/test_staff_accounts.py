"""The page of an account that answers a support call, and what support may do on it."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from axes.models import AccessAttempt
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts import letters
from accounts.keys import make_key
from accounts.ledger import record_adjustment
from accounts.models import Account, AuditEntry, Notice
from accounts.notices import deliver
from accounts.opening import open_account
from iss_billing import roles
from settlement.models import SettlementFailure, SettlementRun
from tests.hooks import listen
from tests.test_admin import complaints, submit, url_of
from tests.test_staff_audit import member
from tests.worlds import at, buy, night, top_up, use

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    """Noon of 8 March 2026."""
    with time_machine.travel(at("2026-03-08T12:00"), tick=False) as traveller:
        yield traveller


@pytest.fixture
def alice() -> Account:
    """A customer with a little of everything, in arrears since the night."""
    account = open_account(
        name="Alice & Sons", now=at("2026-03-01T00:00"), email="alice@example.com", password="a long password"
    )
    top_up(account, "300", "2026-03-01T09:00")
    buy(account, "pet-100k", "2026-03-01T10:00")
    use(account, "ai.pet", 100_100, "2026-03-01T11:00")
    night("2026-03-02T02:00")
    make_key(account_id=account.pk, name="ci", now=timezone.now())
    listen(account, "https://example.com/hook")
    record_adjustment(
        account_id=account.pk, amount=-6_000, reason="wrong refund", reference="x", now=at("2026-03-08T02:00")
    )
    return account


def test_one_page_says_what_a_caller_asks(alice: Account) -> None:
    run = SettlementRun.objects.get()
    use(alice, "ai.pet", 5, "2026-03-05T11:00")
    SettlementFailure.objects.create(run=run, account=alice, day=at("2026-03-05T11:00").date(), error="CheckViolation")
    page = member(roles.SUPPORT).get(url_of(alice)).content.decode()
    shown = (
        "Alice &amp; Sons",
        "alice@example.com",
        "in arrears",
        "suspends",
        "daily peak bandwidth",
        "Pet recognition pack",
        "2026-03-01",
        "wrong refund",
        "CheckViolation",
        "ck_",
        "https://example.com/hook",
        "a pack is used up",
        "The account is in arrears",
    )
    assert not [text for text in shown if text not in page]
    assert url_of(alice, "adjust") not in page  # support moves no money
    assert reverse("admin:accounts_account_reset-mail", args=[alice.pk]) in page
    assert url_of(alice, "adjust") in member(roles.FINANCE).get(url_of(alice)).content.decode()


def test_the_page_asks_no_more_of_a_bigger_account(alice: Account) -> None:
    desk = member(roles.SUPPORT)

    def queries() -> int:
        desk.get(url_of(alice))
        with CaptureQueriesContext(connection) as asked:
            assert desk.get(url_of(alice)).status_code == 200
        return len(asked)

    before = queries()
    top_up(alice, "5000", "2026-03-08T03:00")
    buy(alice, "face-100k", "2026-03-08T03:00", 12)
    buy(alice, "vehicle-100k", "2026-03-08T03:00", 3)
    for number in range(5):
        use(alice, "ai.face", 500, f"2026-03-0{number + 2}T11:00")
        make_key(account_id=alice.pk, name=f"{number}", now=timezone.now())
    night("2026-03-08T04:00")
    assert queries() <= before


@pytest.mark.parametrize("asked", ["alice@example", "Sons", "id"])
def test_an_account_is_found_by_name_address_and_number(alice: Account, asked: str) -> None:
    query = str(alice.pk) if asked == "id" else asked
    page = member(roles.SUPPORT).get(reverse("admin:accounts_account_changelist"), {"q": query}).content.decode()
    assert url_of(alice) in page


def test_support_unlocks_a_login_with_a_reason(alice: Account) -> None:
    caller = Client()
    for _ in range(6):
        caller.post("/sign-in/", {"username": "alice@example.com", "password": "wrong"})
    right = {"username": "alice@example.com", "password": "a long password"}
    assert caller.post("/sign-in/", right).status_code == 429
    desk = member(roles.SUPPORT)
    url = reverse("admin:accounts_account_unlock", args=[alice.pk])
    assert url in desk.get(url_of(alice)).content.decode()
    assert complaints(submit(desk, url, reason=" "))
    submit(desk, url, reason="she called")
    assert not AccessAttempt.objects.exists()
    assert caller.post("/sign-in/", right).status_code == 302
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.account, entry.reason) == ("login.unlock", alice, "she called")


def test_support_mails_a_link_to_a_new_password_to_the_customer_alone(alice: Account) -> None:
    url = reverse("admin:accounts_account_reset-mail", args=[alice.pk])
    submit(member(roles.SUPPORT), url, reason="forgotten")
    letters.deliver(timezone.now())
    [sent] = mail.outbox
    assert sent.to == ["alice@example.com"]
    link = re.search(r"https?://\S+/password-reset/\S+", str(sent.body))
    assert link
    assert link[0] not in str(list(AuditEntry.objects.values()))
    assert AuditEntry.objects.get().action == "login.reset_mail"


def test_support_sends_a_message_again(alice: Account, clock: time_machine.Traveller) -> None:
    deliver(timezone.now())
    notice = Notice.objects.filter(account=alice, kind="arrears").get()
    before = len(mail.outbox)
    desk = member(roles.SUPPORT)
    clock.shift(timedelta(hours=1))
    submit(desk, url_of(notice, "resend"), reason="it went to spam")
    assert "on its way" in complaints(submit(desk, url_of(notice, "resend"), reason="twice"))
    deliver(timezone.now())
    deliver(timezone.now())
    assert len(mail.outbox) == before + 1
    ids = [one.message()["Message-ID"] for one in mail.outbox]
    assert len(set(ids)) == len(ids)  # no mail server takes it for one that it has seen
    notice.refresh_from_db()
    assert (notice.sent_at, notice.resent) == (timezone.now(), 1)
    assert AuditEntry.objects.get().subject_id == str(notice.pk)
