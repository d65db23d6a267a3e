"""The loop: the settlement a project would start with, an account at a time with the ORM, its rules in the loop."""

import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any


def settle_one(account_id: int, day: date, now: datetime) -> None:  # noqa: C901 - all of it in one loop, as one begins
    """Settle one account's day."""
    from django.db import transaction

    from accounts.models import Account, Book, Kind, ModeChange, Transfer
    from packs.models import Item, Pack, TariffPrice
    from settlement.models import Bill, BillLine, Drawdown, PendingDay, UsageEvent

    with transaction.atomic():
        account = Account.objects.select_for_update().get(pk=account_id)
        change = ModeChange.objects.filter(account=account, effective_day__lte=day).order_by("effective_day").last()
        mode = change.mode if change else "bandwidth"
        by_item: dict[tuple[int, str], list[UsageEvent]] = defaultdict(list)
        for event in UsageEvent.objects.filter(day=day, account=account):
            by_item[event.item_id, event.region].append(event)
        bill = Bill.objects.create(
            account=account,
            day=day,
            sequence=1,
            billing_mode=mode,
            rated_total=0,
            carry_in=account.carry,
            amount_due=0,
            carry_out=account.carry,
            balance_after=account.balance,
            settled_at=now,
        )
        total, recognised, position = 0, 0, 0
        for item in Item.objects.all():
            for (item_id, region), events in sorted(by_item.items()):
                if item_id != item.pk or item.requires_billing_mode not in (None, mode):
                    continue
                quantity = aggregate(item.aggregation, events)
                price = TariffPrice.objects.filter(item=item, region=region, effective_day__lte=day).order_by(
                    "effective_day", "id"
                )
                tariff = price.last()
                if not quantity or tariff is None:
                    continue
                position += 1
                left, drawn = quantity, 0
                line = BillLine(bill=bill, position=position, item=item, region=region, quantity=quantity)
                draws = []
                packs = Pack.objects.filter(
                    account=account, pack_type__covers=item, pack_type__region=region, remaining__gt=0
                )
                for pack in packs.filter(effective_day__lte=day, valid_until__gte=day).order_by("id"):
                    taken = min(left, pack.remaining)
                    if not taken:
                        break
                    left, drawn = left - taken, drawn + taken
                    pack.remaining -= taken
                    until = Decimal(pack.price * (pack.total - pack.remaining)) / pack.total
                    now_recognised = int(until.quantize(Decimal(1), ROUND_HALF_UP))
                    draws.append((pack, taken, pack.remaining, now_recognised - pack.recognised))
                    recognised += now_recognised - pack.recognised
                    pack.recognised = now_recognised
                    pack.save()
                amount = (Decimal(left * tariff.price) / tariff.per).quantize(Decimal(1), ROUND_HALF_UP)
                line.drawn, line.charged, line.price, line.per = drawn, left, tariff.price, tariff.per
                line.amount = int(amount)
                line.save()
                total += line.amount
                for pack, taken, remaining, share in draws:
                    Drawdown.objects.create(
                        line=line, pack=pack, quantity=taken, remaining_after=remaining, recognised=share
                    )
        exact = total + account.carry
        due = max(0, int((Decimal(exact) / 10_000).quantize(Decimal(1), ROUND_HALF_UP)))
        account.balance -= due
        account.carry = exact - due * 10_000
        if account.balance < 0 and account.arrears_since is None:
            account.arrears_since = now
        account.save()
        bill.rated_total, bill.amount_due, bill.carry_out = total, due, account.carry
        bill.balance_after = account.balance
        bill.save()
        for kind, debit, credit, fen in (
            (Kind.USAGE, Book.BALANCE, Book.USAGE_REVENUE, due),
            (Kind.RECOGNITION, Book.DEFERRED, Book.PACK_REVENUE, recognised),
        ):
            if fen:
                Transfer.objects.create(
                    account=account,
                    kind=kind,
                    debit=debit,
                    credit=credit,
                    amount=fen,
                    time=now,
                    reference=f"bill:{bill.pk}",
                    balance_after=account.balance if kind == Kind.USAGE else None,
                )
        PendingDay.objects.filter(account=account, day=day).delete()


def aggregate(how: str, events: Sequence[Any]) -> int:
    """A day's quantity of one item."""
    rows = [(e.source, e.resource, e.quantity, e.occurred_at) for e in events]
    if how == "sum":
        return sum(quantity for *_, quantity, _ in rows)
    if how == "distinct":
        return len({resource for _, resource, quantity, _ in rows if quantity})
    slots: dict[datetime, dict[tuple[str, str], int]] = defaultdict(dict)
    for source, resource, quantity, moment in rows:
        slot = moment.replace(minute=moment.minute // 5 * 5, second=0, microsecond=0)
        slots[slot][source, resource] = max(quantity, slots[slot].get((source, resource), 0))
    sums = [sum(series.values()) for series in slots.values()]
    if how == "peak":
        return max(sums)
    return int((Decimal(sum(sums)) / 288).quantize(Decimal(1), ROUND_HALF_UP))


def main(first: int, last: int, day: date, now: datetime) -> None:
    """Settle an id range, one account after another."""
    for account_id in range(first, last + 1):
        settle_one(account_id, day, now)


if __name__ == "__main__":
    import django

    django.setup()
    begun = time.monotonic()
    main(int(sys.argv[1]), int(sys.argv[2]), date.fromisoformat(sys.argv[3]), datetime.fromisoformat(sys.argv[4]))
    print((int(sys.argv[2]) - int(sys.argv[1]) + 1) / (time.monotonic() - begun))  # noqa: T201
