"""What a customer finds in a mailbox, and the way from a sign-up to an open account."""

import re
from typing import Any

from django.core import mail
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts import letters, notices


def delivered() -> list[Any]:
    """Every mail so far, after the worker's turn."""
    letters.deliver(timezone.now())
    notices.deliver(timezone.now())
    return list(mail.outbox)


def newest(to: str) -> Any:
    """The latest mail to an address."""
    return [sent for sent in delivered() if to in sent.to][-1]


def link_to(to: str) -> str:
    """The path of the link in the latest mail to an address."""
    [path] = re.findall(r"^https?://[^/\s]+(/\S+)$", str(newest(to).body), re.MULTILINE)
    return str(path)


def sign_up(client: Client, name: str, email: str, password: str) -> Any:
    """Ask for an account, follow the mail's link, choose a password; the last answer."""
    client.post("/sign-up/", {"name": name, "email": email})
    return client.post(link_to(email), {"password": password})


def sign_up_in(page: Page, name: str, email: str, password: str) -> None:
    """The same in a browser, which is then signed in and at the overview."""
    page.goto("/sign-up/")
    page.locator("main [name=name]").fill(name)
    page.locator("main [name=email]").fill(email)
    page.locator("main button[type=submit]").first.click()
    expect(page.locator("main")).to_contain_text(email)
    page.goto(link_to(email))
    page.locator("main [name=password]").fill(password)
    page.locator("main button[type=submit]").first.click()
    expect(page.locator(".figures").first).to_be_visible()
