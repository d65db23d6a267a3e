"""What a settled shard has to tell: bills that are ready, packs that run low or are used up."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from accounts import notices
from accounts.models import Notice
from accounts.modes import DEFAULT, modes_on
from accounts.outbox import Event, Listeners, write_events
from accounts.shapes import moment
from accounts.thresholds import fell_to_percent, is_at_percent
from accounts.webhook_models import EventType
from iss_billing.days import day_of
from packs.models import Item, Pack
from packs.shapes import pack_shape
from settlement.shapes import rated_shape

if TYPE_CHECKING:
    from settlement.posting import RatedDay  # imports this module


def announce(
    rated: Sequence["RatedDay"], bill_ids: Sequence[int], fallen: Mapping[int, bool], day: date, now: datetime
) -> None:
    """Write the notices and events of bills that were just written and of `fallen_packs`, in the caller's transaction.

    Where nobody listens bills cost one query for the shard.
    """
    ids = [one.account.id for one in rated]
    listeners = Listeners(min(ids), max(ids))
    packs = Pack.objects.filter(pk__in=fallen).select_related("pack_type", "sku", "order_line").in_bulk()
    told = [_notice(packs[pack_id], day) for pack_id in sorted(packs)]
    told += [
        _bill_notice(one, bill_id, day) for bill_id, one in zip(bill_ids, rated, strict=True) if one.account.mails_bills
    ]
    if told:
        notices.write(told, now)
    if listeners:
        write_events(_bills(rated, bill_ids, day, now), now, listeners)
        write_events(_packs(packs, fallen, now), now, listeners)


def fallen_packs(rated: Iterable["RatedDay"]) -> dict[int, bool]:
    """The packs that fell to their account's threshold or below it now, True, or that were low and are used up."""
    fallen: dict[int, bool] = {}
    for one in rated:
        percent = one.account.low_percent
        for pack in one.packs:
            if pack.remaining and not is_at_percent(pack.remaining, pack.total, percent):
                continue
            before = pack.remaining + _drawn(one, pack.pack_id)
            crossed = fell_to_percent(before, pack.remaining, pack.total, percent)
            if crossed or pack.remaining == 0:
                fallen[pack.pack_id] = crossed
    return fallen


def _drawn(one: "RatedDay", pack_id: int) -> int:
    return sum(draw.quantity for line in one.statement.lines for draw in line.draws if draw.pack_id == pack_id)


def _notice(pack: Pack, day: date) -> notices.Entry:
    """One message a pack and stage: a pack that is used up is not said to be low as well."""
    kind = Notice.Type.PACK_LOW if pack.remaining else Notice.Type.PACK_EXHAUSTED
    return (
        pack.account_id,
        kind.value,
        f"pack:{pack.pk}",
        {
            "name_zh": pack.pack_type.name_zh,
            "name_en": pack.pack_type.name_en,
            "sku": pack.sku.code,
            "pack_id": str(pack.pk),
            "day": day.isoformat(),
            "purchased_day": day_of(pack.purchased_at).isoformat(),
            "remaining": pack.remaining,
            "total": pack.total,
            "unit": pack.pack_type.unit,
        },
    )


def _bill_notice(one: "RatedDay", bill_id: int, day: date) -> notices.Entry:
    """For customers who want every bill by mail."""
    due = one.statement.amount_due
    data = {
        "bill": bill_id,
        "day": day.isoformat(),
        "sequence": one.sequence,
        "due": due,
        "balance": one.account.balance - due,
    }
    return one.account.id, Notice.Type.BILL_READY, f"bill:{bill_id}", data


def _bills(rated: Sequence["RatedDay"], bill_ids: Sequence[int], day: date, now: datetime) -> Iterator[Event]:
    codes = dict(Item.objects.values_list("id", "code"))

    settled_at = moment(now)
    for bill_id, one in zip(bill_ids, rated, strict=True):

        def shape(bill_id: int = bill_id, one: "RatedDay" = one) -> dict[str, Any]:
            shown = rated_shape(day, one.sequence, one.statement, codes)
            return {"bill_id": str(bill_id), **shown, "settled_at": settled_at}

        yield Event(one.account.id, EventType.BILL_READY, f"bill:{bill_id}", shape)


def _packs(packs: Mapping[int, Pack], fallen: Mapping[int, bool], now: datetime) -> Iterator[Event]:
    """Whoever listens for low packs hears of one that fell to nothing at once, too."""
    today = day_of(now)
    modes = modes_on({pack.account_id for pack in packs.values()}, today)
    for pack in packs.values():
        mode = modes.get(pack.account_id, DEFAULT)

        def shape(pack: Pack = pack, mode: str = mode) -> dict[str, Any]:
            return pack_shape(pack, today=today, mode=mode, now=now)

        if fallen[pack.pk]:
            yield Event(pack.account_id, EventType.PACK_LOW, f"pack:{pack.pk}", shape)
        if pack.remaining == 0:
            yield Event(pack.account_id, EventType.PACK_EXHAUSTED, f"pack:{pack.pk}", shape)
