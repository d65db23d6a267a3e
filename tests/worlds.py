"""What tests share: a small world of accounts, usage and nights, driven through the public writers."""

import itertools
import json
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from accounts.ledger import record_top_up
from accounts.models import Account, User
from accounts.opening import open_account
from iss_billing.days import parse_moment
from iss_billing.money import parse_decimal
from packs.models import Item, Order, Pack, Sku, SkuPrice, TariffPrice
from packs.orders import LineRequest, place_order
from packs.proposal_models import ProposedPrice
from packs.proposals import change_prices
from settlement.audit import audit
from settlement.events import decode_batch
from settlement.metering import Ingested, meter
from settlement.models import Bill, CertificateLine
from settlement.runs import RunResult, settle

_numbers = itertools.count(1)

TB, GB, MBPS = 10**12, 10**9, 10**6


def at(text: str) -> datetime:
    """A moment; without an offset it is Asia/Shanghai."""
    return parse_moment(text)


def yuan(text: str) -> int:
    """Fen of a decimal string, which may be negative."""
    return -parse_decimal(text[1:], 2) if text.startswith("-") else parse_decimal(text, 2)


def opened(name: str = "alice", on: str = "2026-03-01", balance: str | None = "100000") -> Account:
    """An account opened at the beginning of a day, with money on it."""
    account = open_account(name=name, now=at(f"{on}T00:00"))
    if balance:
        top_up(account, balance, f"{on}T00:00")
    return account


def top_up(account: Account, amount: str, when: str) -> None:
    """Money received."""
    reference = f"test-{next(_numbers)}"
    record_top_up(account_id=account.pk, amount=yuan(amount), reference=reference, now=at(when))


def buy(account: Account, sku: str, when: str, quantity: int = 1) -> list[Pack]:
    """Packs of one SKU bought at a moment, in drawing order."""
    order, _ = place_order(
        account_id=account.pk, lines=[LineRequest(sku, quantity)], key=f"test-{next(_numbers)}", now=at(when)
    )
    return packs_of(order)


def set_pack_price(*, sku: Sku, price: int, reason: str, now: datetime, made_by: User | None = None) -> SkuPrice:
    """A pack's price changed at once."""
    cell = ProposedPrice(code=sku.code, price=price)
    proposal = change_prices(cells=[cell], reason=reason, now=now, made_by=made_by)
    return SkuPrice.objects.get(proposal=proposal)


def set_tariff(
    *,
    item: Item,
    region: str,
    price: int,
    per: int,
    effective_day: date,
    reason: str,
    now: datetime,
    made_by: User | None = None,
) -> TariffPrice:
    """A tariff price changed from a coming day on."""
    cell = ProposedPrice(code=item.code, region=region, price=price, per=per, day=effective_day)
    proposal = change_prices(cells=[cell], reason=reason, now=now, made_by=made_by)
    return TariffPrice.objects.get(proposal=proposal)


def withdraw_from_sale(code: str, when: str) -> None:
    """A pack withdrawn from sale at once."""
    change_prices(cells=[ProposedPrice(code=code)], reason="test", now=at(when))


def packs_of(order: Order) -> list[Pack]:
    """An order's packs in drawing order."""
    return list(Pack.objects.filter(order_line__order=order).select_related("pack_type", "sku").order_by("pk"))


def event(
    account: Account | str,
    item: str,
    quantity: Any,
    when: str,
    id: str | None = None,
    source: str = "/edge/1",
    **data: Any,
) -> dict[str, Any]:
    """A usage event as a sender would write it; `quantity` None leaves it out."""
    subject = account if isinstance(account, str) else str(account.pk)
    moment = when if when.endswith("Z") or "+" in when[10:] or "-" in when[10:] else f"{when}+08:00"
    body = {"item": item} | ({} if quantity is None else {"quantity": quantity}) | data
    attributes = {"specversion": "1.0", "type": "iss.usage", "id": id or f"e{next(_numbers)}", "source": source}
    return attributes | {"subject": subject, "time": moment, "data": body}


def send(events: Iterable[dict[str, Any]], when: str) -> Ingested:
    """Report a batch of usage."""
    now = at(when)
    return meter(decode_batch(json.dumps(list(events)).encode()), now)


def use(account: Account, item: str, quantity: Any, when: str, **more: Any) -> None:
    """Report one use at the moment it occurs; it must be accepted."""
    received = more.pop("received", when)
    outcome = send([event(account, item, quantity, f"{when}:00" if len(when) == 16 else when, **more)], received)
    assert outcome.accepted == 1, outcome


def night(when: str) -> RunResult:
    """Settle at a moment; the run's certificate balances."""
    result = settle(now=at(when))
    assert result.balances is not False, list(CertificateLine.objects.filter(run=result.run_id, breaks__gt=0).values())
    return result


def bills_of(account: Account) -> list[Bill]:
    """An account's bills in the order of their settlement."""
    return list(Bill.objects.filter(account=account).order_by("pk"))


def bill_of(account: Account, day: str, sequence: int = 1) -> Bill:
    """One bill."""
    return Bill.objects.get(account=account, day=date.fromisoformat(day), sequence=sequence)


def assert_books() -> None:
    """Every equation of the books holds (rules 7.3)."""
    broken = [check for check in audit().checks if check.breaks]
    assert not broken, broken
