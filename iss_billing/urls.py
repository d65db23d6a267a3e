"""Every address of the product."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.utils.functional import lazy
from django.views.generic import RedirectView

from iss_billing import probes, reference
from settlement.metrics import metrics

urlpatterns = [
    path("healthz", probes.healthz, name="healthz"),
    path("readyz", probes.readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("admin/", admin.site.urls),
    path("api/reference/", reference.page, name="api-reference"),
    path("api/v1/", include("iss_billing.api_urls")),
    path("favicon.ico", RedirectView.as_view(url=lazy(static, str)("console/icon.svg"))),
    path("", include("accounts.urls")),
    path("", include("packs.urls")),
    path("", include("settlement.urls")),
]

handler500 = "iss_billing.problems.failed"
