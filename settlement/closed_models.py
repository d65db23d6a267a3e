"""Closed accounts, for staff: those that still have money come first."""

from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models import Account

if TYPE_CHECKING:
    Manager = models.Manager["ClosedAccount"]
else:
    Manager = models.Manager


class ClosedAccounts(Manager):
    """Accounts that are closed at present."""

    def get_queryset(self) -> "models.QuerySet[ClosedAccount]":
        """Found by the index of the few."""
        return super().get_queryset().filter(closed_at__isnull=False)


class ClosedAccount(Account):
    """An account that is closed: what its customer still has is paid out, or it is opened again."""

    objects: ClassVar[ClosedAccounts] = ClosedAccounts()

    class Meta:
        proxy = True
        default_permissions = ("view", "change")
        verbose_name = _("closed account")
        verbose_name_plural = _("closed accounts")
