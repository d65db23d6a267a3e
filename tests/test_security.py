"""What keeps strangers out: sign-in limits, password and session rules, what browsers are told."""

import gzip
import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from axes.models import AccessAttempt
from django.conf import LazySettings
from django.contrib.auth.hashers import PBKDF2PasswordHasher, check_password, make_password
from django.contrib.auth.password_validation import validate_password
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone, translation
from redis import Redis

from accounts.models import Account, User
from accounts.opening import open_account
from accounts.sign_ins import forget_old
from iss_billing.proxies import client_address
from iss_billing.security import logins
from tests.test_settings import PRODUCTION, settings_say
from tests.worlds import at

PASSWORD = "correct horse battery"
ALICE = "alice@example.com"


@pytest.fixture
def alice() -> Account:
    return open_account(name="alice", now=at("2026-03-01T00:00"), email=ALICE, password=PASSWORD)


def sign_in(
    password: str, email: str = ALICE, path: str = "/sign-in/", address: str = "198.51.100.1", **headers: str
) -> Any:
    form = {"username": email, "password": password}
    return Client(headers=headers).post(path, form, REMOTE_ADDR=address)


@pytest.mark.django_db
def test_pages_are_compressed_and_their_length_tells_nothing(alice: Account) -> None:
    client = Client(headers={"Accept-Encoding": "gzip, br"})
    assert alice.user is not None
    client.force_login(alice.user)
    answers = [client.get("/buy/") for _ in range(4)]
    for answer in answers:
        assert (answer["Content-Encoding"], "Accept-Encoding" in answer["Vary"]) == ("gzip", True)
        page = gzip.decompress(answer.content)
        assert b"</html>" in page
        assert len(answer.content) < len(page) / 3
    assert len({len(answer.content) for answer in answers}) > 1, "padded at random (BREACH)"
    assert "Content-Encoding" not in Client().get("/sign-in/")
    assert "Content-Encoding" not in client.get("/api/v1/account/")


# ── sign-in ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db
def test_five_wrong_passwords_lock_a_login_out_of_an_address_for_a_while(alice: Account) -> None:
    with time_machine.travel(at("2026-03-05T09:00")) as clock:
        # whatever the case, and on whichever page
        for email, path in [(ALICE, "/sign-in/"), (ALICE.upper(), "/sign-in/"), (f" {ALICE}", "/admin/login/")]:
            assert sign_in("wrong", email, path).status_code == 200
        assert sign_in("wrong").status_code == 200
        refused = sign_in("wrong")
        assert (refused.status_code, refused["Retry-After"]) == (429, "900")
        assert "尝试次数过多" in refused.content.decode()
        assert "15 分钟后再试。" in refused.content.decode()
        assert sign_in(PASSWORD).status_code == 429, "the right password is not told from a wrong one"
        assert "Try again in 15 minutes." in sign_in(PASSWORD, accept_language="en").content.decode()
        assert sign_in(PASSWORD, path="/admin/login/").status_code == 429
        assert sign_in(PASSWORD, address="198.51.100.2").status_code == 302, "whoever guesses locks nobody else out"
        assert sign_in("wrong", "bob@example.com").status_code == 200
        clock.shift(timedelta(minutes=14))
        assert sign_in(PASSWORD).status_code == 429, "attempts while locked out are no new failures"
        clock.shift(timedelta(minutes=2))
        assert sign_in(PASSWORD).status_code == 302


@pytest.mark.django_db
def test_signing_in_forgets_the_failures_before_it(alice: Account) -> None:
    for _ in range(2):
        for _ in range(4):
            assert sign_in("wrong").status_code == 200
        assert sign_in(PASSWORD).status_code == 302


@pytest.mark.django_db
def test_nobody_slips_out_of_a_lock_by_naming_another_address(alice: Account, settings: LazySettings) -> None:
    for number in range(5):
        sign_in("wrong", x_forwarded_for=f"203.0.113.{number}")
    assert sign_in(PASSWORD, x_forwarded_for="203.0.113.9").status_code == 429
    # behind a proxy the address is what the proxy adds, whatever the client wrote before it
    settings.TRUSTED_PROXIES = ["10.0.0.0/24"]
    for number in range(5):
        sign_in("wrong", address="10.0.0.7", x_forwarded_for=f"203.0.113.{number}, 192.0.2.1")
    assert sign_in(PASSWORD, address="10.0.0.7", x_forwarded_for="203.0.113.9, 192.0.2.1").status_code == 429
    assert sign_in(PASSWORD, address="10.0.0.7", x_forwarded_for="192.0.2.2").status_code == 302
    # nor by another of the addresses that everybody has in IPv6
    for number in range(5):
        sign_in("wrong", address=f"2001:db8:0:7::{number}")
    assert sign_in(PASSWORD, address="2001:db8:0:7:ffff::9").status_code == 429
    assert sign_in(PASSWORD, address="2001:db8:0:8::9").status_code == 302


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("192.0.2.1", "203.0.113.1", "192.0.2.1"),
        ("10.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("10.0.0.1", "6.6.6.6, 203.0.113.1, 10.0.0.2", "203.0.113.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.1:4711", "203.0.113.1"),
        ("::ffff:10.0.0.1", "::ffff:203.0.113.1", "203.0.113.1"),
        ("", "203.0.113.1", "203.0.113.1"),
        # whoever has one address of IPv6 has all that begin alike
        ("fd00::1", "2001:db8:0:7:1:2:3:4", "2001:db8:0:7::"),
        ("fd00::1", "[2001:db8:0:7::9]:4711", "2001:db8:0:7::"),
        ("2001:db8:0:8::1%eth0", "", "2001:db8:0:8::"),
    ],
)
def test_who_sent_a_request(settings: LazySettings, peer: str, forwarded: str, found: str) -> None:
    settings.TRUSTED_PROXIES = ["10.0.0.0/8", "fd00::1"]
    request = HttpRequest()
    request.META = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}
    assert client_address(request) == found


@pytest.mark.django_db
def test_strangers_cannot_flood_the_forms(settings: LazySettings, redis: Redis) -> None:
    settings.API_RATE_LIMITS = True
    asked = [Client().post("/password-reset/", {"email": "x@example.com"}) for _ in range(31)]
    assert [response.status_code for response in asked] == [302] * 30 + [429]
    assert "1 分钟后再试。" in asked[-1].content.decode()
    assert int(asked[-1]["Retry-After"]) <= 60
    assert Client().get("/password-reset/").status_code == 200
    assert Client().post("/password-reset/", {"email": ""}, REMOTE_ADDR="198.51.100.9").status_code == 200


@pytest.mark.django_db
def test_signing_in_begins_a_new_session(alice: Account) -> None:
    client = Client()
    client.get("/sign-in/")
    session = client.session
    session["cart"] = {}
    session.save()
    before = session.session_key
    client.cookies["sessionid"] = before or ""
    client.post("/sign-in/", {"username": ALICE, "password": PASSWORD})
    after = client.cookies["sessionid"]
    assert after.value != before
    assert after["httponly"]
    assert after["samesite"] == "Lax"
    assert after["max-age"] == 7 * 24 * 3600


@pytest.mark.django_db
def test_what_signing_in_leaves_behind_is_forgotten(alice: Account) -> None:
    fresh = Client()
    fresh.post("/sign-in/", {"username": ALICE, "password": PASSWORD})
    sign_in("wrong")
    assert forget_old(timezone.now()) == 0
    with time_machine.travel(timezone.now() - timedelta(days=40), tick=False):
        Client().post("/sign-in/", {"username": ALICE, "password": PASSWORD})
        sign_in("wrong", address="198.51.100.77")
    assert forget_old(timezone.now()) == 2
    assert Session.objects.get().session_key == fresh.session.session_key
    assert AccessAttempt.objects.get().ip_address == "198.51.100.1"


# ── passwords ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("password", ["short7890", "alice@example.com", "1234567890123", "password1234"])
def test_weak_passwords_are_refused(password: str) -> None:
    with translation.override("zh-hans"), pytest.raises(ValidationError) as refused:
        validate_password(password, User(email=ALICE))
    assert not re.search("[A-Za-z]{2}", " ".join(refused.value.messages)), "why is said in the reader's language"


def test_passwords_are_kept_as_argon2id_and_older_ones_become_so(settings: LazySettings) -> None:
    settings.PASSWORD_HASHERS = logins()["PASSWORD_HASHERS"]
    assert make_password(PASSWORD).startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")
    old, kept = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1000), list[str]()
    assert check_password(PASSWORD, old, kept.append)
    assert kept == [PASSWORD], "it is to be hashed anew"


# ── browsers ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/sign-in/", "/admin/login/", "/api/reference/", "/api/v1/catalogue/", "/nothing/"])
def test_every_answer_tells_browsers_what_they_may_do(path: str) -> None:
    response = Client().get(path)
    policy = {
        name: values
        for name, *values in (part.split() for part in response["Content-Security-Policy"].split(";") if part.strip())
    }
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == ["'none'"]
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == ["'self'"]
    assert "unsafe" not in response["Content-Security-Policy"]
    assert response["X-Frame-Options"] == "DENY"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Referrer-Policy"] == response["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in response["Permissions-Policy"]
    assert {"private", "no-store"} <= set(response["Cache-Control"].split(", "))


def test_production_passes_djangos_own_examination() -> None:
    code = (
        "import django; django.setup()\nfrom django.core.management import call_command\n"
        "call_command('check', deploy=True, fail_level='WARNING')\n"
        "print(settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME, settings.SECURE_HSTS_SECONDS)"
    )
    done = settings_say(code, **PRODUCTION)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout
    assert done.stdout.split()[-3:] == ["__Host-sessionid", "__Host-csrftoken", str(365 * 24 * 3600)]


@pytest.mark.parametrize("secret", ["x" * 60, "short but various 123", f"django-insecure-{'abcdefgh' * 8}"])
def test_a_weak_secret_is_refused_in_production(secret: str) -> None:
    done = settings_say("settings.DEBUG", **PRODUCTION | {"SECRET_KEY": secret})
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "SECRET_KEY is weak" in last
    assert secret not in last
    assert settings_say("settings.DEBUG", DEBUG="1", SECRET_KEY=secret).returncode == 0
