"""What the settings refuse, in processes of their own: a production that misses something does not start."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PRODUCTION = {
    "SECRET_KEY": "x" * 60,
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
        "settings.SECURE_SSL_REDIRECT, settings.SECURE_HSTS_SECONDS > 0, settings.EMBEDDED_POSTGRES)"
    )
    done = settings_say(code, **PRODUCTION)
    assert done.stdout.split() == ["False", "True", "True", "True", "True", "False"], done.stderr


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
