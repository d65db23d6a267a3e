"""The app, as the admin calls it."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    """The app."""

    name = "accounts"
    verbose_name = _("Accounts and money")
