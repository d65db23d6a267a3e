"""What programs and people are told when something fails on our side."""

from collections.abc import Iterator

import pytest
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from iss_billing import urls


def broken(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


def away(request: HttpRequest) -> HttpResponse:
    raise OperationalError("the server is starting up")


urlpatterns = [
    path("api/v1/broken/", broken),
    path("api/v1/away/", away),
    path("broken/", broken),
    path("away/", away),
    *urls.urlpatterns,
]
handler500 = urls.handler500


@pytest.fixture
def client() -> Iterator[Client]:
    with override_settings(ROOT_URLCONF=__name__):
        yield Client(raise_request_exception=False)


@pytest.mark.parametrize(("place", "status", "code"), [("broken", 500, "server_error"), ("away", 503, "unavailable")])
def test_programs_get_a_problem_and_people_a_page(client: Client, place: str, status: int, code: str) -> None:
    answer = client.get(f"/api/v1/{place}/")
    assert (answer.status_code, answer["Content-Type"], answer.json()["code"]) == (
        status,
        "application/problem+json",
        code,
    )
    assert answer.has_header("Retry-After") == (status == 503)
    page = client.get(f"/{place}/")
    assert (page.status_code, page["Content-Type"].split(";")[0]) == (status, "text/html")
