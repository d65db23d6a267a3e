"""Many requests for little: straight to the site's handler, and undone where that is asked for.

The whole way of a request is gone, from the first middleware on; what it would do again and again for the same asker is
kept: the session in the cookie, the login and the admin's side bar in memory. While a site's `draws` is off no HTML is
drawn: everything is done up to the template.
"""

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIRequest
from django.core.signals import request_finished
from django.db import DatabaseError, close_old_connections, connection, transaction
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template import Template
from django.template.backends.django import Template as Drawing
from django.test import Client, RequestFactory, override_settings
from django.utils.safestring import SafeString
from django.utils.translation import get_language

from accounts.login_backend import LoginBackend
from accounts.models import User
from iss_billing.desk import Desk

LOOKS: Final = ("SELECT ", "SAVEPOINT ", "RELEASE SAVEPOINT ", "ROLLBACK TO SAVEPOINT ", "DECLARE ")
"""Statements that leave nothing to undo."""
SETTINGS: Final = {
    "SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies",
    "DEBUG_PROPAGATE_EXCEPTIONS": True,  # a fault comes out of the handler with its traceback
}


class Undoing:
    """What requests write in a test's transaction, undone.

    Outside of tests a statement that the database refuses leaves the next one usable, but in a transaction of the
    view's own: so it is here.
    """

    def __init__(self) -> None:
        self.savepoint = transaction.savepoint()
        self.depth = len(connection.savepoint_ids)
        self.wrote = False

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        """Around each statement."""
        if not sql.startswith(LOOKS):
            self.wrote = True
        try:
            return execute(sql, params, many, context)
        except DatabaseError:
            self.wrote = True
            if len(connection.savepoint_ids) == self.depth:
                self._back()
            raise

    def _back(self) -> None:
        transaction.savepoint_rollback(self.savepoint)

    def undo(self) -> None:
        """Back to how it was in the beginning."""
        if self.wrote or connection.needs_rollback:
            connection.needs_rollback = False
            self._back()
            self.wrote = False
        connection.run_on_commit.clear()


class Site:
    """The site as `sending` prepares it."""

    def __init__(self) -> None:
        self.draws = True
        self.handler = BaseHandler()
        self.handler.load_middleware()

    def asker(self, client: Client) -> "Asker":
        """Who asks as somebody does who is signed in, whatever becomes of their cookies."""
        return Asker(self, client)


class Asker:
    """Sends requests and has their answers, closed; of a stream only a beginning. A fault raises."""

    def __init__(self, site: Site, client: Client) -> None:
        self.site = site
        self._make = RequestFactory()
        self._make.defaults, self._make.cookies = dict(client.defaults), copy.deepcopy(client.cookies)

    def get(self, url: str) -> Any:
        """A look."""
        return self._answer(self._make.get(url))

    def post(self, url: str, form: dict[str, str]) -> Any:
        """A form."""
        return self._answer(self._make.post(url, form))

    def generic(self, method: str, url: str, **more: Any) -> Any:
        """Anything, as Django's test client takes it."""
        return self._answer(self._make.generic(method, url, **more))

    def _answer(self, request: WSGIRequest) -> HttpResponseBase:
        request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]
        answer = self.site.handler.get_response(request)
        if isinstance(answer, StreamingHttpResponse):
            for _ in zip(iter(answer), range(50), strict=False):
                pass
        answer.close()
        return answer


@contextmanager
def sending() -> Iterator[Site]:
    """The site while many requests are sent to it; nobody else is to ask it meanwhile."""
    with pytest.MonkeyPatch.context() as patch, override_settings(**SETTINGS):
        site = Site()
        draw = Drawing.render

        def render(drawing: Any, context: Any = None, request: Any = None) -> str:
            name = drawing.template.name or ""
            return draw(drawing, context, request) if site.draws or not name.endswith(".html") else SafeString("")

        patch.setattr(Drawing, "render", render)
        patch.setattr(Template, "_render", lambda template, context: template.nodelist.render(context))  # no signals
        patch.setattr(LoginBackend, "get_user", _remembering(LoginBackend.get_user))
        patch.setattr(Desk, "get_app_list", _listing_once(Desk.get_app_list))
        logging.disable()
        request_finished.disconnect(close_old_connections)  # it would end the test's transaction
        try:
            yield site
        finally:
            request_finished.connect(close_old_connections)
            logging.disable(logging.NOTSET)


def _remembering(read: Callable[[LoginBackend, int], User | None]) -> Callable[[LoginBackend, int], User | None]:
    """`get_user` that reads each login once; every request has a copy of its own, with its account."""
    kept: dict[int, User | None] = {}

    def get_user(backend: LoginBackend, user_id: int) -> User | None:
        if user_id not in kept:
            kept[user_id] = read(backend, user_id)
        user = copy.copy(kept[user_id])
        if user is not None and user._state.fields_cache.get("account") is not None:
            user._state.fields_cache["account"] = copy.copy(user._state.fields_cache["account"])
        return user

    return get_user


def _listing_once(read: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """The admin's `get_app_list` that lists once for each login and language."""
    kept: dict[Any, list[Any]] = {}

    def get_app_list(desk: Desk, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        key = request.user.pk, app_label, get_language()
        if key not in kept:
            kept[key] = read(desk, request, app_label)
        return kept[key]

    return get_app_list
