"""The admin site of this product: Django's, with pages of our own that are no model's, each behind a permission.

A room declares its page beside its code, `@page("reports/", …)`; the site shows it to those who may, in its index and
side bar, and refuses it to all others. Who may what stands in `iss_billing.roles`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _

View = Callable[..., HttpResponse]


class Page(NamedTuple):
    """A page of the desk."""

    route: str
    name: str
    title: Promise | None
    """As the index lists it; None: it is reached from another page."""
    permission: str
    view: View


PAGES: list[Page] = []


def page(route: str, *, name: str, permission: str, title: Promise | None = None) -> Callable[[View], View]:
    """Register a view as a page of the admin at `route`, named `admin:name`, for those with the permission."""

    def register(view: View) -> View:
        PAGES.append(Page(route, name, title, permission, view))
        return view

    return register


class Desk(admin.AdminSite):
    """The admin site; the default one of every `admin.register`."""

    def get_urls(self) -> list[URLPattern | URLResolver]:  # type: ignore[override]
        """With the pages."""
        own = [path(page.route, self.admin_view(_guarded(page)), name=page.name) for page in PAGES]
        return [*own, *super().get_urls()]

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """With the pages that the reader may open, first."""
        apps: list[Any] = super().get_app_list(request, app_label)
        pages = [
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


def _guarded(page: Page) -> View:
    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.has_perm(page.permission):
            raise PermissionDenied
        return page.view(request, *args, **kwargs)

    return view


def context_of(request: HttpRequest, title: str) -> dict[str, Any]:
    """What every page's template needs."""
    return {**admin.site.each_context(request), "title": title}
