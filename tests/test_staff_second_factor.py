"""The second factor of staff: with REQUIRE_2FA nobody is let in without it; codes count once; guessing is slow."""

import base64
import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.conf import LazySettings
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django_otp.oath import totp
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import AuditEntry, User
from iss_billing import roles
from tests.test_admin import complaints, submit, url_of
from tests.test_staff_audit import member
from tests.worlds import at

pytestmark = pytest.mark.django_db
PASSWORD = "a long enough password"
FACTOR = "/admin/second-factor/"


@pytest.fixture(autouse=True)
def clock(settings: LazySettings) -> Iterator[time_machine.Traveller]:
    """Required, at a clock to move."""
    settings.REQUIRE_2FA = True
    with time_machine.travel(at("2026-03-08T12:00"), tick=False) as traveller:
        yield traveller


@pytest.fixture
def carol() -> User:
    return User.objects.create_superuser("carol@example.com", PASSWORD)


def signed_in(user: User) -> Client:
    """A browser in which the password was given."""
    client = Client(headers={"Accept-Language": "en"})
    form = {"username": user.email, "password": PASSWORD}
    assert client.post("/admin/login/?next=/admin/accounts/", form).status_code == 302
    return client


def code_now(key: str) -> str:
    return f"{totp(bytes.fromhex(key)):06}"


def enrolled(user: User) -> tuple[Client, str, list[str]]:
    """A browser after the first sign-in, the telephone's secret, and the codes on paper."""
    client = signed_in(user)
    page = client.get(FACTOR).content.decode()
    assert "data:image/svg+xml" in page
    key = client.session["second_factor_key"]
    page = client.post(FACTOR, {"code": code_now(key)}).content.decode()
    return client, key, re.findall(r"<code>(\w{5}-\w{5})</code>", page)


def is_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def test_the_first_sign_in_sets_it_up_and_later_ones_ask_for_it(carol: User, clock: time_machine.Traveller) -> None:
    client = signed_in(carol)
    assert not is_in(client)
    sent_on = client.get("/admin/accounts/", follow=True)
    assert sent_on.redirect_chain[-1][0] == f"{FACTOR}?next=%2Fadmin%2Faccounts%2F"
    assert "Scan this picture" in sent_on.content.decode()
    for wrong in ("000000", "", "abcdef", "１２３４５６", "1" * 20):
        client.post(FACTOR, {"code": wrong})
        assert not is_in(client)
    assert not TOTPDevice.objects.exists()

    client, key, codes = enrolled(carol)
    assert is_in(client)
    assert len(set(codes)) == 10
    assert f'href="{reverse("admin:second-factor-codes")}"' in client.get("/admin/").content.decode()
    [entry] = AuditEntry.objects.all()
    assert (entry.action, entry.user) == ("login.second_factor", carol)

    clock.shift(timedelta(minutes=5))
    again = signed_in(carol)
    assert not is_in(again)
    assert "authenticator app, or one" in again.get(FACTOR).content.decode()
    response = again.post(FACTOR, {"code": code_now(key), "next": "/admin/packs/"})
    assert response.headers["Location"] == "/admin/packs/"
    assert is_in(again)
    replayed = signed_in(carol)
    replayed.post(FACTOR, {"code": code_now(key)})
    assert not is_in(replayed)


def test_a_code_on_paper_counts_once_and_is_stored_as_a_hash(
    carol: User, clock: time_machine.Traveller, settings: LazySettings
) -> None:
    _client, _key, codes = enrolled(carol)
    stored = set(StaticToken.objects.values_list("token", flat=True))
    assert not stored & {code.replace("-", "") for code in codes}
    first = signed_in(carol)
    said = first.post(FACTOR, {"code": f" {codes[0].upper()} "}, follow=True).content.decode()
    assert "ask an administrator to reset your second factor" in said
    assert is_in(first)
    second = signed_in(carol)
    assert "was used before" in complaints(second.post(FACTOR, {"code": codes[0]}, follow=True))
    clock.shift(timedelta(minutes=1))
    for stolen in (next(iter(stored)), "0" * 20, "'"):
        second.post(FACTOR, {"code": stolen})
        clock.shift(timedelta(hours=1))
    assert not is_in(second)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the next key, " * 5, [settings.SECRET_KEY]
    third = signed_in(carol)
    third.post(FACTOR, {"code": codes[1]})
    assert is_in(third), "a fallback opens what was made under it"


def test_guessing_waits_longer_each_time_even_with_the_right_code(carol: User, clock: time_machine.Traveller) -> None:
    _client, key, _codes = enrolled(carol)
    clock.shift(timedelta(minutes=5))
    guesser = signed_in(carol)
    for _guess in range(5):
        guesser.post(FACTOR, {"code": "000000"})
        clock.shift(timedelta(seconds=20))
    guesser.post(FACTOR, {"code": "000000"})
    assert "Too many wrong codes" in guesser.post(FACTOR, {"code": code_now(key)}).content.decode()
    assert not is_in(guesser)
    clock.shift(timedelta(minutes=2))
    guesser.post(FACTOR, {"code": code_now(key)})
    assert is_in(guesser)


def test_another_ones_code_and_a_session_of_another_do_not_let_in(carol: User, clock: time_machine.Traveller) -> None:
    dave = User.objects.create_superuser("dave@example.com", PASSWORD)
    _client, key, codes = enrolled(carol)
    enrolled(dave)
    clock.shift(timedelta(minutes=5))
    other = signed_in(dave)
    for code in (code_now(key), codes[0]):
        other.post(FACTOR, {"code": code})
        clock.shift(timedelta(minutes=5))
    assert not is_in(other)


def test_an_administrator_resets_it_with_a_reason_and_never_their_own(carol: User) -> None:
    client, _key, _codes = enrolled(carol)
    dave = User.objects.create_superuser("dave@example.com", PASSWORD)
    his, _key, _codes = enrolled(dave)
    assert is_in(his)
    assert "another administrator" in complaints(submit(client, url_of(carol, "reset-second-factor"), reason="mine"))
    assert complaints(submit(client, url_of(dave, "reset-second-factor"), reason=""))
    submit(client, url_of(dave, "reset-second-factor"), reason="lost the telephone")
    entry = AuditEntry.objects.get(action="login.reset_second_factor")
    assert (entry.user, entry.subject_id, entry.reason) == (carol, str(dave.pk), "lost the telephone")
    assert not is_in(his)  # his verified session ends with it
    enrolled(dave)
    call_command("reset_second_factor", "carol@example.com", "--reason", "nobody else is left")
    assert AuditEntry.objects.filter(action="login.reset_second_factor", user=None, subject_id=str(carol.pk)).exists()
    assert not is_in(client)


def test_new_codes_on_paper_take_the_place_of_the_old(carol: User, clock: time_machine.Traveller) -> None:
    client, key, codes = enrolled(carol)
    clock.shift(timedelta(minutes=1))
    page = client.post(f"{FACTOR}codes/", {"code": code_now(key)}).content.decode()
    fresh = re.findall(r"<code>(\w{5}-\w{5})</code>", page)
    assert len(fresh) == 10
    later = signed_in(carol)
    assert later.get(f"{FACTOR}codes/").status_code == 302  # not without the second factor
    later.post(FACTOR, {"code": codes[0]})
    assert not is_in(later)
    clock.shift(timedelta(minutes=1))
    later.post(FACTOR, {"code": fresh[0]})
    assert is_in(later)


def test_strangers_and_customers_are_sent_to_the_password_and_no_address_elsewhere_is_gone_to(carol: User) -> None:
    customer = User.objects.create_user("c@example.com", PASSWORD)
    for user in (None, customer):
        client = Client()
        if user:
            client.force_login(user)
        assert client.get(FACTOR).headers["Location"].startswith("/admin/login/")
        assert client.post(FACTOR, {"code": "1"}).headers["Location"].startswith("/admin/login/")
    _client, _key, codes = enrolled(carol)
    client = signed_in(carol)
    response = client.post(FACTOR, {"code": codes[0], "next": "https://evil.example/"})
    assert response.headers["Location"] == reverse("admin:index")


def test_without_the_setting_nothing_is_asked(settings: LazySettings) -> None:
    settings.REQUIRE_2FA = False
    client = member(roles.SUPPORT)
    assert is_in(client)
    assert client.get(FACTOR).headers["Location"] == reverse("admin:index")


def test_a_secret_is_nobodys_to_read(carol: User) -> None:
    client, key, _codes = enrolled(carol)
    for path in ("/admin/otp_totp/totpdevice/", "/admin/otp_static/staticdevice/"):
        assert client.get(path).status_code == 404
    page = client.get(url_of(carol)).content.decode()
    assert key not in page


@pytest.mark.django_db(transaction=True)
def test_the_pages_in_a_browser(page: Page, live_server: LiveServer, clock: time_machine.Traveller) -> None:
    """With the policy of the site in force: the picture is shown, the codes are, and the second sign-in works."""
    carol = User.objects.create_superuser("carol@example.com", PASSWORD)
    for first in (True, False):
        page.goto("/admin/")
        page.fill("[name=username]", carol.email)
        page.fill("[name=password]", PASSWORD)
        page.click("[type=submit]")
        if first:
            picture = page.locator(".qr img")
            assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
            page.click("summary")
            letters = page.locator(".secret").inner_text().replace(" ", "")
            key = base64.b32decode(letters).hex()
            page.fill("[name=code]", code_now(key))
            page.click(".submit-row [type=submit]")
            expect(page.locator(".paper-codes li")).to_have_count(10)
            page.click(".submit-row a")
            page.context.clear_cookies()
            clock.shift(timedelta(minutes=5))
        else:
            page.fill("[name=code]", code_now(key))
            page.click(".submit-row [type=submit]")
        if not first:
            expect(page.locator("#content-main")).to_be_visible()
            assert page.url.endswith("/admin/")
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
