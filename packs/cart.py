"""The cart of a browser session: SKU codes and how many; prices are looked up whenever it is shown."""

from collections.abc import Sequence
from typing import NamedTuple

from django.db.models import Q
from django.http import HttpRequest

from accounts.models import Account
from packs.models import Checkout, Sku
from packs.offers import Shelf
from packs.orders import MOST_LINES, MOST_PER_LINE, LineRequest

KEY = "cart"
EXPECTED = "expected order"


class CartLine(NamedTuple):
    """So many packs of a SKU at its present price in fen."""

    sku: Sku
    quantity: int
    price: int

    @property
    def amount(self) -> int:
        """Fen for all of them."""
        return self.quantity * self.price


class Cart(NamedTuple):
    """What would be bought, in the order it was chosen."""

    lines: list[CartLine]

    @property
    def total(self) -> int:
        """Fen."""
        return sum(line.amount for line in self.lines)

    @property
    def packs(self) -> int:
        """How many packs."""
        return sum(line.quantity for line in self.lines)


def quantities(request: HttpRequest) -> dict[str, int]:
    """The cart as the session keeps it."""
    return dict(request.session.get(KEY, {}))


def add(request: HttpRequest, code: str) -> None:
    """One more of a SKU, as far as an order may have it."""
    change(request, code, quantities(request).get(code, 0) + 1)


def change(request: HttpRequest, code: str, quantity: int) -> None:
    """So many of a SKU, as far as an order may have them; 0 takes it out."""
    chosen = quantities(request)
    if quantity > 0:
        if code not in chosen and len(chosen) >= MOST_LINES:
            return
        chosen[code] = min(quantity, MOST_PER_LINE)
    else:
        chosen.pop(code, None)
    request.session[KEY] = chosen


def clear(request: HttpRequest) -> None:
    """Empty it."""
    request.session.pop(KEY, None)


def clear_bought(request: HttpRequest, lines: Sequence[LineRequest]) -> None:
    """Empty it where it holds just what was bought; it may have changed in another window."""
    if {line.sku: line.quantity for line in lines} == quantities(request):
        clear(request)


def expect(request: HttpRequest, key: str, lines: Sequence[LineRequest]) -> None:
    """The cart waits for money: it is kept until the order with this key is placed, which no browser need see."""
    if {line.sku: line.quantity for line in lines} == quantities(request):
        request.session[EXPECTED] = [key, quantities(request)]


def waiting(request: HttpRequest, account: Account) -> Checkout | None:
    """The account's purchase that waits for money; what this browser's cart waited for and got leaves the cart."""
    key, held = request.session.get(EXPECTED, (None, None))
    wanted = Q(state=Checkout.State.WAITING) | Q(key=key)
    found = list(Checkout.objects.filter(wanted, account=account))
    if any(one.key == key and one.state == Checkout.State.BOUGHT for one in found):
        if held == quantities(request):
            clear(request)
        del request.session[EXPECTED]
    return next((one for one in found if one.waits), None)


def load(request: HttpRequest, shelf: Shelf) -> Cart:
    """The cart with the SKUs still on sale, at their prices."""
    on_sale = shelf.by_code()
    return Cart(
        [
            CartLine(on_sale[code], number, shelf.prices[on_sale[code].pk])
            for code, number in quantities(request).items()
            if code in on_sale
        ]
    )
