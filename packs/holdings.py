"""What an account holds, by pack type."""

from datetime import date
from typing import NamedTuple

from packs.models import Pack, PackStatus, PackType


class Holding(NamedTuple):
    """The packs of one type that still have units, in drawing order."""

    pack_type: PackType
    packs: list[Pack]
    frozen: bool

    @property
    def remaining(self) -> int:
        """Base units left in all of them."""
        return sum(pack.remaining for pack in self.packs)

    @property
    def total(self) -> int:
        """Base units that they were bought with."""
        return sum(pack.total for pack in self.packs)


def holdings(account_id: int, today: date, mode: str) -> list[Holding]:
    """What can be drawn from, in catalogue order, frozen types last (rules 3.3, 4.6)."""
    rows = Pack.objects.filter(account_id=account_id, refunded_at=None, remaining__gt=0, valid_until__gte=today)
    by_type: dict[PackType, list[Pack]] = {}
    for pack in (
        rows.select_related("pack_type", "sku")
        .prefetch_related("pack_type__covers")
        .order_by("pack_type__position", "id")
    ):
        by_type.setdefault(pack.pack_type, []).append(pack)
    found = [
        Holding(kind, packs, packs[0].status_on(today, mode) == PackStatus.FROZEN) for kind, packs in by_type.items()
    ]
    return sorted(found, key=lambda holding: holding.frozen)
