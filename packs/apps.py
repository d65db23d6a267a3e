"""The app, as the admin calls it."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PacksConfig(AppConfig):
    """The app."""

    name = "packs"
    verbose_name = _("Prices and packs")
