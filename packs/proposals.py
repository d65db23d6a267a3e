"""Changing prices: proposed, then published all together or not at all; the only writer of prices (rules 4.5, 5.5).

With FOUR_EYES whoever publishes is not who proposed. Prices are appended under one lock, so that each knows the price
that it replaces, and whoever is second with a cell is told that it has changed.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Max
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import audit_log
from accounts.models import User
from iss_billing.days import day_of, start_of
from packs.models import HOME_REGION, Item, PackType, Sku, SkuPrice, TariffPrice
from packs.price_checks import ProposalRefused, judge, stale
from packs.price_events import price_announced, price_restored
from packs.proposal_models import PriceProposal, ProposedPrice
from packs.tariff import Price, check_reason

State = PriceProposal.State

FOR_EVER = date(2099, 12, 31)
"""Until when packs are valid (rules 4.2)."""

audit_log.WORDS.update(
    {
        "price.propose": gettext_lazy("proposed a price change"),
        "price.publish": gettext_lazy("published a price change"),
        "price.withdrawn": gettext_lazy("withdrew a price change"),
        "price.rejected": gettext_lazy("rejected a price change"),
    }
)

AFTER_PUBLICATION: list[Callable[[PriceProposal, datetime], None]] = []
"""Told of a proposal in the transaction that publishes it."""


def propose(
    *, cells: Sequence[ProposedPrice], reason: str, now: datetime, made_by: User | None = None
) -> PriceProposal:
    """Propose changes of prices, each for its own reason or `reason`; nothing is in force by it.

    Raises ProposalRefused, with what is wrong with each cell.
    """
    check_reason(reason)
    for cell in cells:
        cell.reason = (cell.reason or reason).strip()
    judge(cells, now)
    with transaction.atomic():
        proposal = PriceProposal.objects.create(reason=reason.strip(), made_at=now, made_by=made_by)
        for place, cell in enumerate(cells):
            cell.proposal, cell.place = proposal, place
        ProposedPrice.objects.bulk_create(cells)
        audit_log.record("price.propose", by=made_by, now=now, subject=proposal, reason=reason)
    return proposal


def publish(*, proposal_id: int, now: datetime, published_by: User | None) -> PriceProposal:
    """Append the proposal's prices, all or none.

    Raises ProposalRefused: decided before, one's own where a second person must publish, or cells that can no longer
    come into force as they were proposed.
    """
    with transaction.atomic():
        proposal = _open(proposal_id)
        if settings.FOUR_EYES and (published_by is None or published_by.pk == proposal.made_by_id):
            raise ProposalRefused(_("A change of prices is published by another than who proposed it."))
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(7205, 0)")
        cells = list(proposal.cells.order_by("place"))
        proposed = [(cell.from_price, cell.from_per) for cell in cells]
        judge(cells, now)
        errors = {place: why for place, cell in enumerate(cells) if (why := stale(cell, proposed[place]))}
        if errors:
            names = ", ".join(str(cells[place]) for place in errors)
            raise ProposalRefused(f"{names}: {next(iter(errors.values()))}", errors)
        for cell in cells:
            _append_pack(cell, proposal, now) if cell.of_pack else _append_tariff(cell, proposal, now)
        _decide(proposal, State.PUBLISHED, now, published_by)
        audit_log.record("price.publish", by=published_by, now=now, subject=proposal, reason=proposal.reason)
        for tell in AFTER_PUBLICATION:
            tell(proposal, now)
    return proposal


def change_prices(
    *, cells: Sequence[ProposedPrice], reason: str, now: datetime, made_by: User | None = None
) -> PriceProposal:
    """Propose and publish at once; only propose where a second person must publish. Raises ProposalRefused."""
    with transaction.atomic():
        proposal = propose(cells=cells, reason=reason, now=now, made_by=made_by)
        if settings.FOUR_EYES:
            return proposal
        return publish(proposal_id=proposal.pk, now=now, published_by=made_by)


def decline(*, proposal_id: int, reason: str, now: datetime, declined_by: User) -> PriceProposal:
    """End an open proposal: withdrawn by who made it, rejected by another. Raises PriceRefused."""
    check_reason(reason)
    with transaction.atomic():
        proposal = _open(proposal_id)
        own = proposal.made_by_id == declined_by.pk
        state = State.WITHDRAWN if own else State.REJECTED
        _decide(proposal, state, now, declined_by, reason.strip())
        audit_log.record(f"price.{state.value}", by=declined_by, now=now, subject=proposal, reason=reason)
    return proposal


def mark_rehearsed(proposal_id: int) -> None:
    """A rehearsal of the proposal is complete."""
    PriceProposal.objects.filter(pk=proposal_id, state=State.PROPOSED).update(state=State.REHEARSED)


def _open(proposal_id: int) -> PriceProposal:
    """Lock a proposal that is still open. Raises ProposalRefused."""
    proposal = PriceProposal.objects.select_for_update().get(pk=proposal_id)
    if not proposal.is_open:
        raise ProposalRefused(_("It was decided before: %(state)s.") % {"state": proposal.get_state_display()})
    return proposal


def _decide(proposal: PriceProposal, state: State, now: datetime, by: User | None, why: str = "") -> None:
    proposal.state, proposal.decided_at, proposal.decided_by, proposal.decision = state, now, by, why
    proposal.save(update_fields=["state", "decided_at", "decided_by", "decision"])


def _append_pack(cell: ProposedPrice, proposal: PriceProposal, now: datetime) -> None:
    sku = _new_sku(cell) if cell.new else Sku.objects.get(code=cell.code)
    moment = start_of(cell.day) if cell.day else now
    if cell.cancels:
        rows = SkuPrice.objects.filter(sku=sku, effective_at=moment, cancelled_at=None)
        rows.update(cancelled_at=now, cancelled_by=proposal.made_by, cancel_reason=cell.reason)
        return
    SkuPrice.objects.create(
        sku=sku,
        price=(cell.from_price if cell.price is None else cell.price) or 0,
        withdraws=cell.price is None,
        effective_at=moment,
        from_price=cell.from_price,
        made_at=now,
        made_by=proposal.made_by,
        reason=cell.reason,
        proposal=proposal,
    )


def _append_tariff(cell: ProposedPrice, proposal: PriceProposal, now: datetime) -> None:
    # a new item may come with the prices of several regions
    item = Item.objects.filter(code=cell.code).first() or _new_item(cell)
    day = cell.day or day_of(now)  # judged: there is one
    if cell.cancels:
        rows = TariffPrice.objects.filter(item=item, region=cell.region, effective_day=day, cancelled_at=None).order_by(
            "-id"
        )
        cancelled = rows[0].pk
        rows.update(cancelled_at=now, cancelled_by=proposal.made_by, cancel_reason=cell.reason)
        if cell.price is not None:
            price_restored(item, cell.region, Price(cell.price, cell.per, day), cancelled, now)
        return
    made = TariffPrice.objects.create(
        item=item,
        region=cell.region,
        price=(cell.from_price if cell.price is None else cell.price) or 0,
        per=(cell.from_per if cell.price is None else cell.per) or 1,
        withdraws=cell.price is None,
        effective_day=day,
        from_price=cell.from_price,
        from_per=cell.from_per,
        made_at=now,
        made_by=proposal.made_by,
        reason=cell.reason,
        proposal=proposal,
    )
    if not made.withdraws:
        price_announced(made, now)


def _new_sku(cell: ProposedPrice) -> Sku:
    """A size in its place: after the smaller ones of its type and before what follows."""
    new = cell.new or {}
    kind = PackType.objects.filter(code=new["pack_type"]).first() or _new_type(new["pack_type"], new["type"])
    siblings = kind.skus.all()
    smaller = siblings.filter(quantity__lt=new["quantity"]).aggregate(last=Max("position"))["last"]
    first = siblings.order_by("position").values_list("position", flat=True).first()
    last = Sku.objects.aggregate(last=Max("position"))["last"] or 0
    place = smaller + 1 if smaller else first or last + 1
    # a unique column is checked row by row: moved out of the way first
    Sku.objects.filter(position__gte=place).update(position=F("position") + 10_000)
    Sku.objects.filter(position__gte=place + 10_000).update(position=F("position") - 9_999)
    until = siblings.order_by("-valid_until").values_list("valid_until", flat=True).first()
    return Sku.objects.create(
        code=cell.code, pack_type=kind, quantity=new["quantity"], position=place, valid_until=until or FOR_EVER
    )


def _new_type(code: str, new: dict[str, Any]) -> PackType:
    """A pack type after all others; its unit and mode are its items', which `judge` found to be one."""
    items = list(Item.objects.filter(code__in=new["covers"]))
    last = PackType.objects.aggregate(last=Max("position"))["last"] or 0
    kind = PackType.objects.create(
        code=code,
        name_zh=new["name_zh"].strip(),
        name_en=new["name_en"].strip(),
        unit=items[0].unit,
        region=HOME_REGION,
        requires_billing_mode=items[0].requires_billing_mode,
        position=last + 1,
    )
    kind.covers.set(items)
    return kind


def _new_item(cell: ProposedPrice) -> Item:
    """An item after all others: the order in which lines are rated stays as it is for those that there are."""
    new = cell.new or {}
    last = Item.objects.aggregate(last=Max("position"))["last"] or 0
    return Item.objects.create(
        code=cell.code,
        name_zh=new["name_zh"].strip(),
        name_en=new["name_en"].strip(),
        unit=new["unit"],
        aggregation=new["aggregation"],
        requires_billing_mode=new["requires_billing_mode"],
        position=last + 1,
    )
