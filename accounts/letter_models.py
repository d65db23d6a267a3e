"""A mail to an address rather than to an account: nobody may have shown yet that it is theirs."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Letter(models.Model):
    """The outbox of mails with a link: to confirm an address, or to set a new password.

    The link names the row and is signed when the mail is written, so no secret is kept here. Rows are deleted after
    a week.
    """

    class Kind(models.TextChoices):
        SIGN_UP = "sign_up", _("open an account")
        SIGN_UP_KNOWN = "sign_up_known", _("open an account: there is one")
        PASSWORD = "password", _("new password")
        ADDRESS = "address", _("new address of a login")
        ADDRESS_TAKEN = "address_taken", _("new address of a login: it is another's")
        CONTACT = "contact", _("address for bills")

    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    to = models.EmailField(_("to"))
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="letters", verbose_name=_("login")
    )
    """Whose link it is; None where there is no login yet."""
    language = models.CharField(_("language"), max_length=10)
    data = models.JSONField(default=dict)
    created_at = models.DateTimeField(_("written"))
    used_at = models.DateTimeField(_("used"), null=True)
    """When its link was followed to the end, or a later letter took its place."""
    sent_at = models.DateTimeField(_("mailed"), null=True)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    next_attempt_at = models.DateTimeField(null=True)
    last_error = models.CharField(_("last error"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("letter")
        verbose_name_plural = _("letters")
        indexes = [
            models.Index("to", "created_at", name="letter_to_address"),
            models.Index("id", name="letter_unsent", condition=Q(sent_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.pk}"
