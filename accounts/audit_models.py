"""What staff did: one row an act, written in its transaction, never changed and never deleted."""

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.utils.translation import gettext_lazy as _


class AuditEntry(models.Model):
    """Who did what to what, when and why. A trigger refuses UPDATE and DELETE; `audit_log.record` writes it."""

    time = models.DateTimeField(_("time"))
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+", verbose_name=_("made by")
    )
    """None: the program itself, or a command."""
    who = models.CharField(_("signed in as"), max_length=254, blank=True)
    """The login's e-mail address at that time: logins are renamed."""
    action = models.CharField(_("action"), max_length=60)
    """A dotted word, "account.adjust": `audit_log.WORDS` says it in the reader's language."""
    account = models.ForeignKey(
        "accounts.Account", models.PROTECT, null=True, related_name="audit", db_index=False, verbose_name=_("account")
    )
    """The customer concerned; None where it is nobody's."""
    subject = models.CharField(_("object"), max_length=60, blank=True)
    """The kind of row, "packs.pack"."""
    subject_id = models.CharField(_("object's number"), max_length=64, blank=True)
    label = models.CharField(_("object as it was called"), max_length=200, blank=True)
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    data = models.JSONField(_("details"), default=dict)

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit log")
        default_permissions = ("view",)
        indexes = [
            models.Index("account", "id", name="audit_of_account"),
            models.Index("subject", "subject_id", "id", name="audit_of_object"),
            BrinIndex("time", name="audit_time", autosummarize=True),
        ]

    def __str__(self) -> str:
        # the words are told of in the room's own module, which imports this one
        from accounts.audit_log import word

        return f"{word(self.action)} {self.label}".strip()
