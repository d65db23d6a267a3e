"""What the settings refuse, in processes of their own: a production that misses something does not start."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.webhook_models import Endpoint, EndpointSecret
from accounts.webhook_secrets import seal, unseal
from tests.conftest import ROOT
from tests.worlds import opened

PRODUCTION = {
    "SECRET_KEY": "a secret of tests, " * 4,
    "ALLOWED_HOSTS": "billing.example.com",
    "DATABASE_URL": "postgres://iss@db.invalid/iss",
    "REDIS_URL": "redis://redis.invalid/0",
    "EMAIL_URL": "smtp://mail.invalid:25",
}


def settings_say(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of Python against the settings, in an environment of exactly these variables and no `.env`."""
    prepare = "import environ; environ.Env.read_env = classmethod(lambda *a, **k: None)\n"
    show = prepare + "from django.conf import settings\n" + code
    clean = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "iss_billing.settings"}
    return subprocess.run(
        [sys.executable, "-c", show], env=clean | environment, cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("missing", PRODUCTION)
def test_production_names_what_it_misses(missing: str) -> None:
    environment = {name: value for name, value in PRODUCTION.items() if name != missing}
    done = settings_say("settings.DEBUG", **environment)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert missing in last
    assert "make run" in last
    assert not [name for name in environment if name in last.replace(missing, "")]


def test_production_names_all_at_once_and_is_the_default() -> None:
    last = settings_say("settings.DEBUG").stderr.strip().splitlines()[-1]
    assert all(name in last for name in PRODUCTION)


def test_production_is_safe() -> None:
    code = (
        "print(settings.DEBUG, settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE, "
        "settings.SECURE_SSL_REDIRECT, settings.SECURE_HSTS_SECONDS > 0, settings.EMBEDDED_POSTGRES, settings.SITE_URL)"
    )
    done = settings_say(code, **PRODUCTION)
    safe = ["False", "True", "True", "True", "True", "False", "https://billing.example.com"]
    assert done.stdout.split() == safe, done.stderr


def test_only_the_web_processes_need_the_folder_of_what_they_count() -> None:
    code = "import django; django.setup(); import iss_billing.urls, iss_billing.celery; print('up')"
    done = settings_say(code, **PRODUCTION, PROMETHEUS_MULTIPROC_DIR="/nowhere/metrics")
    assert done.stdout.strip() == "up", done.stderr


def test_mails_lead_somewhere() -> None:
    several = PRODUCTION | {"ALLOWED_HOSTS": ".example.com,billing.example.com"}
    assert "not set: SITE_URL" in settings_say("settings.DEBUG", **several).stderr
    done = settings_say("print(settings.SITE_URL)", **several, SITE_URL="https://pay.example.com/")
    assert done.stdout.strip() == "https://pay.example.com", done.stderr


def test_only_postgresql() -> None:
    done = settings_say("settings.DEBUG", **PRODUCTION | {"DATABASE_URL": "sqlite:///x.db"})
    assert "PostgreSQL only" in done.stderr


def test_a_refusal_is_one_line_and_no_traceback() -> None:
    environment = {"PATH": os.environ["PATH"], "DEBUG": "0", "SECRET_KEY": "x"}
    command = [sys.executable, str(ROOT / "manage.py"), "check"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "DATABASE_URL" in done.stderr


def test_demo_data_is_refused_in_production() -> None:
    code = (
        "import django; django.setup()\nfrom django.core.management import call_command, CommandError\n"
        "try: call_command('demo')\nexcept CommandError as error: print(error)"
    )
    assert "DEBUG is 0" in settings_say(code, **PRODUCTION).stdout


def test_the_broker_is_the_redis_named() -> None:
    code = "print(settings.CELERY_BROKER_URL)"
    assert settings_say(code, **PRODUCTION).stdout.strip() == "redis://redis.invalid/0"
    local = settings_say(code, DEBUG="1", SECRET_KEY="x")
    assert local.stdout.startswith("redis+socket:///tmp/iss-"), local.stderr


SANDBOX = "print(settings.PAYMENTS.sandbox, settings.PAYMENTS.alipay)"


def test_the_payment_sandbox_is_off_in_production_unless_asked_for() -> None:
    assert settings_say(SANDBOX, DEBUG="1", SECRET_KEY="x").stdout.split() == ["True", "None"]
    assert settings_say(SANDBOX, **PRODUCTION).stdout.split() == ["False", "None"]
    assert settings_say(SANDBOX, **PRODUCTION, PAYMENT_SANDBOX="1").stdout.split() == ["True", "None"]


def test_alipay_half_said_or_beside_the_sandbox_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("a key")
    alipay = {
        "ALIPAY_APP_ID": "2026000000000001",
        "ALIPAY_PRIVATE_KEY_FILE": str(key),
        "ALIPAY_PUBLIC_KEY_FILE": str(key),
    }
    assert settings_say("print(settings.PAYMENTS.alipay.app_id)", **PRODUCTION, **alipay).stdout == "2026000000000001\n"
    assert settings_say(SANDBOX, DEBUG="1", SECRET_KEY="x", **alipay).stdout.startswith("False")
    for missing in alipay:
        half = {name: value for name, value in alipay.items() if name != missing}
        assert f"not set: {missing}" in settings_say(SANDBOX, **PRODUCTION, **half).stderr
    assert "one or the other" in settings_say(SANDBOX, **PRODUCTION, **alipay, PAYMENT_SANDBOX="1").stderr
    away = alipay | {"ALIPAY_PUBLIC_KEY_FILE": str(tmp_path / "none")}
    assert "ALIPAY_PUBLIC_KEY_FILE" in settings_say(SANDBOX, **PRODUCTION, **away).stderr
    for address in ("http://alipay.example.com/", "file:///etc/passwd", "gateway"):
        refused = settings_say(SANDBOX, **PRODUCTION, **alipay, ALIPAY_GATEWAY=address)
        assert "ALIPAY_GATEWAY" in refused.stderr, address
    # files that hold no key are refused when the apps are set up, not by the first payer
    started = settings_say("import django; django.setup()", **PRODUCTION, **alipay)
    assert "ALIPAY_PRIVATE_KEY_FILE" in started.stderr.strip().splitlines()[-1]


def test_every_beat_task_is_one_that_workers_know() -> None:
    code = (
        "import django; django.setup()\nfrom iss_billing.celery import app\napp.loader.import_default_modules()\n"
        "print([entry['task'] for entry in settings.CELERY_BEAT_SCHEDULE.values() if entry['task'] not in app.tasks])"
    )
    assert settings_say(code, **PRODUCTION).stdout == "[]\n"


@pytest.mark.django_db
def test_a_changed_secret_key_opens_what_the_old_one_sealed_until_it_is_sealed_anew(settings: Any) -> None:
    account = opened()
    old, new = "the old key, " * 5, "the new key, " * 5
    settings.SECRET_KEY = old
    endpoint = Endpoint.objects.create(
        account=account, url="https://x.example/", events=[], created_at=account.opened_at
    )
    secret = EndpointSecret.objects.create(endpoint=endpoint, sealed=seal("whsec_one"))
    settings.SECRET_KEY = new
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("reseal_secrets", json=True)
    settings.SECRET_KEY_FALLBACKS = [old]
    call_command("reseal_secrets", json=True)
    settings.SECRET_KEY_FALLBACKS = []
    secret.refresh_from_db()
    assert unseal(secret.sealed) == "whsec_one"
    done = settings_say("print(settings.SECRET_KEY_FALLBACKS)", **PRODUCTION, SECRET_KEY_FALLBACKS="one,two")
    assert done.stdout == "['one', 'two']\n"
