"""Pages that need what was settled."""

from django.urls import path

from settlement.pages import bills, held, overview

urlpatterns = [
    path("", overview.overview, name="overview"),
    path("packs/", held.packs, name="packs"),
    path("packs/<int:pk>/", held.pack, name="pack"),
    path("packs/<int:pk>/refund/", held.refund, name="refund"),
    path("bills/", bills.bills, name="bills"),
    path("bills/<int:pk>/", bills.bill, name="bill"),
]
