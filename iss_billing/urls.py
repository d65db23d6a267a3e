"""Every address of the product."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/", include("iss_billing.api_urls")),
    path("", include("accounts.urls")),
    path("", include("packs.urls")),
    path("", include("settlement.urls")),
]
