"""Addresses below /api/v1/."""

from django.urls import path, re_path

from accounts import api as accounts
from accounts import webhook_api as webhooks
from iss_billing import reference
from iss_billing.problems import not_found
from packs import api as packs
from settlement import api as settlement
from settlement import entitlement_api as entitlements

urlpatterns = [
    path("schema/", reference.schema, name="api-schema"),
    path("catalogue/", packs.CatalogueView.as_view(), name="api-catalogue"),
    path("account/", accounts.AccountView.as_view(), name="api-account"),
    path("account/billing-mode/", accounts.BillingModeView.as_view(), name="api-billing-mode"),
    path("orders/", packs.OrdersView.as_view(), name="api-orders"),
    path("orders/<str:pk>/", packs.OrderView.as_view(), name="api-order"),
    path("packs/", packs.PacksView.as_view(), name="api-packs"),
    path("packs/<str:pk>/", packs.PackView.as_view(), name="api-pack"),
    path("packs/<str:pk>/refund/", packs.PackRefundView.as_view(), name="api-pack-refund"),
    path("packs/<str:pk>/drawdowns/", settlement.PackDrawdownsView.as_view(), name="api-pack-drawdowns"),
    path("bills/", settlement.BillsView.as_view(), name="api-bills"),
    path("bills/<str:pk>/", settlement.BillView.as_view(), name="api-bill"),
    path("bills/<str:pk>/recheck/", settlement.BillRecheckView.as_view(), name="api-bill-recheck"),
    path("ledger/", accounts.LedgerView.as_view(), name="api-ledger"),
    path("estimate/", settlement.EstimateView.as_view(), name="api-estimate"),
    path("webhooks/", webhooks.WebhooksView.as_view(), name="api-webhooks"),
    path("webhooks/<str:pk>/", webhooks.WebhookView.as_view(), name="api-webhook"),
    path("webhooks/<str:pk>/rotate/", webhooks.WebhookRotateView.as_view(), name="api-webhook-rotate"),
    path("webhooks/<str:pk>/enable/", webhooks.WebhookEnableView.as_view(), name="api-webhook-enable"),
    path("webhooks/<str:pk>/deliveries/", webhooks.DeliveriesView.as_view(), name="api-deliveries"),
    path("webhooks/<str:pk>/deliveries/<str:delivery_pk>/resend/", webhooks.ResendView.as_view(), name="api-resend"),
    path("usage/", settlement.UsageView.as_view(), name="api-usage"),
    path("entitlements/", entitlements.EntitlementsView.as_view(), name="api-entitlements"),
    path("entitlements/<str:account_id>/", entitlements.EntitlementView.as_view(), name="api-entitlement"),
    re_path("", not_found),
]
