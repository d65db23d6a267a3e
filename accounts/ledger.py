"""The only writer of money: locks an account, posts transfers, keeps balance and standing in step (rules 6, 7.1).

Whatever changes an account's money, packs, mode or bills first takes `lock_account`. Nothing else is locked.
"""

from collections.abc import Callable
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts import notices, standing
from accounts.account_events import payment_received
from accounts.models import MOVES, Account, Book, Kind, Payment, Transfer, User
from accounts.thresholds import fell_below

AFTER_TOP_UP: list[Callable[[int, datetime], None]] = []
"""What money received sets going in its own transaction, the account still locked: a waiting purchase completes.

Each is given the account's id and the clock, and raises nothing: whatever becomes of it, the money is credited.
"""


class AccountUnknown(Exception):
    """There is no account of that id."""


class AccountClosed(Exception):
    """The account is closed: it buys nothing, begins no payment and switches nothing."""


class ReferenceReused(Exception):
    """The reference was used before, for another account or another amount."""


def find_account(text: str) -> Account | None:
    """The account of an id as a person or a program writes it; None when there is none."""
    known = text.isascii() and text.isdigit() and len(text) < 19
    return Account.objects.filter(pk=int(text)).first() if known else None


def lock_account(account_id: int, *, and_usage: bool = False) -> Account:
    """The account, its row locked until the transaction ends. Raises AccountUnknown.

    FOR NO KEY UPDATE excludes every other writer but not the foreign-key checks of an ingest transaction, which
    may stay open across a whole run. With `and_usage` it excludes those too: what they have stored is seen.
    """
    account = Account.objects.select_for_update(no_key=not and_usage).filter(pk=account_id).first()
    if account is None:
        raise AccountUnknown(f"there is no account {account_id}")
    return account


def lock_open_account(account_id: int) -> Account:
    """The account, locked, if it is not closed. Raises AccountUnknown, AccountClosed."""
    account = lock_account(account_id)
    if account.closed_at is not None:
        raise AccountClosed("the account is closed")
    return account


def post(
    account: Account,
    *,
    kind: Kind,
    amount: int,
    reference: str,
    now: datetime,
    move: tuple[Book, Book] | None = None,
    reason: str = "",
    made_by: User | None = None,
) -> Transfer:
    """Post one transfer of `amount` fen (> 0) on a locked account and update its balance and standing.

    `move` names the books where the kind knows two ways. The customer is told of arrears, suspension and
    resumption in the same transaction (rules 6.1-6.3).
    """
    debit, credit = move or MOVES[kind][0]
    effect = amount * ((credit == Book.BALANCE) - (debit == Book.BALANCE))
    balance = account.balance + effect
    transfer = Transfer.objects.create(
        account=account,
        kind=kind,
        debit=debit,
        credit=credit,
        amount=amount,
        time=now,
        reference=reference,
        balance_after=balance if effect else None,
        reason=reason,
        made_by=made_by,
    )
    if effect:
        change = standing.after_posting(account.balance, balance, account.arrears_since, account.announced, now)
        low = fell_below(account.balance, balance, account.low_balance)
        account.balance, account.arrears_since, account.announced = balance, change.arrears_since, change.announced
        account.save(update_fields=["balance", "arrears_since", "announced"])
        notices.announce_standing({account.pk: change.news}, {account.pk: balance}, now)
        if low:
            threshold = account.low_balance or 0
            notices.announce_low_balances(
                [notices.LowBalance(account.pk, balance, threshold, f"transfer:{transfer.pk}")], now
            )
    if kind == Kind.TOP_UP:
        payment_received(transfer, now)
    return transfer


def record_top_up(
    *, account_id: int, amount: int, reference: str, now: datetime, reason: str = "", made_by: User | None = None
) -> Transfer:
    """Record `amount` fen received; the same reference, account and amount again is the same top-up.

    A payment through the gateway has one reference, `payment:NUMBER`, whoever records it: by its bare number it would
    be credited twice. Raises AccountUnknown, ReferenceReused.
    """
    of_gateway = Q(number=reference) | Q(gateway_reference=reference)
    if not reference.startswith("payment:") and Payment.objects.filter(of_gateway).exists():
        raise ReferenceReused(
            f"{reference} is a payment through the gateway, credited by itself once the gateway confirms it; "
            "by hand its reference is payment:NUMBER"
        )
    try:
        with transaction.atomic():
            account = lock_account(account_id)
            known = Transfer.objects.filter(kind=Kind.TOP_UP, reference=reference).first()
            if known is None:
                transfer = post(
                    account,
                    kind=Kind.TOP_UP,
                    amount=amount,
                    reference=reference,
                    now=now,
                    reason=reason,
                    made_by=made_by,
                )
                for act in AFTER_TOP_UP:
                    act(account_id, now)
                return transfer
    except IntegrityError:
        # the same reference committed meanwhile, for another account: ours is rolled back whole
        known = Transfer.objects.filter(kind=Kind.TOP_UP, reference=reference).first()
        if known is None:
            raise
    if (known.account_id, known.amount) != (account_id, amount):
        raise ReferenceReused(f"reference {reference} was used before, for another account or another amount")
    return known


def record_adjustment(
    *, account_id: int, amount: int, reason: str, reference: str, now: datetime, made_by: User | None = None
) -> Transfer:
    """Correct a balance by `amount` fen (not 0; above 0 in the customer's favour), against usage revenue (rules 4.7).

    The same reference again is the same adjustment. Raises AccountUnknown, ReferenceReused.
    """
    move = (Book.USAGE_REVENUE, Book.BALANCE) if amount > 0 else (Book.BALANCE, Book.USAGE_REVENUE)
    with transaction.atomic():
        account = lock_account(account_id)
        known = Transfer.objects.filter(kind=Kind.ADJUSTMENT, reference=reference).first()
        if known is None:
            return post(
                account,
                kind=Kind.ADJUSTMENT,
                amount=abs(amount),
                reference=reference,
                now=now,
                move=move,
                reason=reason,
                made_by=made_by,
            )
    if (known.account_id, known.signed_amount) != (account_id, amount):
        raise ReferenceReused(f"adjustment {reference} was recorded before, for another account or another amount")
    return known
