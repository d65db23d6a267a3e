"""The app, as the admin calls it."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PacksConfig(AppConfig):
    """The app."""

    name = "packs"
    verbose_name = _("Prices and packs")

    def ready(self) -> None:
        """A top-up completes the purchase that waits for it."""
        from accounts.ledger import AFTER_TOP_UP
        from packs.checkout import complete_after_top_up

        AFTER_TOP_UP.append(complete_after_top_up)
