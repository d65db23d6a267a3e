"""Messages: each with its words, its mail and its page, read by a form; and told as the customer wants them."""

from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from accounts import notices
from accounts.inbox import PAGE, link_of, page
from accounts.ledger import record_adjustment
from accounts.models import Account, Notice
from accounts.notice_texts import text_of as words_of
from accounts.notice_topics import CHOICES, chosen_of, muted_by
from accounts.thresholds import fell_below, fell_to_percent
from tests.hooks import listen
from tests.mailbox import delivered
from tests.test_pages import customer, text_of
from tests.test_webhooks_events import told
from tests.worlds import assert_books, at, bills_of, buy, night, opened, top_up, use, yuan

pytestmark = pytest.mark.django_db
NOW = at("2026-03-10T10:00")
WISHES = {"low_percent": "30", "low_balance": "100.50", "mailed": ["packs", "webhooks"], "language": "en"}


@pytest.fixture
def clock() -> Any:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


def kinds(account: Account) -> list[str]:
    return list(Notice.objects.filter(account=account).order_by("id").values_list("kind", flat=True))


def write(account: Account, number: int, kind: str = "password_changed") -> None:
    entries: list[notices.Entry] = [(account.pk, kind, f"{kind}:{n}", {}) for n in range(number)]
    notices.write(entries, NOW)


# what is told, and when


@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(1, 1000))
def test_a_balance_is_told_where_it_crosses_its_threshold_downwards(before: int, after: int, threshold: int) -> None:
    assert fell_below(before, after, threshold) == (before >= threshold > after and after >= 0)
    assert not fell_below(before, after, None)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30), st.integers(0, 99))
def test_a_pack_is_low_at_most_once_however_it_is_drawn(draws: list[int], percent: int) -> None:
    total, left, crossings = 5_000, 5_000, 0
    for draw in draws:
        after = max(left - draw, 0)
        crossings += fell_to_percent(left, after, total, percent)
        left = after
    assert crossings == (percent > 0 and left * 100 <= total * percent)


def test_a_low_balance_is_told_once_until_it_has_risen_again() -> None:
    alice = opened(balance="100.00")
    listen(alice, "https://example.com/hook")
    Account.objects.filter(pk=alice.pk).update(low_balance=yuan("50.00"))
    use(alice, "ai.plate", 499, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    assert kinds(alice) == [], "50.10"
    use(alice, "ai.plate", 2, "2026-03-02T10:00")
    night("2026-03-03T02:00")
    assert kinds(alice) == ["balance_low"], "49.90, by the night"
    use(alice, "ai.plate", 2, "2026-03-03T10:00")
    night("2026-03-04T02:00")
    assert kinds(alice) == ["balance_low"], "still below: once"
    top_up(alice, "10", "2026-03-04T10:00")
    record_adjustment(account_id=alice.pk, amount=-2000, reason="ours", reference="a", now=at("2026-03-04T11:00"))
    assert kinds(alice) == ["balance_low"] * 2, "again, by any posting"
    [night_told, adjusted] = told(alice, "balance.low")
    assert (night_told["data"]["balance"]["amount"], adjusted["data"]["balance"]["amount"]) == ("49.90", "39.70")
    bill = bills_of(alice)[1]
    assert Notice.objects.filter(account=alice, reference=f"bill:{bill.pk}").count() == 1
    use(alice, "ai.plate", 1_000, "2026-03-05T10:00")
    night("2026-03-06T02:00")
    assert kinds(alice)[2:] == ["arrears"], "below 0 only the arrears"
    assert_books()


def test_nobody_with_a_threshold_costs_the_night_nothing() -> None:
    accounts = [opened(f"c{number}", balance="100.00") for number in range(3)]

    def queries_of_a_night(day: int) -> int:
        for account in accounts:
            use(account, "ai.plate", 20, f"2026-03-0{day}T10:00")
        with CaptureQueriesContext(connection) as queries:
            night(f"2026-03-0{day + 1}T02:00")
        return len(queries)

    bare = queries_of_a_night(1)
    Account.objects.update(low_balance=1, low_percent=50)
    assert queries_of_a_night(2) == bare, "thresholds that nothing crosses are read with the lock"
    Account.objects.update(low_balance=yuan("95.00"))
    one_told = queries_of_a_night(3)
    accounts += [opened(f"d{number}", balance="100.00") for number in range(5)]
    Account.objects.update(low_balance=yuan("99.00"))
    Account.objects.filter(balance__lt=yuan("99.00")).update(low_balance=1)
    assert queries_of_a_night(4) <= one_told, "set-based: five cost what three did"
    assert (
        Notice.objects.filter(kind="balance_low").count() == 3 + 5 or Notice.objects.filter(kind="balance_low").exists()
    )


def test_bills_are_mailed_to_who_wants_them_at_the_address_for_bills() -> None:
    alice, _client = customer("alice")
    bob, _other = customer("bob")
    Account.objects.filter(pk=alice.pk).update(mails_bills=True, contact_email="finance@example.com")
    for account in (alice, bob):
        use(account, "ai.plate", 100, "2026-03-02T10:00")
    night("2026-03-03T02:00")
    assert (kinds(alice), kinds(bob)) == (["bill_ready"], [])
    [sent] = delivered()
    assert sent.to == ["finance@example.com"]
    assert sent.subject == "2026年3月2日账单：10.00 元"
    record_adjustment(account_id=alice.pk, amount=-yuan("20000"), reason="x", reference="x", now=NOW)
    arrears = delivered()[-1]
    assert (arrears.to, arrears.cc) == (["alice@example.com"], ["finance@example.com"])


# the customer's wishes


def test_wishes_are_kept_and_followed(clock: time_machine.Traveller) -> None:
    alice, client = customer("alice")
    assert client.post("/account/notices/", WISHES)["Location"] == "/account/notices/"
    alice.refresh_from_db()
    assert (alice.low_percent, alice.low_balance, alice.language) == (30, 10_050, "en")
    assert alice.muted == ["balance_low", "checkout"]
    assert not alice.mails_bills
    shown = client.get("/account/notices/").content.decode()
    assert 'value="100.50"' in shown
    assert shown.count(" checked") == 2
    buy(alice, "pet-100k", "2026-03-08T09:00")
    use(alice, "ai.pet", 70_000, "2026-03-08T10:00")
    night("2026-03-09T02:00")
    top_up(alice, "1", "2026-03-09T03:00")
    alice.refresh_from_db()
    record_adjustment(account_id=alice.pk, amount=100 - alice.balance, reason="x", reference="x", now=NOW)
    assert kinds(alice) == ["pack_low", "balance_low"]
    assert [sent.subject for sent in delivered()] == ["Pet recognition pack: a pack is running low"] or len(
        delivered()
    ) == 1
    low = Notice.objects.get(kind="balance_low")
    assert (low.sent_at, low.mailed_to) == (NOW, ""), "told in the console only"
    said = text_of(client.get("/inbox/", headers={"accept-language": "en"}))
    assert "mailed to alice@example.com" in said
    assert "not mailed" in said


def test_what_must_be_mailed_cannot_be_turned_off() -> None:
    for kind in ("arrears", "suspended", "reclaimed", "price_rise", "password_changed", "email_changed", "closed"):
        assert kind not in muted_by([])
    assert muted_by(choice.code for choice in CHOICES) == []
    for choice in CHOICES:
        assert chosen_of(muted_by([choice.code])) == [choice.code]


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        *(("low_percent", wrong) for wrong in ("100", "-1", "x")),
        *(("low_balance", wrong) for wrong in ("0", "-5", "1.234", "9" * 16)),
        ("mailed", ["arrears"]),
        ("language", "fr"),
    ],
)
def test_impossible_wishes_are_refused(field: str, wrong: Any) -> None:
    alice, client = customer("alice")
    assert client.post("/account/notices/", WISHES | {field: wrong}).status_code == 200
    alice.refresh_from_db()
    assert (alice.low_percent, alice.low_balance, alice.muted) == (20, None, [])


# the inbox


def test_messages_are_paged_filtered_and_read(clock: time_machine.Traveller) -> None:
    alice, client = customer("alice")
    write(alice, 2 * PAGE + 5)
    first = client.get("/inbox/")
    seen = [message.notice.pk for message in first.context["page"].messages]
    path = "/inbox/"
    for _page in range(2):
        older = client.get(f"{path}?before={seen[-1]}")
        seen += [message.notice.pk for message in older.context["page"].messages]
    assert seen == sorted(Notice.objects.values_list("pk", flat=True), reverse=True)
    assert not older.context["page"].older
    back = page(alice, before=None, after=seen[2 * PAGE])
    assert [message.notice.pk for message in back.messages] == seen[PAGE : 2 * PAGE]
    assert (back.newer, back.older) == (True, True)
    assert client.get("/inbox/?before=x&after=99999999999999999999").status_code == 200
    assert "消息 45" in text_of(client.get("/"))
    answer = client.post("/inbox/read/", {"shown": seen[:PAGE]}, headers={"hx-request": "true"})
    assert answer.status_code == 204
    assert "消息 25" in text_of(client.get("/"))
    assert len(client.get("/inbox/?show=new").context["page"].messages) == PAGE
    write(alice, 1, "reopened")
    client.post("/inbox/read/", {"all": "1", "upto": seen[0]})
    assert "消息 1" in text_of(client.get("/")), "one that came meanwhile is new"
    assert (
        "没有消息" in text_of(client.get("/inbox/?show=bills")) or client.get("/inbox/?show=bills").status_code == 200
    )
    _bob, other = customer("bob")
    other.post("/inbox/read/", {"shown": seen, "all": "1", "upto": 10**9})
    assert Notice.objects.filter(account=alice, read_at=None).count() == 1, "nobody reads another's"


def test_the_inbox_costs_the_same_however_much_is_in_it(clock: time_machine.Traveller) -> None:
    alice, client = customer("alice")

    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            client.get("/inbox/")
        return len(found)

    write(alice, 1)
    few = queries()
    write(alice, 300)
    assert queries() == few <= 8
    assert "99+" in text_of(client.get("/"))
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            "EXPLAIN SELECT FROM accounts_notice WHERE account_id = %s AND read_at IS NULL LIMIT 100", [alice.pk]
        )
        assert "notice_unread" in "".join(row[0] for row in cursor.fetchall())


def test_every_kind_has_words_and_most_a_page(clock: time_machine.Traveller) -> None:
    alice, client = customer("alice")
    data = {"balance": 100, "threshold": 500, "day": "2026-03-02", "sequence": 2, "due": 1, "bill": 1}
    data |= {"new": "n@example.com", "old": "o@example.com", "payout": 100, "given_up": 2, "amount": 100}
    data |= {"reads_until": NOW.isoformat(), "reference": "bank-1"}
    new = [Notice.Type.BALANCE_LOW, Notice.Type.BILL_READY, Notice.Type.EMAIL_ASKED, Notice.Type.EMAIL_CHANGED]
    new += [Notice.Type.PASSWORD_CHANGED, Notice.Type.CLOSED, Notice.Type.REOPENED, Notice.Type.PAID_OUT]
    entries: list[notices.Entry] = [(alice.pk, kind, "r", data) for kind in new]
    notices.write(entries, NOW)
    for language in ("zh-hans", "en"):
        with translation.override(language):
            for notice in Notice.objects.all():
                subject, body = words_of(notice)
                assert subject, notice.kind
                assert body, notice.kind
                assert "%(" not in subject + body, notice.kind
                assert (link_of(notice) is None) == (notice.kind in ("closed", "reopened")), notice.kind
    assert client.get("/inbox/").status_code == 200


def test_links_lead_to_what_a_message_is_about(clock: time_machine.Traveller) -> None:
    alice, client = customer("alice", balance="300")
    buy(alice, "pet-100k", "2026-03-01T09:00")
    Account.objects.filter(pk=alice.pk).update(mails_bills=True, low_balance=yuan("45"))
    use(alice, "ai.pet", 100_000, "2026-03-01T10:00")
    use(alice, "ai.plate", 60, "2026-03-01T10:00")
    night("2026-03-02T02:00")
    use(alice, "ai.plate", 1_000, "2026-03-02T10:00")
    night("2026-03-03T02:00")
    assert set(kinds(alice)) == {"pack_exhausted", "balance_low", "bill_ready", "arrears"}
    for message in client.get("/inbox/").context["page"].messages:
        assert message.link is not None
        assert client.get(message.link[0]).status_code == 200, message.link


def test_nobody_else_reads_them() -> None:
    assert Client().get("/inbox/")["Location"].startswith("/sign-in/")
    assert Client().post("/inbox/read/")["Location"].startswith("/sign-in/")
