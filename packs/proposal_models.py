"""A change of prices as it is proposed, rehearsed and published: one proposal, and its cells."""

from datetime import date

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from accounts.models import User


class PriceProposal(models.Model):
    """Changes of prices that are published all together, or not at all."""

    class State(models.TextChoices):
        PROPOSED = "proposed", _("proposed")
        REHEARSED = "rehearsed", _("rehearsed")
        PUBLISHED = "published", _("published")
        REJECTED = "rejected", _("rejected")
        WITHDRAWN = "withdrawn", _("withdrawn")

    OPEN = (State.PROPOSED, State.REHEARSED)

    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.PROPOSED)
    reason = models.CharField(_("reason"), max_length=500)
    made_at = models.DateTimeField(_("proposed at"))
    made_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+", verbose_name=_("proposed by"))
    """Null where a command proposed it."""
    decided_at = models.DateTimeField(_("decided"), null=True)
    decided_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+", verbose_name=_("decided by"))
    decision = models.CharField(_("why it was decided so"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("price change")
        verbose_name_plural = _("price changes")
        default_permissions = ("view",)
        permissions = [("propose_prices", "Can propose prices"), ("publish_prices", "Can publish prices")]
        constraints = [
            models.CheckConstraint(
                name="proposal_decided_when_not_open",
                condition=Q(state__in=("proposed", "rehearsed"), decided_at=None)
                | Q(state__in=("published", "rejected", "withdrawn"), decided_at__isnull=False),
            )
        ]
        indexes = [models.Index("state", F("id").desc(), name="price_proposal_by_state")]

    def __str__(self) -> str:
        return f"#{self.pk}"

    @property
    def is_open(self) -> bool:
        """Whether it can still be published, rejected or withdrawn."""
        return self.state in self.OPEN


class ProposedPrice(models.Model):
    """One cell of a proposal: a new price of a SKU (`region` empty) or of an item in a region.

    A price is in fen for a pack and micro-yuan per `per` base units for an item; none ends the sale. Without a `day` it
    comes into force at once, which only a pack's can. `cancels` takes back what is scheduled for the day; `new`
    describes a SKU or item that does not exist yet, and with a SKU perhaps its pack type.
    """

    proposal = models.ForeignKey(PriceProposal, models.CASCADE, related_name="cells")
    place = models.PositiveSmallIntegerField()
    code = models.CharField(_("code"), max_length=60)
    region = models.CharField(_("region"), max_length=40, blank=True)
    price = models.BigIntegerField(_("price"), null=True)
    per = models.BigIntegerField(_("per base units"), default=0)
    day = models.DateField(_("from day"), null=True)
    reason = models.CharField(_("reason"), max_length=500)
    cancels = models.BooleanField(default=False)
    new = models.JSONField(null=True)
    from_price = models.BigIntegerField(_("price before"), null=True)
    from_per = models.BigIntegerField(_("per before"), null=True)

    class Meta:
        verbose_name = _("proposed price")
        verbose_name_plural = _("proposed prices")
        default_permissions = ()
        ordering = ["proposal", "place"]
        constraints = [models.UniqueConstraint(fields=["proposal", "place"], name="proposed_price_place")]

    def __str__(self) -> str:
        return f"{self.code} {self.region}".strip()

    @property
    def of_pack(self) -> bool:
        """Whether it prices a pack; otherwise an item in a region."""
        return not self.region

    @property
    def key(self) -> tuple[str, str, date | None]:
        """What it changes: two cells of a proposal never have the same."""
        return self.code, self.region, self.day
