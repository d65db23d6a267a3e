"""Pages of the accounts."""

from django.contrib.auth.views import LogoutView
from django.urls import include, path

from accounts import account_pages, inbox_pages, key_pages, sign_up_pages, views, webhook_views

urlpatterns = [
    path("sign-up/", sign_up_pages.ask, name="sign-up"),
    path("sign-up/sent/", sign_up_pages.sent, name="sign-up-sent"),
    path("sign-up/<str:token>/", sign_up_pages.confirm, name="sign-up-confirm"),
    path("sign-in/", sign_up_pages.SignIn.as_view(), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("password-reset/", sign_up_pages.PasswordReset.as_view(), name="password-reset"),
    path("password-reset/sent/", sign_up_pages.password_sent, name="password-reset-sent"),
    path(
        "password-reset/<uidb64>/<token>/",
        sign_up_pages.PasswordResetConfirm.as_view(),
        name="password-reset-confirm",
    ),
    path("bills-address/<str:token>/", sign_up_pages.contact, name="confirm-contact"),
    path("preferences/", account_pages.preferences, name="preferences"),
    path("account/", account_pages.account_page, name="account"),
    path("account/name/", account_pages.name, name="rename"),
    path("account/email/", account_pages.email, name="change-email"),
    path("account/email/cancel/", account_pages.cancel_email, name="cancel-email"),
    path("account/email/<str:token>/", account_pages.confirm_email, name="confirm-email"),
    path("account/password/", account_pages.password, name="change-password"),
    path("account/bills-address/", account_pages.contact, name="contact"),
    path("account/notices/", account_pages.wishes, name="notice-settings"),
    path("account/keys/", key_pages.keys, name="keys"),
    path("account/keys/<int:pk>/revoke/", key_pages.revoke, name="revoke-key"),
    path("", include("accounts.payments.urls")),
    path("ledger/", views.ledger, name="ledger"),
    path("inbox/", inbox_pages.inbox, name="inbox"),
    path("inbox/read/", inbox_pages.read, name="read-messages"),
    path("webhooks/", webhook_views.webhooks, name="webhooks"),
    path("webhooks/new/", webhook_views.add_webhook, name="add-webhook"),
    path("webhooks/<int:pk>/", webhook_views.webhook, name="webhook"),
    path("webhooks/<int:pk>/<slug:act>/", webhook_views.act_on_webhook, name="act-on-webhook"),
    path("webhooks/<int:pk>/resend/<int:delivery_pk>/", webhook_views.resend_message, name="resend-message"),
]
