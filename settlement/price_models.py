"""What prices would have made of the last 30 days: a run over all accounts, its shards, and whom it touches."""

from django.db import models
from django.db.models import F
from django.utils.translation import gettext_lazy as _

from accounts.models import Account, User
from iss_billing.fields import WideIntegerField
from packs.proposal_models import PriceProposal


class PriceRun(models.Model):
    """The bills of a window rated again under a proposal's prices: to rehearse it, or to tell customers of rises."""

    class Purpose(models.TextChoices):
        REHEARSE = "rehearse", _("rehearsal")
        ANNOUNCE = "announce", _("notices of rises")

    purpose = models.CharField(_("purpose"), max_length=10, choices=Purpose.choices)
    proposal = models.ForeignKey(PriceProposal, models.PROTECT, related_name="runs", verbose_name=_("price change"))
    first_day = models.DateField(_("first day"))
    last_day = models.DateField(_("last day"))
    started_at = models.DateTimeField(_("started"))
    started_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+", verbose_name=_("started by"))
    finished_at = models.DateTimeField(_("finished"), null=True)
    result = models.JSONField(null=True)
    """The sum of its shards' results, once it has finished."""
    error = models.CharField(_("error"), max_length=500, blank=True)
    """What stopped it; one that was stopped is not taken up again."""

    class Meta:
        verbose_name = _("price rehearsal")
        verbose_name_plural = _("price rehearsals")
        default_permissions = ("view",)
        indexes = [models.Index("id", name="price_run_unfinished", condition=models.Q(finished_at=None, error=""))]

    def __str__(self) -> str:
        return f"#{self.pk}"


class PriceShard(models.Model):
    """A range of accounts of a run: one transaction, with its done mark in it."""

    run = models.ForeignKey(PriceRun, models.CASCADE, related_name="shards")
    first_account = models.BigIntegerField()
    last_account = models.BigIntegerField()
    done_at = models.DateTimeField(null=True)
    result = models.JSONField(null=True)

    class Meta:
        default_permissions = ()
        indexes = [models.Index("run", "id", name="price_shard_of_run")]

    def __str__(self) -> str:
        return f"{self.first_account}–{self.last_account}"


class PriceEffect(models.Model):
    """What an account would have paid more or less, in micro-yuan; accounts that would pay the same have none."""

    run = models.ForeignKey(PriceRun, models.CASCADE, related_name="effects", db_index=False)
    account = models.ForeignKey(
        Account, models.PROTECT, db_index=False, db_constraint=False, related_name="+", verbose_name=_("account")
    )
    before = WideIntegerField(_("before"))
    """Of everything that it was charged in the window, and of the packs that it bought."""
    change = WideIntegerField(_("change"))

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["account", "run"], name="price_effect_once")]
        indexes = [models.Index(F("run"), F("change"), name="price_effect_by_change")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.change}"
