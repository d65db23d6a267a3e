"""Pages of the accounts."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from accounts import key_pages, views

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
    path("top-up/", views.top_up, name="top-up"),
    path("ledger/", views.ledger, name="ledger"),
    path("inbox/", views.inbox, name="inbox"),
]
