"""The app, as the admin calls it."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class SettlementConfig(AppConfig):
    """The app."""

    name = "settlement"
    verbose_name = _("Usage and bills")

    def ready(self) -> None:
        """The roles of staff follow their mapping after each `migrate`, once the permissions of all apps are made."""
        from iss_billing import roles

        post_migrate.connect(roles.apply_after_migrate, sender=self, dispatch_uid="roles")
