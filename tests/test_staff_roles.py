"""Every address of the admin and every action, asked and posted to as each role, against what each may.

An address that is not told of here fails: who adds one says whose it is.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import time_machine
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import audit_log, logins
from accounts.keys import make_key
from accounts.models import Account, Transfer, User
from accounts.opening import open_account
from iss_billing import roles
from iss_billing.roles import ADMINISTRATOR, FINANCE, PRICING, SUPPORT
from packs.models import Pack
from packs.proposals import propose
from settlement.models import Alarm, SettlementFailure, SettlementRun, UsageRefusal
from settlement.price_models import PriceRun
from tests.conftest import made_once
from tests.sender import Site, sending
from tests.test_outsiders import ADMIN, ROUTES, Alices
from tests.test_rules_prices import pack
from tests.worlds import at

pytestmark = pytest.mark.django_db

NOON = at("2026-03-08T12:00")
JUNIOR = "no role"
CUSTOMER = "customer"
NOBODY: frozenset[str] = frozenset()
STAFF = frozenset({SUPPORT, PRICING, FINANCE, ADMINISTRATOR})
LOOK, HELP = STAFF, STAFF - {PRICING}
MONEY, PRICES = frozenset({FINANCE, ADMINISTRATOR}), frozenset({PRICING, ADMINISTRATOR})
BOOKS, LOGINS = STAFF - {SUPPORT}, frozenset({ADMINISTRATOR})
ANY = STAFF | {JUNIOR}

LOOKED_AT = {
    "accounts_account",
    "accounts_apikey",
    "accounts_auditentry",
    "accounts_delivery",
    "accounts_endpoint",
    "accounts_notice",
    "accounts_payment",
    "accounts_transfer",
    "accounts_user",
    "packs_checkout",
    "packs_item",
    "packs_order",
    "packs_pack",
    "packs_packtype",
    "packs_priceproposal",
    "packs_sku",
    "settlement_alarm",
    "settlement_bill",
    "settlement_closedaccount",
    "settlement_pricerun",
    "settlement_settlementfailure",
    "settlement_settlementrun",
    "settlement_usagerefusal",
}
"""Models that every role looks at, and nobody adds, changes or deletes by hand, but for what `MATRIX` says."""

Who = frozenset[str]
MATRIX: dict[str, tuple[Who, Who]] = {
    # what every member of staff has
    "index": (ANY, ANY),
    "app_list": (STAFF, STAFF),
    "jsi18n": (ANY, NOBODY),
    "password_change": (ANY, ANY),
    "password_change_done": (ANY, NOBODY),
    "second-factor": (ANY, ANY),
    "second-factor-codes": (ANY, ANY),
    "view_on_site": (NOBODY, NOBODY),
    "autocomplete": (NOBODY, NOBODY),
    # customers
    "accounts_account_top-up": (MONEY, MONEY),
    "accounts_account_adjust": (MONEY, MONEY),
    "accounts_account_unlock": (HELP, HELP),
    "accounts_account_reset-mail": (HELP, HELP),
    "accounts_notice_resend": (HELP, HELP),
    "packs_pack_refund": (MONEY, MONEY),
    "settlement_closedaccount_pay-out": (MONEY, MONEY),
    "settlement_closedaccount_reopen": (MONEY, MONEY),
    # keys act for accounts, and the platform's for all of them
    "accounts_apikey_add": (LOGINS, LOGINS),
    "accounts_apikey_revoke": (LOGINS, LOGINS),
    # prices
    "packs_pricelist_changelist": (LOOK, PRICES),
    "packs_pricelist_scheduled": (LOOK, LOOK),
    "packs_pricelist_history": (LOOK, LOOK),
    "packs_pricelist_export": (LOOK, LOOK),
    "packs_pricelist_import": (LOOK, PRICES),
    "packs_pricelist_newsize": (PRICES, PRICES),
    "packs_pricelist_newitem": (PRICES, PRICES),
    "packs_pricelist_newtype": (PRICES, PRICES),
    "packs_pricelist_cancel": (PRICES, PRICES),
    "packs_priceproposal_decline": (PRICES, PRICES),
    "packs_priceproposal_publish": (NOBODY, PRICES),
    "settlement_pricerun_rehearse": (NOBODY, PRICES),
    "settlement_pricerun_accounts": (LOOK, LOOK),
    # the night
    "incoming": (LOOK, LOOK),
    "settlement_settlementfailure_retry": (MONEY, MONEY),
    # the books
    "reports": (BOOKS, BOOKS),
    "report-receivables": (BOOKS, BOOKS),
    "report-movements": (BOOKS, BOOKS),
    "report-trial-balance": (BOOKS, BOOKS),
    # staff themselves
    "accounts_user_add": (LOGINS, LOGINS),
    "accounts_user_change": (LOOK, LOGINS),
    "accounts_user_reset-second-factor": (LOGINS, LOGINS),
    "auth_user_password_change": (LOGINS, LOGINS),
    "auth_group_changelist": (LOGINS, LOGINS),
    "auth_group_change": (LOGINS, NOBODY),
    "auth_group_history": (LOGINS, LOGINS),
    "auth_group_add": (NOBODY, NOBODY),
    "auth_group_delete": (NOBODY, NOBODY),
}
"""Who may GET and who may POST, by the address's name."""
OF_A_MODEL: dict[str, tuple[Who, Who]] = {
    "changelist": (LOOK, LOOK),  # without actions a POST is a look
    "history": (LOOK, LOOK),
    "change": (LOOK, NOBODY),
    "add": (NOBODY, NOBODY),
    "delete": (NOBODY, NOBODY),
}
ACTIONS: dict[str, dict[str, Who]] = {}
"""Actions of a model's list, and whose they are."""
AT_ONCE = {"packs_priceproposal_publish", "settlement_pricerun_rehearse"}
"""What a POST without a form does: it is left to the tests of its own."""
ANYBODYS = {"login", "logout"}
FORM = {
    "amount_0": "5",
    "amount_1": "CNY",
    "amount": "5",
    "reference": "r",
    "reason": "because",
    "new_price_0": "9.99",
    "new_price_1": "CNY",
    "new_price": "9.99",
    "region": "cn-mainland",
    "per": "1000",
    "effective_day": "2026-04-01",
    "name": "a key",
    "email": "new@example.com",
    "is_superuser": "on",
    "is_staff": "on",
    "password1": "a long enough password",
    "password2": "a long enough password",
    "post": "yes",
}
"""What would be enough for every form, were it taken."""


def allowed(name: str) -> tuple[Who, Who]:
    """Who may GET and POST an address; fails where nobody has said so."""
    if name in MATRIX:
        return MATRIX[name]
    model, _separator, page = name.rpartition("_")
    assert model in LOOKED_AT, f"say in MATRIX or LOOKED_AT whose admin:{name} is"
    assert page in OF_A_MODEL, f"say in MATRIX whose admin:{name} is"
    return OF_A_MODEL[page]


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """Noon of 8 March 2026."""
    with time_machine.travel(NOON, tick=False):
        yield


def _world() -> Account:
    with time_machine.travel(NOON, tick=False):
        return furnished(Alices().account)


world_of_all = made_once(_world)


@pytest.fixture
def world(world_of_all: Account) -> Account:
    """A row of everything that the admin shows."""
    return deepcopy(world_of_all)


def furnished(alice: Account) -> Account:
    """Rows beside alice's own, so that there is one of everything that the admin shows."""
    run = SettlementRun.objects.latest("pk")
    SettlementFailure.objects.create(run=run, account=alice, day=run.through_day, error="x")
    Alarm.objects.create(kind="silent", reference="r", subject="s", body="b", created_at=timezone.now())
    UsageRefusal.objects.create(day=run.through_day, source="/edge", code="too_old", events=1)
    alice.notices.create(kind="endpoint_disabled", reference="r", data={"url": "x", "gone": True}, created_at=run.now)
    closed = open_account(name="closed", now=run.now)
    Account.objects.filter(pk=closed.pk).update(closed_at=timezone.now())
    proposal = propose(cells=[pack("pet-100k", "300")], reason="r", now=timezone.now())
    PriceRun.objects.create(
        purpose="rehearse", proposal=proposal, first_day=run.through_day, last_day=run.through_day, started_at=run.now
    )
    audit_log.record("account.adjust", by=None, now=timezone.now(), subject=alice, reason="x")
    return alice


@pytest.fixture
def site() -> Iterator[Site]:
    """The site, for many requests."""
    with sending() as it:
        yield it


def signed_in(role: str) -> Client:
    client = Client(headers={"Accept-Language": "en"})
    if role == CUSTOMER:
        user = open_account(name="bob", now=timezone.now(), email="bob@example.com", password="x").user
        assert user is not None
    else:
        user = User.objects.create_user(f"{role.replace(' ', '-')}@example.com", "x", is_staff=True)
        if role != JUNIOR:
            user.groups.add(Group.objects.get(name=role))
    client.force_login(user)
    return client


def row_of(name: str, alice: Account) -> Model:
    """The row that an address is about."""
    if name.startswith(("accounts_account", "second")):
        return alice
    if name.startswith(("accounts_user", "auth_user")):
        assert alice.user is not None
        return alice.user
    app, model = name.split("_")[:2]
    row: Model | None = apps.get_model(app, model)._default_manager.order_by("pk").last()
    assert row is not None, f"make a row of {app}.{model} in the world"
    return row


def address(full: str, alice: Account) -> str:
    """The address of a name, about an object that is there."""
    name = full.partition(":")[2]
    fields = ROUTES[full].pattern.converters | dict.fromkeys(ROUTES[full].pattern.regex.groupindex)
    known = {
        "kind": "csv",
        "app_label": "accounts",
        "content_type_id": ContentType.objects.get_for_model(Pack).pk,
        "url": "x",
    }
    own = [field for field in fields if field not in known]
    pk = (Pack.objects.latest("pk") if name == "view_on_site" else row_of(name, alice)).pk if own else None
    return reverse(full, kwargs={field: known.get(field, pk) for field in fields})


def everything() -> dict[str, list[Any]]:
    """Every row of every model, but for what a look leaves behind."""
    passing = {"Session", "AccessAttempt", "AccessLog", "AccessFailureLog"}
    return {
        model._meta.label: list(model._base_manager.order_by("pk").values())
        for model in apps.get_models()
        if model.__name__ not in passing and not model._meta.abstract
    }


NAMES = [name for name in ADMIN if name.partition(":")[2] not in ANYBODYS]


def test_every_address_and_action_is_told_of() -> None:
    for name in NAMES:
        allowed(name.partition(":")[2])
    request = HttpRequest()
    request.user = User.objects.create_superuser("root@example.com")
    found = {
        model._meta.label_lower: set(site.get_actions(request))
        for model, site in admin.site._registry.items()
        if site.actions is not None or site.get_actions(request)
    }
    assert {name: acts for name, acts in found.items() if acts} == {name: set(acts) for name, acts in ACTIONS.items()}
    gone = {name for name in MATRIX if f"admin:{name}" not in ROUTES}
    assert not gone, "these addresses are no more"


@pytest.mark.parametrize("role", [*roles.ROLES, JUNIOR, CUSTOMER])
def test_each_role_sees_and_does_what_is_its_own_and_nothing_else(role: str, world: Account, site: Site) -> None:
    client = site.asker(signed_in(role))
    before = everything()
    for full in NAMES:
        name = full.partition(":")[2]
        url = address(full, world)
        for method, who in zip(("GET", "POST"), allowed(name), strict=True):
            # who may is given a form with nothing in it, which does nothing; who may not, one with everything
            may = role in who
            if may and method == "POST" and name in AT_ONCE:
                continue
            response = client.get(url) if method == "GET" else client.post(url, {} if may else FORM)
            sent_to = response.headers.get("Location", "") if response.status_code == 302 else ""
            said = f"{role}: {method} {url}: {response.status_code} {sent_to}"
            if role == CUSTOMER:
                assert sent_to.startswith(reverse("admin:login")), said
            elif may:
                assert response.status_code in (200, 302), said
                assert not sent_to.startswith(reverse("admin:login")), said
            else:
                # a list's own action, or an app's page, is not there for who may see none of it
                assert response.status_code in (403, 404, 405), said
    after = everything()
    assert {label for label in after if after[label] != before[label]} == set()


@pytest.mark.parametrize("role", [*roles.ROLES, JUNIOR])
def test_no_list_takes_an_action_that_is_not_the_roles(role: str, world: Account, site: Site) -> None:
    client = site.asker(signed_in(role))
    before = everything()
    for model, listed in admin.site._registry.items():
        label = model._meta.label_lower
        row = model._default_manager.order_by("pk").last()
        url = reverse(f"admin:{label.replace('.', '_')}_changelist")
        for action in {"delete_selected", *ACTIONS.get(label, {}), *(getattr(listed, "actions", None) or ())}:
            if role not in ACTIONS.get(label, {}).get(str(action), NOBODY):
                client.post(url, FORM | {"action": str(action), "_selected_action": str(row.pk if row else 1)})
    assert everything() == before


def test_money_is_moved_by_who_may_and_by_nobody_else(world: Account) -> None:
    """The same whole form as each role."""
    url = reverse("admin:accounts_account_adjust", args=[world.pk])
    number = Transfer.objects.filter(kind="adjustment").count()
    for role in (*roles.ROLES, JUNIOR):
        response = signed_in(role).post(
            url, {"amount_0": "5", "amount_1": "CNY", "reference": f"by {role}", "reason": "because"}
        )
        number += role in MONEY
        assert response.status_code == (302 if role in MONEY else 403)
        assert Transfer.objects.filter(kind="adjustment").count() == number


def test_an_administrator_makes_nobody_a_superuser_and_touches_none(world: Account) -> None:
    root = User.objects.create_superuser("root@example.com", "x")
    client = signed_in(ADMINISTRATOR)
    me = User.objects.get(email="administrator@example.com")
    form = {"email": me.email, "is_active": "on", "is_staff": "on", "is_superuser": "on", "reason": "ambition"}
    form |= {"groups": str(Group.objects.get(name=ADMINISTRATOR).pk)}
    assert client.post(reverse("admin:accounts_user_change", args=[me.pk]), form).status_code == 302
    me.refresh_from_db()
    assert not me.is_superuser
    for name in ("accounts_user_change", "auth_user_password_change", "accounts_user_reset-second-factor"):
        assert client.post(reverse(f"admin:{name}", args=[root.pk]), FORM).status_code == 403
    entry = world.audit.model.objects.latest("pk")
    assert (entry.action, entry.reason, entry.data["roles"]) == ("login.change", "ambition", [ADMINISTRATOR])
    assert client.post(reverse("admin:accounts_user_change", args=[me.pk]), form | {"reason": ""}).status_code == 200


def enters(client: Client, email: str, password: str) -> bool:
    """Whether the admin lets them in."""
    return client.post(reverse("admin:login"), {"username": email, "password": password}).status_code == 302


def test_logins_are_made_changed_and_given_passwords_each_with_a_reason(world: Account) -> None:
    client = signed_in(ADMINISTRATOR)
    support, pricing = (Group.objects.get(name=name) for name in (SUPPORT, PRICING))
    new = {"email": "New@Example.com", "password1": "tr0ub4dor and", "password2": "tr0ub4dor and", "is_staff": "on"}
    new |= {"groups": str(support.pk)}
    assert client.post(reverse("admin:accounts_user_add"), new).status_code == 200
    assert client.post(reverse("admin:accounts_user_add"), new | {"reason": "she begins"}).status_code == 302
    made = User.objects.get(email="new@example.com")
    colleague = Client()
    assert enters(colleague, "New@example.com", "tr0ub4dor and")
    assert list(made.groups.all()) == [support]
    change, password = (
        reverse("admin:accounts_user_change", args=[made.pk]),
        reverse("admin:auth_user_password_change", args=[made.pk]),
    )
    form = {"email": made.email, "is_active": "on", "is_staff": "on", "groups": str(pricing.pk)}
    assert client.post(change, form | {"reason": "she moved"}).status_code == 302
    word = {"password1": "another long one", "password2": "another long one"}
    assert client.post(password, word).status_code == 200
    assert client.post(password, word | {"password2": "not the same", "reason": "forgotten"}).status_code == 200
    assert client.post(password, word | {"reason": "forgotten"}).status_code == 302
    assert colleague.get(reverse("admin:index")).status_code == 302
    assert enters(colleague, "new@example.com", "another long one")
    entries = world.audit.model.objects.filter(subject_id=str(made.pk), subject="accounts.user").order_by("pk")
    kept = [("login.make", "she begins"), ("login.change", "she moved"), ("login.password", "forgotten")]
    assert [(entry.action, entry.reason) for entry in entries] == kept
    assert [entries[0].data["roles"], entries[1].data["roles"]] == [[SUPPORT], [PRICING]]
    assert "groups" in entries[1].data["changed"]
    assert "another long one" not in str([entry.data for entry in entries])


def test_staff_changing_a_customers_login_do_what_its_owner_would_and_tell_her(world: Account) -> None:
    """Rules 8.1: a change of address that waits is off, other sessions end, and the customer hears of it."""
    client, user = signed_in(ADMINISTRATOR), world.user
    assert user is not None
    for name, form in (
        ("auth_user_password_change", {"password1": "another long one", "password2": "another long one"}),
        ("accounts_user_change", {"email": "Moved@example.com", "is_active": "on"}),
    ):
        logins.ask_email(user=user, email=f"{name}@example.com", language="en", now=timezone.now())
        assert client.post(reverse(f"admin:{name}", args=[user.pk]), form | {"reason": "she called"}).status_code == 302
        assert logins.pending_email(user, timezone.now()) is None
    told = {notice.kind: notice.data for notice in world.notices.all()}
    assert "password_changed" in told
    assert told["email_changed"]["mail_to"] == [user.email, "moved@example.com"]


@pytest.mark.parametrize("left_out", ["is_active", "is_staff", "groups"])
def test_an_administrator_changes_everybodys_rights_but_his_own(world: Account, left_out: str) -> None:
    client = signed_in(ADMINISTRATOR)
    me = User.objects.get(email="administrator@example.com")
    form = {"email": me.email, "is_active": "on", "is_staff": "on", "reason": "tired"}
    form |= {"groups": str(Group.objects.get(name=ADMINISTRATOR).pk)}
    del form[left_out]
    response = client.post(reverse("admin:accounts_user_change", args=[me.pk]), form)
    assert "another administrator" in response.content.decode()
    me.refresh_from_db()
    assert (me.is_active, me.is_staff, me.groups.count()) == (True, True, 1)


def test_a_key_is_made_by_an_administrator_alone(world: Account) -> None:
    """A key of the platform reads every account: it is no matter of support or finance."""
    make_key(account_id=world.pk, name="x", now=timezone.now())
    for role in (SUPPORT, PRICING, FINANCE):
        assert signed_in(role).post(reverse("admin:accounts_apikey_add"), {"name": "k"}).status_code == 403
