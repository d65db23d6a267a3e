"""The app, as the admin calls it."""

from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    """The app."""

    name = "accounts"
    verbose_name = _("Accounts and money")

    def ready(self) -> None:
        """Keys that cannot be used are refused at the start, not by the first customer who pays."""
        from accounts.payments import gateway

        if settings.PAYMENTS.alipay:
            gateway.active()
