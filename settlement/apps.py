"""The app, as the admin calls it."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class SettlementConfig(AppConfig):
    """The app."""

    name = "settlement"
    verbose_name = _("Usage and bills")

    def ready(self) -> None:
        """Customers hear of rises. Roles follow their mapping after each `migrate`, with all permissions made."""
        from iss_billing import roles
        from packs.proposals import AFTER_PUBLICATION
        from settlement.price_runs import announce

        AFTER_PUBLICATION.append(announce)

        post_migrate.connect(roles.apply_after_migrate, sender=self, dispatch_uid="roles")
