"""The console's pages of webhooks, and staff's view of them."""

import re
from collections.abc import Iterator
from html import unescape
from ipaddress import ip_network
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Account, User
from accounts.opening import open_account
from accounts.webhook_models import Delivery, Endpoint, EndpointSecret
from accounts.webhooks import turn_off
from tests.hooks import Receiver, deliver, listen, receiving, status
from tests.worlds import assert_books, top_up

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def proven() -> Iterator[None]:
    """Every test leaves true books."""
    yield
    assert_books()


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    settings.WEBHOOK_ALLOW_NETS = [ip_network("127.0.0.0/8")]
    with receiving() as it:
        yield it


def customer(name: str = "alice") -> tuple[Account, Client]:
    account = open_account(name=name, now=timezone.now(), email=f"{name}@example.com")
    client = Client(headers={"accept-language": "en"})
    assert account.user is not None
    client.force_login(account.user)
    return account, client


def said(response: Any) -> str:
    assert response.status_code == 200, response
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", response.content.decode())))


def test_adding_shows_the_secret_once_and_keeps_it_out_of_the_session() -> None:
    _, client = customer()
    assert "No endpoint yet" in said(client.get("/webhooks/"))
    form = {"url": "https://example.com/hook", "events": ["bill.ready", "pack.low"]}
    added = client.post("/webhooks/new/", form)
    endpoint = Endpoint.objects.get()
    assert added["Location"] == f"/webhooks/{endpoint.pk}/"
    assert "whsec" not in str(dict(client.session))
    first = client.get(added["Location"])
    [secret] = re.findall(r"whsec_[\w+/=]+", said(first))
    assert "no-store" in first["Cache-Control"]
    assert "whsec_" not in said(client.get(added["Location"]))
    assert "example.com/hook" in said(client.get("/webhooks/"))
    client.post(f"/webhooks/{endpoint.pk}/rotate/")
    [new] = re.findall(r"whsec_[\w+/=]+", said(client.get(added["Location"])))
    assert new != secret
    assert EndpointSecret.objects.count() == 2
    client.post(f"/webhooks/{endpoint.pk}/remove/")
    assert "No endpoint yet" in said(client.get("/webhooks/"))
    assert client.get(added["Location"]).status_code == 404


def test_a_bad_address_is_said_at_the_field() -> None:
    _, client = customer()
    assert "Only addresses on the public internet are called." in said(
        client.post("/webhooks/new/", {"url": "https://192.168.0.1/", "events": ["bill.ready"]})
    )
    assert "This field is required" in said(client.post("/webhooks/new/", {"url": "https://example.com/"}))
    assert Endpoint.objects.count() == 0


def test_deliveries_with_their_attempts_and_sending_again(receiver: Receiver) -> None:
    account, client = customer()
    endpoint, _ = listen(account, receiver.url)
    receiver.answer = status(500, b"<b>out of order</b>")
    top_up(account, "1.00", timezone.now().isoformat())
    deliver(timezone.now())
    page = said(client.get(f"/webhooks/{endpoint.pk}/"))
    for words in ("A top-up arrived", "pending", "1 attempt", "HTTP 500", "<b>out of order</b>", "failing"):
        assert words in page
    receiver.answer = status(200)
    delivery = Delivery.objects.get()
    again = client.post(f"/webhooks/{endpoint.pk}/resend/{delivery.pk}/", follow=True)
    assert "It is being sent again" in said(again)
    deliver(timezone.now())
    page = said(client.get(f"/webhooks/{endpoint.pk}/?status=delivered"))
    assert "2 attempts" in page
    assert "No message in this state." in said(client.get(f"/webhooks/{endpoint.pk}/?status=failed"))
    turn_off(endpoint, timezone.now())
    assert "Nothing is sent to this endpoint" in said(client.get(f"/webhooks/{endpoint.pk}/"))
    refused = client.post(f"/webhooks/{endpoint.pk}/resend/{delivery.pk}/", follow=True)
    assert "turn it on first" in said(refused)
    client.post(f"/webhooks/{endpoint.pk}/turn-on/")
    endpoint.refresh_from_db()
    assert endpoint.disabled_at is None


def test_anothers_endpoint_is_not_there(receiver: Receiver) -> None:
    account, _ = customer("alice")
    _, charlie = customer("charlie")
    endpoint, _ = listen(account, receiver.url)
    listen(None, receiver.url)
    top_up(account, "1.00", timezone.now().isoformat())
    for delivery in Delivery.objects.all():
        pk = delivery.endpoint_id
        assert charlie.get(f"/webhooks/{pk}/").status_code == 404
        for act in ("rotate", "turn-on", "remove", f"resend/{delivery.pk}"):
            assert charlie.post(f"/webhooks/{pk}/{act}/").status_code == 404
    assert charlie.get(f"/webhooks/{endpoint.pk}/rotate/").status_code == 405
    assert Client().get("/webhooks/").status_code == 302


@pytest.mark.parametrize("language", ["zh-hans", "en"])
def test_the_pages_are_whole_in_both_languages(language: str, receiver: Receiver) -> None:
    account, client = customer()
    Account.objects.filter(pk=account.pk).update(name="x")
    endpoint, _ = listen(account, receiver.url)
    receiver.answer = status(500)
    top_up(account, "1.00", timezone.now().isoformat())
    deliver(timezone.now())
    pages = ["/webhooks/", "/webhooks/new/", f"/webhooks/{endpoint.pk}/"]
    texts = [client.get(path, headers={"accept-language": language}).content.decode() for path in pages]
    turn_off(endpoint, timezone.now())
    texts.append(client.get(pages[-1], headers={"accept-language": language}).content.decode())
    for text in texts:
        bare = re.sub(
            r"(?s)<title>.*?</title>|<code.*?</code>|<pre.*?</pre>|<h1.*?</h1>|<a [^>]*>http.*?</a>", " ", text
        )
        bare = unescape(re.sub(r"<[^>]+>", " ", bare))
        if language == "zh-hans":
            known = {
                "Webhook",
                "API",
                "English",
                "Standard",
                "Webhooks",
                "HTTP",
                "https",
                "POST",
                "Gone",
                "billing",
                "localhost",
            }
            assert not set(re.findall(r"[A-Za-z][A-Za-z]{2,}", bare)) - known
        else:
            assert not re.search(r"[\u4e00-\u9fff]", bare.replace("中文", ""))
        assert "style=" not in text
        assert "<script" not in text


def test_staff_look_at_endpoints_and_deliveries_and_see_no_secret(receiver: Receiver) -> None:
    account, _ = customer()
    _, secret = listen(account, receiver.url)
    listen(None, receiver.url)
    top_up(account, "1.00", timezone.now().isoformat())
    deliver(timezone.now())
    staff = Client(headers={"accept-language": "en"})
    staff.force_login(User.objects.create_superuser(email="staff@example.com"))
    sealed = list(EndpointSecret.objects.values_list("sealed", flat=True))
    pages = [reverse(f"admin:accounts_{name}_changelist") for name in ("endpoint", "delivery")]
    pages += [
        reverse("admin:accounts_endpoint_change", args=[pk]) for pk in Endpoint.objects.values_list("pk", flat=True)
    ]
    pages += [
        reverse("admin:accounts_delivery_change", args=[pk]) for pk in Delivery.objects.values_list("pk", flat=True)
    ]
    for path in pages:
        text = said(staff.get(path))
        assert not [word for word in ("whsec_", secret, *sealed) if word in text], path
    delete = reverse("admin:accounts_endpoint_delete", args=[Endpoint.objects.latest("pk").pk])
    assert staff.post(delete).status_code == 403
    assert "payment.received" in said(staff.get(pages[-1]))
