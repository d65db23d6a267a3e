"""Pages of the accounts."""

from django.contrib.auth.views import LogoutView
from django.urls import include, path

from accounts import key_pages, views, webhook_views

urlpatterns = [
    path("sign-up/", views.sign_up, name="sign-up"),
    path("sign-in/", views.SignIn.as_view(), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("password-reset/", views.PasswordReset.as_view(), name="password-reset"),
    path("password-reset/sent/", views.PasswordResetSent.as_view(), name="password-reset-sent"),
    path("password-reset/<uidb64>/<token>/", views.PasswordResetConfirm.as_view(), name="password-reset-confirm"),
    path("preferences/", views.preferences, name="preferences"),
    path("account/", views.account_page, name="account"),
    path("account/keys/", key_pages.keys, name="keys"),
    path("account/keys/<int:pk>/revoke/", key_pages.revoke, name="revoke-key"),
    path("", include("accounts.payments.urls")),
    path("ledger/", views.ledger, name="ledger"),
    path("inbox/", views.inbox, name="inbox"),
    path("webhooks/", webhook_views.webhooks, name="webhooks"),
    path("webhooks/new/", webhook_views.add_webhook, name="add-webhook"),
    path("webhooks/<int:pk>/", webhook_views.webhook, name="webhook"),
    path("webhooks/<int:pk>/<slug:act>/", webhook_views.act_on_webhook, name="act-on-webhook"),
    path("webhooks/<int:pk>/resend/<int:delivery_pk>/", webhook_views.resend_message, name="resend-message"),
]
