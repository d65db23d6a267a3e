"""Pages that need what was settled."""

from django.urls import path

from settlement.pages import bills, closing, exports, held, mode, overview, shop

urlpatterns = [
    path("", overview.overview, name="overview"),
    path("account/close/", closing.close, name="close-account"),
    path("packs/", held.packs, name="packs"),
    path("packs/types/<slug:code>/", held.queue, name="queue"),
    path("packs/<int:pk>/", held.pack, name="pack"),
    path("packs/<int:pk>/refund/", held.refund, name="refund"),
    path("buy/", shop.buy, name="buy"),
    path("billing-mode/", mode.billing_mode, name="billing-mode"),
    path("bills/", bills.bills, name="bills"),
    path("bills/<int:pk>/", bills.bill, name="bill"),
    path("bills/<int:pk>/slots/<int:position>.csv", bills.slots, name="bill-slots"),
    path("bills/<int:pk>/recheck/", exports.recheck, name="bill-recheck"),
    path("export/", exports.export_page, name="export"),
    path("export/file/", exports.export_file, name="export-file"),
    path("statements/", exports.statement, name="monthly-statement"),
]
