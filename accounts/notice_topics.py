"""What notices are about, for the inbox to sort by and for customers to say which of them are mailed."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.models import Notice

Type = Notice.Type
STANDING: Final = (Type.ARREARS, Type.SUSPENDED, Type.RESUMED, Type.RECLAIMED)
MONEY: Final = (*STANDING, Type.BALANCE_LOW, Type.BILL_READY)
"""What the address for bills hears of too."""


class Topic(NamedTuple):
    """Kinds of notices that belong together."""

    code: str
    name: Promise
    kinds: tuple[str, ...]


TOPICS: Final = (
    Topic("balance", _("Balance"), (*STANDING, Type.BALANCE_LOW)),
    Topic("packs", _("Packs"), (Type.PACK_LOW, Type.PACK_EXHAUSTED, Type.CHECKOUT)),
    Topic("bills", _("Bills"), (Type.BILL_READY,)),
)
OTHERS: Final = "account"
"""The topic of every kind that no other names: logins, keys, webhooks, prices."""


class Choice(NamedTuple):
    """Something whose mails a customer can turn off."""

    code: str
    name: Promise
    kinds: tuple[str, ...]


CHOICES: Final = (
    Choice("packs", _("Packs that run low or are used up"), (Type.PACK_LOW, Type.PACK_EXHAUSTED)),
    Choice("balance", _("A balance below the threshold"), (Type.BALANCE_LOW,)),
    Choice("purchases", _("What becomes of a purchase that waits for money"), (Type.CHECKOUT,)),
    Choice("webhooks", _("Webhooks that were turned off"), (Type.ENDPOINT_DISABLED,)),
)
"""All else is always mailed: arrears, suspension and release, prices, and what concerns the login's safety."""


def muted_by(chosen: Iterable[str]) -> list[str]:
    """The kinds that are not mailed where only the choices of these codes are."""
    wanted = set(chosen)
    return [str(kind) for choice in CHOICES if choice.code not in wanted for kind in choice.kinds]


def chosen_of(muted: Iterable[str]) -> list[str]:
    """The codes of the choices that are mailed, where these kinds are not."""
    silent = set(muted)
    return [choice.code for choice in CHOICES if not silent.issuperset(choice.kinds)]
