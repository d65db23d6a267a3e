"""The admin site of this product: Django's, with pages of our own that are no model's, each behind a permission.

A room declares its page beside its code, `@page("reports/", …)`; the site shows it to those who may, in its index and
side bar, and refuses it to all others. Who may what stands in `iss_billing.roles`.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from datetime import datetime
from functools import wraps
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import BadRequest, FieldDoesNotExist, PermissionDenied
from django.db import DataError, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _

View = Callable[..., HttpResponseBase]


class Page(NamedTuple):
    """A page of the desk."""

    route: str
    name: str
    title: Promise | None
    """As the index lists it; None: it is reached from another page."""
    permission: str
    view: View


PAGES: list[Page] = []
FRONT_PAGES: list[tuple[str, str, View]] = []
"""Route, name and view of what stands in front of the admin and looks itself at who comes."""


def page(route: str, *, name: str, permission: str, title: Promise | None = None) -> Callable[[View], View]:
    """Register a view as a page of the admin at `route`, named `admin:name`, for those with the permission."""

    def register(view: View) -> View:
        PAGES.append(Page(route, name, title, permission, view))
        return view

    return register


def front_page(route: str, *, name: str) -> Callable[[View], View]:
    """Register a view that staff reach before they are let in, as `admin:name`; it does its own checks."""

    def register(view: View) -> View:
        FRONT_PAGES.append((route, name, view))
        return view

    return register


class Note(NamedTuple):
    """A sentence of the first page about what stands or waits, where it leads to, and its colour, as of a run."""

    text: str
    url: str
    state: str = ""


NOTES: list[tuple[str, Callable[[datetime], Iterable[Note]]]] = []
"""Who may read what: a permission, and what tells the notes at a moment."""


def notes(permission: str) -> Callable[[Callable[[datetime], Iterable[Note]]], Callable[[datetime], Iterable[Note]]]:
    """Register what tells notes of the first page, in a few cheap queries, for those with the permission."""

    def register(tell: Callable[[datetime], Iterable[Note]]) -> Callable[[datetime], Iterable[Note]]:
        NOTES.append((permission, tell))
        return tell

    return register


ROOMS = ("desk", "accounts", "packs", "settlement")
"""In which order the site lists what it has; the libraries' own come last."""


class Desk(admin.AdminSite):
    """The admin site; the default one of every `admin.register`."""

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """With what stands and waits, as far as the reader may know."""
        now = timezone.now()
        told = [note for permission, tell in NOTES if request.user.has_perm(permission) for note in tell(now)]
        return super().index(request, {"notes": told, **(extra_context or {})})

    def has_permission(self, request: HttpRequest) -> bool:
        """Staff, and with REQUIRE_2FA only after their second factor: asked by every page of the admin."""
        return super().has_permission(request) and _second_factor_given(request)

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Every page of the admin; what the models or the database cannot read of an address is a bad request.

        A look is one transaction, so that a statement which the database refused leaves it usable.
        """
        inner = super().admin_view(view, cacheable)

        @wraps(inner)
        def readable(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            looks = request.method in ("GET", "HEAD")
            try:
                with transaction.atomic() if looks else nullcontext():
                    return inner(request, *args, **kwargs)
            except (DataError, FieldDoesNotExist) as error:
                raise BadRequest(str(error).partition("\n")[0]) from error

        return readable

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The password; who has given it already is asked for the second factor."""
        user = request.user
        if request.method == "GET" and user.is_active and user.is_staff and not _second_factor_given(request):
            query = {key: request.GET[key] for key in ("next",) if key in request.GET}
            return redirect(reverse(f"{self.name}:second-factor", query=query))
        return super().login(request, extra_context)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """With the pages."""
        own = [path(page.route, self.admin_view(_guarded(page)), name=page.name) for page in PAGES]
        front = [path(route, view, name=name) for route, name, view in FRONT_PAGES]
        return [*own, *front, *super().get_urls()]

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """With the pages that the reader may open, first."""
        apps: list[Any] = super().get_app_list(request, app_label)
        apps.sort(key=lambda app: ROOMS.index(app["app_label"]) if app["app_label"] in ROOMS else len(ROOMS))
        pages: list[dict[str, Any]] = [
            {
                "name": page.title,
                "object_name": page.name,
                "perms": {},
                "admin_url": reverse(f"{self.name}:{page.name}"),
                "add_url": None,
                "view_only": True,
            }
            for page in PAGES
            if page.title is not None and request.user.has_perm(page.permission)
        ]
        if app_label is not None or not pages:
            return apps
        # what the index and the side bar want of an app; it has no page of its own
        index = reverse(f"{self.name}:index")
        desk = {"name": _("Desk"), "app_label": "desk", "app_url": index, "has_module_perms": True, "models": pages}
        return [desk, *apps]


def _second_factor_given(request: HttpRequest) -> bool:
    # `is_verified` comes with django-otp's middleware
    return not settings.REQUIRE_2FA or bool(request.user.is_verified())  # type: ignore[union-attr]


def _guarded(page: Page) -> View:
    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.has_perm(page.permission):
            raise PermissionDenied
        return page.view(request, *args, **kwargs)

    return view


def context_of(request: HttpRequest, title: str) -> dict[str, Any]:
    """What every page's template needs."""
    return {**admin.site.each_context(request), "title": title}
