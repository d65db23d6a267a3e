"""Pages that need what was settled."""

from datetime import date

from django.urls import path, register_converter

from settlement.pages import bills, closing, exports, held, mode, overview, shop, usage


class DayConverter:
    """A day in a path: 2026-03-05."""

    regex = r"\d{4}-\d{2}-\d{2}"

    def to_python(self, value: str) -> date:
        """The day. Raises ValueError, which is no match."""
        return date.fromisoformat(value)

    def to_url(self, value: date) -> str:
        """Its text."""
        return value.isoformat()


register_converter(DayConverter, "day")

urlpatterns = [
    path("", overview.overview, name="overview"),
    path("account/close/", closing.close, name="close-account"),
    path("packs/", held.packs, name="packs"),
    path("packs/types/<slug:kind>/", held.queue, name="queue"),
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
    path("usage/", usage.usage, name="usage"),
    path("usage/event/", usage.event, name="usage-event"),
    path("usage/<str:code>/", usage.item_usage, name="item-usage"),
    path("usage/<str:code>/<day:day>/", usage.day_usage, name="day-usage"),
    path("usage/<str:code>/<day:day>/slots.csv", usage.day_slots_csv, name="day-slots"),
]
