"""The app, as the admin calls it."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SettlementConfig(AppConfig):
    """The app."""

    name = "settlement"
    verbose_name = _("Usage and bills")
