"""What operators watch: probes, metrics, the log."""

import io
import json
import logging
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client
from django.urls import URLResolver, get_resolver
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from accounts.keys import make_key
from accounts.logins import ask_sign_up
from accounts.models import Account
from iss_billing import logs, probes
from iss_billing.celery import app
from settlement import figures, metrics, runs
from settlement.models import SettlementRun
from tests.api_client import BASE, Api
from tests.conftest import ROOT, celery_worker, eventually
from tests.worlds import at, event, night, opened, send, use

TOKEN = "a token of tests"


@pytest.fixture(autouse=True)
def ask_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test is shown another's figures."""
    monkeypatch.setattr(metrics.FIGURES, "_until", 0.0)
    monkeypatch.setattr(metrics, "FRESH_SECONDS", 0)


def scrape(**headers: str) -> dict[str, float]:
    """Every sample by its name and labels, as Prometheus reads it."""
    response = Client(headers=headers).get("/metrics")
    assert response.status_code == 200, response.content
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.content.decode())
        for sample in family.samples
    }


# ── probes ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db
def test_probes_are_answered_whatever_the_host_and_without_https(settings: LazySettings) -> None:
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["billing.example.com"], True
    for path in ("/healthz", "/readyz", "/metrics"):
        response = Client().get(path, headers={"host": "10.1.2.3:8000"})
        assert response.status_code == 200, path
        assert response["Cache-Control"] == "no-store"
    assert Client().get("/readyz").json() == {"status": "ok", "database": "ok", "broker": "ok"}
    assert Client().get("/sign-in/", headers={"host": "10.1.2.3:8000"}).status_code == 400


@pytest.mark.django_db
def test_readyz_says_what_is_gone_and_healthz_stays(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    response = Client().get("/readyz")
    assert (response.status_code, response.json()["broker"], response.json()["database"]) == (503, "unreachable", "ok")
    assert scrape()["iss_broker_up"] == 0
    monkeypatch.setattr(probes, "database_answers", lambda: False)
    monkeypatch.setattr(figures, "database_answers", lambda: False)
    assert Client().get("/readyz").json()["database"] == "unreachable"
    assert Client().get("/healthz").status_code == 200
    shown = scrape()
    assert shown["iss_database_up"] == 0
    assert "iss_settlement_lag_days" not in shown
    assert "iss_http_requests_total method=GET route=readyz status=503" in shown


# ── who may look ─────────────────────────────────────────────────────────────────────────────────────


def status(address: str = "127.0.0.1", **headers: str) -> int:
    return Client(headers=headers).get("/metrics", REMOTE_ADDR=address).status_code


@pytest.mark.django_db
def test_metrics_are_for_this_host_while_no_proxy_stands_before_it(settings: LazySettings) -> None:
    assert (status(), status("::1"), status("192.0.2.1"), status("")) == (200, 200, 401, 401)
    assert status(x_forwarded_for="192.0.2.1") == 401, "a proxy that nobody told us of"
    settings.TRUSTED_PROXIES = ["10.0.0.1"]
    assert status() == 401


@pytest.mark.django_db
def test_metrics_are_for_who_has_the_token(settings: LazySettings) -> None:
    settings.METRICS_TOKEN, settings.TRUSTED_PROXIES = TOKEN, ["10.0.0.1"]
    assert status("192.0.2.1", authorization=f"Bearer {TOKEN}") == 200
    for wrong in ("", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", "Bearer é"):
        assert status(authorization=wrong) == 401, wrong
    refused = Client().get("/metrics")
    assert refused["WWW-Authenticate"].startswith("Bearer")
    assert TOKEN not in refused.content.decode()


# ── figures ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db
def test_metrics_tell_of_the_night_the_money_and_what_waits(clock: Any, redis: Redis) -> None:
    clock.move(at("2026-03-05T09:00"))
    poor, rich = opened("poor", balance=None), opened("rich")
    use(poor, "ai.pet", 4000, "2026-03-03T11:00")
    use(rich, "ai.pet", 4000, "2026-03-03T11:00")
    before = scrape()
    assert before["iss_settlement_lag_days"] == 0, "its days are not listed yet"
    assert before["iss_usage_uncollected_batches"] == 2
    app.send_task("settlement.tasks.collect_usage")
    night("2026-03-04T02:00")
    use(rich, "ai.pet", 1, "2026-03-04T11:00")
    from settlement.metering import collect

    collect()
    ask_sign_up(name="new", email="new@example.com", language="en", now=at("2026-03-04T23:00"))
    shown = scrape()
    assert shown["iss_settlement_lag_days"] == 1, "the 4th has ended and no run has come to it"
    assert (shown["iss_usage_waiting_account_days"], shown["iss_usage_oldest_waiting_days"]) == (1, 1)
    run = SettlementRun.objects.get()
    assert shown["iss_settlement_last_run_account_days"] == run.accounts == 2
    assert shown["iss_settlement_last_run_bills"] == 2
    assert shown["iss_settlement_last_run_due_yuan"] == pytest.approx(run.due / 100)
    assert (shown["iss_settlement_last_run_failures"], shown["iss_settlement_last_run_balances"]) == (0, 1)
    assert shown["iss_settlement_last_run_timestamp_seconds"] > 0
    assert shown["iss_settlement_running"] == 0
    assert (shown["iss_database_up"], shown["iss_broker_up"], shown["iss_queue_tasks queue=celery"]) == (1, 1, 1)
    assert shown["iss_arrears_accounts stage=suspended"] == 1
    assert shown["iss_arrears_accounts stage=arrears"] == 0
    owed = -Account.objects.get(pk=poor.pk).balance / 100
    assert shown["iss_arrears_yuan stage=suspended"] == pytest.approx(owed)
    assert shown["iss_outbox_waiting kind=notice"] >= 1
    assert shown["iss_outbox_oldest_seconds kind=notice"] == pytest.approx(31 * 3600, abs=60)
    assert shown["iss_outbox_waiting kind=letter"] == 1
    assert shown["iss_usage_partitions_ahead"] >= 0
    assert shown["iss_database_bytes"] > 10**6
    for number in runs.advance(runs.begin(now=at("2026-03-05T00:30"), account_id=rich.pk).pk, at("2026-03-05T00:30")):
        runs.settle_shard(number, at("2026-03-05T00:30"))
    run = SettlementRun.objects.latest("pk")
    runs.advance(run.pk, at("2026-03-05T00:31"))
    run.refresh_from_db()
    assert (f"{run.through_day}", run.accounts) == ("2026-03-04", 1)
    shown = scrape()
    assert shown["iss_settlement_lag_days"] == 1, "one account that was tried again is not the night"
    assert shown["iss_settlement_last_run_account_days"] == 2
    SettlementRun.objects.filter(pk=run.pk).update(balances=False)
    assert scrape()["iss_settlement_last_run_balances"] == 0


@pytest.mark.django_db
def test_metrics_count_usage_by_what_became_of_it_and_requests_by_route() -> None:
    account = opened(on="2026-03-01")
    platform = Api(None)
    now = timezone.now()
    day = (now - timedelta(hours=1)).isoformat()
    batch = [event(account, "ai.pet", 1, day), event(account, "ai.nothing", 1, day)]
    before = scrape()
    headers = {"content_type": "application/cloudevents-batch+json"}
    for _ in range(2):
        response = platform.client.post(BASE + "usage/", json.dumps(batch), **headers)  # type: ignore[arg-type]
        assert response.status_code == 200, response.content
    Client().get("/bills/?month=2026-03")
    Client().get("/made/up/by/somebody/")
    Client().generic("BREW", "/sign-in/")
    after = scrape()

    def grown(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert grown("iss_usage_events_total outcome=accepted") == 1
    assert grown("iss_usage_events_total outcome=duplicate") == 1
    assert grown("iss_usage_events_total outcome=unknown_item") == 2
    assert grown("iss_http_requests_total method=POST route=api/v1/usage/ status=200") == 2
    assert grown("iss_http_request_seconds_count method=POST route=api/v1/usage/") == 2
    assert grown("iss_http_requests_total method=GET route=bills/ status=302") == 1
    assert grown("iss_http_requests_total method=GET route=unknown status=404") == 1
    assert grown("iss_http_requests_total method=other route=sign-in/ status=405") == 1
    assert not [name for name in after if "made/up" in name or "BREW" in name]


@pytest.mark.django_db
def test_who_asks_again_at_once_is_told_the_same(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(metrics, "FRESH_SECONDS", 60)
    scrape()
    with django_assert_num_queries(0):
        scrape()


@pytest.mark.django_db
def test_a_question_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(now: object) -> Iterator[Any]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(5)")
        yield from ()

    monkeypatch.setattr(figures, "PATIENCE_MS", 50)
    monkeypatch.setattr(figures, "ASKED", (slow,))
    assert scrape()["iss_database_up"] == 0


# ── the log ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def lines() -> Iterator[Any]:
    """What the production log says from here on, each line read back from its JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.Json())
    handler.addFilter(logs.Strangers())
    root = logging.getLogger()
    root.addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.removeHandler(handler)


@pytest.mark.django_db
def test_a_request_is_a_line_with_its_id_and_its_account(lines: Any, settings: LazySettings) -> None:
    settings.DEBUG = False
    account = opened()
    api = Api(account)
    answer = api.client.get(BASE + "account/", headers={"X-Request-ID": "proxy-0123456789"})
    assert answer["X-Request-ID"] == "proxy-0123456789"
    line = lines()[-1]
    assert line["message"] == "GET api/v1/account/ 200"
    assert (line["request_id"], line["route"], line["status"]) == ("proxy-0123456789", "api/v1/account/", 200)
    assert line["account_id"] == account.pk
    assert line["ms"] > 0
    for forged in ("x" * 65, "short", 'a"b{}:,long enough', "with space inside", "new\nline-and-more"):
        answered = Client().get("/sign-in/", headers={"X-Request-ID": forged})["X-Request-ID"]
        assert re.fullmatch("[0-9a-f]{32}", answered), forged
    assert Client().get("/sign-in/", headers={"Host": "evil.example"}).status_code == 400
    wrong_host = next(line for line in lines() if line["logger"] == "django.security.DisallowedHost")
    assert wrong_host["level"] == "WARNING", "a stranger's doing is no error of ours"
    assert "exception" not in wrong_host
    assert logs.logging_settings(debug=False, form="json")["handlers"]["stderr"]["filters"] == ["strangers"]


SECRETS = {
    "mail": "owner.name+tag@shop.example.com",
    "key": "ck_0123456789ab.Zm9vYmFyYmF6cXV4-_x",
    "webhook secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "database password": "hunter2-of-the-database",
    "reset token": "c8k3x2-5f6e7d8c9b0a1f2e3d4c5b6a",
    "password": "correct-horse-battery",
    "name": "云岚连锁有限公司",
}


def addresses_with(token: str, patterns: list[Any], before: str = "/") -> Iterator[str]:
    """Every address of the product that has a token in it."""
    for one in patterns:
        route = before + str(one.pattern)
        if isinstance(one, URLResolver):
            yield from addresses_with(token, one.url_patterns, route)
        elif "token>" in route:
            yield re.sub("<[^>]*>", token, route)


def test_no_secret_and_nobodys_name_comes_into_a_line(lines: Any) -> None:
    log = logging.getLogger("tests")
    log.warning("mail to %s failed", SECRETS["mail"])
    log.warning("Authorization: Bearer %s was sent", SECRETS["key"])
    log.warning("key %s", SECRETS["key"])
    log.warning("signed with %s", SECRETS["webhook secret"])
    log.warning("no postgres://iss:%s@db/iss", SECRETS["database password"])
    log.warning("Not Found: /password-reset/Mw/%s/", SECRETS["reset token"])
    mailed = list(addresses_with(SECRETS["reset token"], get_resolver().url_patterns))
    assert len(mailed) >= 4
    for address in mailed:
        log.error("Internal Server Error: %s", address)
    log.warning("form {'password': '%s', \"token\": \"%s\"}", SECRETS["password"], SECRETS["reset token"])
    log.warning("body password=%s&token=%s", SECRETS["password"], SECRETS["reset token"])
    try:
        raise ValueError(
            f"duplicate key\nDETAIL:  Key (email)=({SECRETS['mail']}) exists.\n"
            f"DETAIL:  Failing row contains (7, {SECRETS['name']}, 12.00).\n"
            f'CONTEXT:  COPY settlement_bill, line 1: "7\\t{SECRETS["name"]}"\n'
            f'CONTEXT:  COPY settlement_bill, line 1, column name: "{SECRETS["name"]}"'
        )
    except ValueError:
        log.exception("it failed")
    said = json.dumps(lines(), ensure_ascii=False)
    assert len(lines()) == 9 + len(mailed)
    assert not [name for name, secret in SECRETS.items() if secret in said], said
    assert "ck_0123456789ab." in said, "what names a key is no secret"
    assert "ValueError" in said
    assert "Failing row contains" in said
    assert "COPY settlement_bill, line 1, column name: […]" in said


@pytest.mark.django_db
def test_signing_up_and_in_leaves_no_trace_of_who(lines: Any, settings: LazySettings) -> None:
    settings.DEBUG = False
    form = {"name": SECRETS["name"], "email": SECRETS["mail"], "password": "a long enough password"}
    Client().post("/sign-up/", form)
    Client().post("/sign-in/", {"username": SECRETS["mail"], "password": SECRETS["password"]})
    Client().post("/password-reset/", {"email": SECRETS["mail"]})
    Client().get(f"/password-reset/Mw/{SECRETS['reset token']}/")
    Client().get("/nothing/", {"q": SECRETS["mail"]})
    key = make_key(account_id=None, name="x", now=timezone.now())[1]
    Client(headers={"Authorization": f"Bearer {key}"}).get(BASE + "entitlements/1/")
    said = json.dumps(lines(), ensure_ascii=False)
    assert said.count('"route"') >= 6
    found = [secret for secret in [*SECRETS.values(), key, "a long enough password"] if secret in said]
    assert not found, said


@pytest.mark.django_db(transaction=True)
def test_a_task_says_which_request_called_it(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_FORMAT", "json")
    said: list[str] = []
    with celery_worker(said=said):
        with logs.belonging(request_id="request-0123456789"):
            app.send_task("settlement.tasks.collect_usage", task_id="task-1")
        app.send_task("settlement.tasks.collect_usage", task_id="task-2")
        assert eventually(lambda: sum("succeeded" in line for line in said) == 2)
    told = {
        line["task_id"]: line
        for line in (json.loads(text) for text in said if text.startswith("{"))
        if "task_id" in line and "succeeded" in line["message"]
    }
    assert told["task-1"]["request_id"] == "request-0123456789"
    assert told["task-1"]["task"] == "settlement.tasks.collect_usage"
    assert "request_id" not in told["task-2"]


# ── what is made of it ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db
def test_every_metric_that_alerts_and_dashboard_name_is_exported(settings: LazySettings, tmp_path: Path) -> None:
    settings.BACKUPS = tmp_path
    assert "iss_backup_timestamp_seconds" not in scrape(), "none is no backup of 1970"
    for name in ("iss-20260302T203000Z.dump", "iss-20260303T203000Z.part"):
        (tmp_path / name).touch()
    os.utime(tmp_path / "iss-20260302T203000Z.dump", (1_000, 1_000))
    assert scrape()["iss_backup_timestamp_seconds"] == 1_000, "one that was cut off is none"
    night("2026-03-02T02:00")
    figures.count_usage(send([event(opened(), "ai.pet", 1, "2026-03-02T10:00")], "2026-03-02T10:00"))
    scrape()  # a request, which the next answer tells of
    exported = {name.partition(" ")[0] for name in scrape()}
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    dashboard = (ROOT / "deploy" / "grafana" / "iss-billing.json").read_text()
    json.loads(dashboard)
    for text, least in ((rules, 10), (dashboard, 15)):
        named = set(re.findall(r"\biss_[a-z_]+", text))
        assert len(named) >= least
        assert not named - exported, named - exported
