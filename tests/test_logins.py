"""Logins and their addresses: an account opens by a mail's link, and nothing of a login changes without one."""

import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.test import Client

from accounts import letters
from accounts.models import Account, Letter, Notice, User
from tests.mailbox import delivered, link_to, newest, sign_up
from tests.test_pages import PASSWORD, customer, text_of
from tests.test_races import race
from tests.worlds import assert_books, at

pytestmark = pytest.mark.django_db

NOW = at("2026-03-10T10:00")
FORM = {"name": "云岚连锁", "email": "New@Example.com"}


@pytest.fixture
def clock() -> Any:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


def test_an_account_opens_once_its_address_is_confirmed(clock: time_machine.Traveller) -> None:
    client = Client()
    assert client.post("/sign-up/", FORM)["Location"] == "/sign-up/sent/"
    assert "new@example.com" in text_of(client.get("/sign-up/sent/"))
    assert not User.objects.exists()
    assert not Account.objects.exists()
    link = link_to("new@example.com")
    assert "云岚连锁" in text_of(client.get(link))
    assert not User.objects.exists(), "looking opens nothing: mail programs look too"
    assert client.post(link, {"password": "12345678"}).status_code == 200
    assert client.post(link, {"password": "new@example.com"}).status_code == 200
    assert not User.objects.exists()
    clock.shift(timedelta(days=2, hours=23))
    assert client.post(link, {"password": PASSWORD})["Location"] == "/"
    account = Account.objects.get(user__email="new@example.com")
    assert (account.name, account.language) == ("云岚连锁", "zh-hans")
    assert account.opened_at == NOW + timedelta(days=2, hours=23)
    assert "0 .00 元" in text_of(client.get("/"))
    assert Client().post(link, {"password": "another one entirely"}).status_code == 410
    assert Account.objects.count() == 1
    assert_books()


def test_a_sign_up_says_nothing_of_whether_the_address_is_known(clock: time_machine.Traveller) -> None:
    customer("alice")
    answers = []
    for email in ("alice@example.com", "nobody@example.com"):
        client = Client()
        asked = client.post("/sign-up/", {"name": "x", "email": email}, follow=True)
        answers.append((asked.redirect_chain, text_of(asked).replace(email, "@")))
    assert answers[0] == answers[1]
    known, unknown = newest("alice@example.com"), newest("nobody@example.com")
    assert known.subject == "这个邮箱已有账户"
    assert unknown.subject == "开通明瞳智控费用账户"
    assert Letter.objects.count() == 2


def test_links_that_are_forged_or_old_open_nothing(clock: time_machine.Traveller) -> None:
    Client().post("/sign-up/", FORM)
    link = link_to("new@example.com")
    letter = Letter.objects.get()
    others = letters._signer(Letter.Kind.CONTACT).sign(str(letter.pk))
    for token in (f"{letter.pk}.", f"{letter.pk}.forged", others, "nonsense"):
        assert Client().post(f"/sign-up/{token}/", {"password": PASSWORD}).status_code == 410, token
    clock.shift(timedelta(days=3))
    assert Client().post(link, {"password": PASSWORD}).status_code == 410
    assert not User.objects.exists()


def test_a_mail_is_sent_again_but_fills_no_mailbox(clock: time_machine.Traveller) -> None:
    client = Client()
    assert client.post("/sign-up/sent/")["Location"] == "/sign-up/"
    client.post("/sign-up/", FORM)
    first = link_to("new@example.com")
    for seconds, mails in ((0, 1), (59, 1), (61, 2)):
        clock.move_to(NOW + timedelta(seconds=seconds))
        assert client.post("/sign-up/sent/").status_code == 200
        assert len(delivered()) == mails, seconds
    for minute in range(2, 30):
        clock.move_to(NOW + timedelta(minutes=minute, seconds=2 * minute))
        client.post("/sign-up/", FORM)
    assert len(delivered()) == 5
    assert client.post(first, {"password": PASSWORD})["Location"] == "/", "the first link holds too"
    clock.shift(timedelta(days=8))
    assert letters.forget_old(NOW + timedelta(days=8)) == 5


def test_a_mail_server_that_is_down_costs_nobody_the_page(clock: time_machine.Traveller, settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    assert Client().post("/sign-up/", FORM).status_code == 302
    assert letters.deliver(NOW) == 0
    letter = Letter.objects.get()
    assert (letter.sent_at, letter.attempts) == (None, 1)
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert letters.deliver(NOW + timedelta(seconds=59)) == 0
    assert letters.deliver(NOW + timedelta(minutes=1)) == 1


@pytest.mark.django_db(transaction=True)
def test_the_same_link_at_the_same_instant_opens_one_account() -> None:
    Client().post("/sign-up/", FORM)
    link = link_to("new@example.com")
    statuses = race(*(lambda: Client().post(link, {"password": PASSWORD}).status_code for _ in range(3)))
    assert sorted(statuses) == [302, 410, 410]
    assert Account.objects.count() == 1
    assert_books()


def test_a_login_moves_to_an_address_that_confirms_it(clock: time_machine.Traveller) -> None:
    account, client = customer("alice")
    elsewhere = Client()
    elsewhere.post("/sign-in/", {"username": "alice@example.com", "password": PASSWORD})
    wrong = client.post("/account/email/", {"email": "Boss@Example.com", "password": "not it"})
    assert "密码不对" in text_of(wrong)
    assert not Letter.objects.exists()
    client.post("/account/email/", {"email": "Boss@Example.com", "password": PASSWORD})
    assert User.objects.get().email == "alice@example.com"
    assert "等待打开发往 boss@example.com 的链接" in text_of(client.get("/account/"))
    link = link_to("boss@example.com")
    assert "boss@example.com" in newest("alice@example.com").body, "the address that it has is told"
    _bob, other = customer("bob")
    assert other.post(link).status_code == 404, "whoever else has the link changes nothing"
    assert Client().post(link).status_code == 302
    assert "从今后" not in text_of(client.get(link))
    assert User.objects.filter(email="alice@example.com").exists(), "looking changes nothing"
    assert client.post(link)["Location"] == "/account/"
    assert account.user is not None
    account.user.refresh_from_db()
    assert account.user.email == "boss@example.com"
    assert client.post(link).status_code == 410
    changed = [sent for sent in delivered() if sent.subject == "登录邮箱已更改"]
    assert [sent.to for sent in changed] == [["alice@example.com", "boss@example.com"]]
    kinds = list(Notice.objects.filter(account=account).order_by("id").values_list("kind", flat=True))
    assert kinds == ["email_asked", "email_changed"]
    assert client.get("/account/").status_code == 200


def test_an_address_that_is_anothers_looks_the_same_and_changes_nothing(clock: time_machine.Traveller) -> None:
    customer("bob")
    alice, client = customer("alice")
    said = []
    for email in ("bob@example.com", "free@example.com"):
        form = {"email": email, "password": PASSWORD}
        shown = text_of(client.post("/account/email/", form, follow=True))
        said.append(re.sub(r"消息 \d", "消息", shown).replace(email, "@"))
        clock.shift(timedelta(minutes=2))
    assert said[0] == said[1]
    assert newest("bob@example.com").subject == "这个邮箱已有登录名"
    assert "account/email" not in newest("bob@example.com").body
    link = link_to("free@example.com")
    User.objects.create_user("free@example.com", PASSWORD)
    assert "没有改动" in text_of(client.post(link, follow=True)), "taken meanwhile"
    assert alice.user is not None
    alice.user.refresh_from_db()
    assert alice.user.email == "alice@example.com"


def test_only_the_latest_wish_counts_and_a_new_password_ends_it(clock: time_machine.Traveller) -> None:
    _alice, client = customer("alice")
    links = []
    for email in ("one@example.com", "two@example.com"):
        client.post("/account/email/", {"email": email, "password": PASSWORD})
        links.append(link_to(email))
    assert client.post(links[0]).status_code == 410
    client.post("/account/email/cancel/")
    assert client.post(links[1]).status_code == 410
    client.post("/account/email/", {"email": "three@example.com", "password": PASSWORD})
    client.post("/account/password/", {"password": PASSWORD, "new_password": "a second good one"})
    assert client.post(link_to("three@example.com")).status_code == 410
    assert User.objects.filter(email="alice@example.com").exists()


@pytest.mark.django_db(transaction=True)
def test_two_logins_at_the_same_instant_get_one_address_once() -> None:
    clients = [customer(name)[1] for name in ("alice", "bob")]
    links = []
    for client in clients:
        client.post("/account/email/", {"email": "shared@example.com", "password": PASSWORD})
        links.append(link_to("shared@example.com"))
        Letter.objects.update(created_at=at("2026-01-01T00:00"))
    Letter.objects.filter(kind=Letter.Kind.ADDRESS).update(created_at=at("2040-01-01T00:00"))
    race(*(lambda pair=pair: pair[0].post(pair[1]).status_code for pair in zip(clients, links, strict=True)))
    emails = sorted(User.objects.values_list("email", flat=True))
    assert emails in (["alice@example.com", "shared@example.com"], ["bob@example.com", "shared@example.com"])


def test_a_new_password_ends_other_sessions(clock: time_machine.Traveller) -> None:
    _alice, client = customer("alice")
    elsewhere = Client()
    elsewhere.post("/sign-in/", {"username": "alice@example.com", "password": PASSWORD})
    assert elsewhere.get("/").status_code == 200
    refused = client.post("/account/password/", {"password": PASSWORD, "new_password": "1234567890"})
    assert refused.status_code == 200
    assert client.post("/account/password/", {"password": "x", "new_password": "a second good one"}).status_code == 200
    done = client.post("/account/password/", {"password": PASSWORD, "new_password": "a second good one"})
    assert done["Location"] == "/account/"
    assert client.get("/").status_code == 200
    assert elsewhere.get("/").status_code == 302
    assert newest("alice@example.com").subject == "密码已修改"
    for password, status in ((PASSWORD, 200), ("a second good one", 302)):
        form = {"username": "alice@example.com", "password": password}
        assert Client().post("/sign-in/", form).status_code == status


def test_a_reset_tells_the_login_and_ends_sessions(clock: time_machine.Traveller) -> None:
    _alice, client = customer("alice")
    stranger = Client()
    answers = {
        text_of(stranger.post("/password-reset/", {"email": e}, follow=True))
        for e in ("alice@example.com", "x@example.com")
    }
    assert len(answers) == 1
    assert [sent.to for sent in delivered()] == [["alice@example.com"]]
    landed = stranger.get(link_to("alice@example.com"), follow=True)
    form = {"new_password1": "another long one", "new_password2": "another long one"}
    assert stranger.post(landed.redirect_chain[-1][0], form)["Location"] == "/"
    assert client.get("/").status_code == 302
    assert newest("alice@example.com").subject == "密码已修改"


def test_bills_go_to_an_address_that_agreed(clock: time_machine.Traveller) -> None:
    account, client = customer("alice")
    client.post("/account/bills-address/", {"email": "Finance@example.com"})
    account.refresh_from_db()
    assert account.contact_email == ""
    assert "已发邮件询问 finance@example.com" in text_of(client.get("/account/"))
    link = link_to("finance@example.com")
    assert Client().get(link).status_code == 200
    account.refresh_from_db()
    assert account.contact_email == ""
    assert "已确认" in text_of(Client().post(link))
    account.refresh_from_db()
    assert account.contact_email == "finance@example.com"
    assert Client().post(link).status_code == 410
    client.post("/account/bills-address/", {"remove": "1"})
    account.refresh_from_db()
    assert account.contact_email == ""


def test_an_account_is_renamed(clock: time_machine.Traveller) -> None:
    account, client = customer("alice")
    assert client.post("/account/name/", {"name": " "}).status_code == 200
    client.post("/account/name/", {"name": "青石便利"})
    account.refresh_from_db()
    assert account.name == "青石便利"
    for advice in ("https://evil.example/pay", "now at WWW.evil.example", "\u202e"):
        assert client.post("/account/name/", {"name": advice}).status_code == 200, "it would be mailed to anybody"
    client.post("/account/name/", {"name": "Bluestone\r\nBcc: all@example.com\u200b"})
    client.post("/account/bills-address/", {"email": "finance@example.com"})
    assert newest("finance@example.com").subject == "要接收“Bluestone Bcc: all@example.com”的账单吗？"


def test_a_letter_that_cannot_be_mailed_keeps_no_other_waiting(
    clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    Client().post("/sign-up/", FORM | {"name": "x”\n\nPay now\n\n“"})
    assert "“x” Pay now “”" in newest("new@example.com").body, "one line of ours, not three of a stranger's"
    for pk, kind in ((7, "no kind"), (8, Letter.Kind.CONTACT)):
        data = {"name": "older,\nof two lines"}
        Letter.objects.create(pk=pk, kind=kind, to=f"{pk}@example.com", language="en", data=data, created_at=NOW)
    assert letters.deliver(NOW) == 1
    assert newest("8@example.com").subject == "Receive the bills of older, of two lines?"
    stuck = Letter.objects.get(pk=7)
    assert (stuck.sent_at, stuck.attempts, stuck.next_attempt_at) == (None, 1, NOW + timedelta(minutes=1))
    assert [record.levelname for record in caplog.records if "cannot be mailed" in record.message] == ["ERROR"]


def test_mails_speak_the_language_of_the_page() -> None:
    client = Client(headers={"accept-language": "en"})
    assert sign_up(client, "Harbour", "harbour@example.com", PASSWORD)["Location"] == "/"
    [sent] = mail.outbox
    assert sent.subject == "Open your account at ISS Billing"
    assert re.search(r"^http://localhost:\d+/sign-up/\S+$", str(sent.body), re.MULTILINE)
    assert Account.objects.get().language == "en"
