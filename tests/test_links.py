"""Connections that notice when the other side has gone: what is asked of PostgreSQL, libpq and Redis.

`make scaleout` pulls the cable.
"""

import socket

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from kombu.transport.redis import Channel

from iss_billing import links
from iss_billing.celery import app
from tests.test_settings import PRODUCTION, settings_say


@pytest.mark.django_db
def test_the_server_drops_a_client_that_is_gone() -> None:
    """These are settings of every session of ours, whatever the server's own are; over a socket file it has no TCP."""
    asked = {name: value for name, value in links.POSTGRES_SERVER.items() if not name.startswith("tcp_")}
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, setting::bigint FROM pg_settings WHERE name = ANY(%s)", [list(asked)])
        assert dict(cursor.fetchall()) == asked
    for name in links.POSTGRES_SERVER:
        assert f"-c {name}=" in settings.DATABASES["default"]["OPTIONS"]["options"]


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux shows what was set")
def test_libpq_drops_a_server_that_is_gone() -> None:
    """libpq takes the options, and sets them on its TCP socket; a listener that never answers is enough to see."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        options = settings.DATABASES["default"]["OPTIONS"]
        attempt = psycopg.pq.PGconn.connect_start(
            psycopg.conninfo.make_conninfo(host="127.0.0.1", port=port, **options).encode()
        )
        assert attempt.status != psycopg.pq.ConnStatus.BAD, attempt.error_message
        with socket.socket(fileno=socket.dup(attempt.socket)) as wire:
            seen = [
                wire.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
            ]
        assert seen == [5, 5, 4, 20_000]
        attempt.finish()


def test_the_broker_is_asked_whether_it_is_there() -> None:
    given = app.connection().transport_options
    assert links.REDIS.items() <= given.items()
    assert set(links.REDIS) <= set(Channel.from_transport_options), "kombu knows them all"
    assert app.conf.broker_connection_max_retries is None, "a worker never gives up"


def test_what_the_operator_gives_stands_above_ours() -> None:
    url = PRODUCTION["DATABASE_URL"] + "?connect_timeout=30&sslmode=require&options=-c%20statement_timeout%3D9s"
    code = (
        "given = settings.DATABASES['default']['OPTIONS']\n"
        "print(*(given[name] for name in ('connect_timeout', 'sslmode', 'keepalives_idle', 'options')))"
    )
    said = settings_say(code, **PRODUCTION | {"DATABASE_URL": url})
    assert said.stdout.startswith("30 require 5 -c tcp_keepalives_idle=5 "), said.stderr
    assert said.stdout.strip().endswith(" -c statement_timeout=9s")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/app/.venv/bin/gunicorn -c python:iss_billing.serving iss_billing.wsgi", "iss web"),
        ("/app/.venv/bin/celery -A iss_billing worker --concurrency 1", "iss worker"),
        ("python -m celery -A iss_billing worker --queues webhooks --pool threads", "iss webhooks"),
        ("celery -A iss_billing beat --pidfile=", "iss beat"),
        ("manage.py settle --through 2026-03-01", "iss settle"),
        ("-c", "iss -c"),
        ("", "iss "),
    ],
)
def test_a_process_says_at_postgresql_what_it_is(command: str, name: str) -> None:
    assert links.process_name(command.split(" ")) == name
