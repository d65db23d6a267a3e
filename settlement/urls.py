"""Pages that need what was settled."""

from django.urls import path

from settlement import views

urlpatterns = [
    path("", views.overview, name="overview"),
    path("packs/", views.packs, name="packs"),
    path("packs/<int:pk>/", views.pack, name="pack"),
    path("packs/<int:pk>/refund/", views.refund, name="refund"),
    path("bills/", views.bills, name="bills"),
    path("bills/<int:pk>/", views.bill, name="bill"),
]
