"""The price list as staff think of it: pack types by sizes, items by region; a form over all cells.

Only what was changed becomes a proposal's cell. An empty cell is not on sale: emptied, it is withdrawn; filled where
there was none, it is put on sale, or is a new size.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from iss_billing import formats
from iss_billing.days import day_of, next_day, start_of
from iss_billing.money import format_decimal, parse_decimal
from packs.models import HOME_REGION, Item, PackType, Sku, Unit
from packs.price_checks import ProposalRefused, judge
from packs.proposal_models import ProposedPrice
from packs.tariff import scheduled, sku_prices, tariff_on

FEN, MICRO = 2, 6
AT_ONCE, FROM_DAY = "now", "day"


def price_text(price: int | None, places: int) -> str:
    """A price as it stands in a cell: 250, 0.5; nothing where it is not sold."""
    if price is None:
        return ""
    return format_decimal(price, places).rstrip("0").rstrip(".")


@dataclass
class SheetCell:
    """A cell of the sheet: the field's name, what is in force at the sheet's day, and what is scheduled after it."""

    name: str
    label: str
    column: str
    code: str
    places: int
    region: str = ""
    price: int | None = None
    per: int = 0
    unit: str = ""
    new: dict[str, Any] | None = None
    coming: list[tuple[date, str]] = field(default_factory=list)
    bound: forms.BoundField | None = None

    @property
    def was(self) -> str:
        """What the field held when the page was made."""
        return price_text(self.price, self.places)

    @property
    def per_text(self) -> str:
        """What an item's price is for."""
        return formats.per_text(self.unit, self.per) if self.per else ""


SheetRow = tuple[PackType | Item, list[SheetCell]]


@dataclass
class SheetTable:
    """Rows of cells under columns: a pack type by sizes, or an item by regions."""

    title: str
    columns: list[str]
    rows: list[SheetRow]


class Sheet:
    """Every cell there is, at the prices of a day: at its beginning, or now where it is today."""

    def __init__(self, now: datetime, on: date) -> None:
        self.now, self.on = now, on
        moment = start_of(on) if on > day_of(now) else now
        self.prices, self.tariff = sku_prices(moment), tariff_on(on)
        self.coming: dict[tuple[str, int, str], list[tuple[date, str]]] = {}
        packs, items = scheduled(moment)
        for row in packs:
            shown = _("not on sale") if row.withdraws else price_text(row.price, FEN)
            self.coming.setdefault(("p", row.sku_id, ""), []).append((day_of(row.effective_at), shown))
        for line in items:
            shown = _("not on sale") if line.withdraws else price_text(line.price, MICRO)
            self.coming.setdefault(("t", line.item_id, line.region), []).append((line.effective_day, shown))
        self.tables = [*self._pack_tables(), self._tariff_table()]

    def cells(self) -> Iterable[SheetCell]:
        """All of them, in reading order."""
        return (cell for table in self.tables for _name, row in table.rows for cell in row)

    def _pack_tables(self) -> list[SheetTable]:
        skus: dict[tuple[int, int], Sku] = {}
        for sku in Sku.objects.order_by("-position"):
            skus[sku.pack_type_id, sku.quantity] = sku
        kinds = list(PackType.objects.all())
        tables = []
        for unit in dict.fromkeys(kind.unit for kind in kinds):
            alike = [kind for kind in kinds if kind.unit == unit]
            sizes = sorted({size for kind, size in skus if any(kind == one.pk for one in alike)})
            rows: list[SheetRow] = [(kind, self._packs_of(kind, sizes, skus)) for kind in alike]
            columns = [str(formats.size(size, unit)) for size in sizes]
            tables.append(SheetTable(_("Packs by %(unit)s, CNY each") % {"unit": Unit(unit).label}, columns, rows))
        return tables

    def _packs_of(self, kind: PackType, sizes: list[int], skus: dict[tuple[int, int], Sku]) -> list[SheetCell]:
        return [self._pack(kind, size, skus.get((kind.pk, size))) for size in sizes]

    def _pack(self, kind: PackType, size: int, sku: Sku | None) -> SheetCell:
        column = str(formats.size(size, kind.unit))
        label = f"{kind.short_name} {column}"
        if sku is None:
            new = {"pack_type": kind.code, "quantity": size}
            return SheetCell(f"n:{kind.code}:{size}", label, column, code_of_size(kind, size), FEN, new=new)
        coming = self.coming.get(("p", sku.pk, ""), [])
        return SheetCell(f"p:{sku.code}", label, column, sku.code, FEN, price=self.prices.get(sku.pk), coming=coming)

    def _tariff_table(self) -> SheetTable:
        opened = {region for _item, region in self.tariff} | {where for kind, _pk, where in self.coming if kind == "t"}
        regions = sorted(opened | {HOME_REGION}, key=lambda region: (region != HOME_REGION, region))
        rows: list[SheetRow] = [
            (item, [self._tariff_cell(item, region) for region in regions]) for item in Item.objects.all()
        ]
        return SheetTable(str(_("Pay-as-you-go")), regions, rows)

    def _tariff_cell(self, item: Item, region: str) -> SheetCell:
        found = self.tariff.get((item.pk, region))
        elsewhere = [price.per for (pk, _region), price in self.tariff.items() if pk == item.pk]
        per = found.per if found else (elsewhere or [PER.get(item.unit, 1)])[0]
        return SheetCell(
            f"t:{item.code}:{region}",
            f"{item.name} {region}",
            region,
            item.code,
            MICRO,
            region=region,
            price=found.price if found else None,
            per=per,
            unit=item.unit,
            coming=self.coming.get(("t", item.pk, region), []),
        )


PER = {"call": 1000, "byte": 10**9, "bit/s": 10**6, "channel": 1, "second": 60}
"""What an item of a unit is usually priced for."""


def code_of_size(kind: PackType, size: int) -> str:
    """The SKU of a pack type's size, as the launch catalogue names them: pet-100k, traffic-down-1tb."""
    if kind.unit == "byte":
        text = f"{size // 10**12}tb" if size % 10**12 == 0 else f"{size // 10**9}gb" if size % 10**9 == 0 else str(size)
    else:
        text = f"{size // 10**6}m" if size % 10**6 == 0 else f"{size // 1000}k" if size % 1000 == 0 else str(size)
    return f"{kind.code}-{text}"


class SheetForm(forms.Form):
    """The whole sheet; `cells()` are the changes once it is valid."""

    packs = forms.ChoiceField(
        label=gettext_lazy("pack prices"),
        choices=[(AT_ONCE, gettext_lazy("at once")), (FROM_DAY, gettext_lazy("from the day"))],
        widget=forms.RadioSelect,
        initial=AT_ONCE,
    )
    day = forms.DateField(
        label=gettext_lazy("from day"), widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    reason = forms.CharField(label=gettext_lazy("reason"), max_length=500)

    def __init__(self, sheet: Sheet, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sheet = sheet
        self.changes: list[ProposedPrice] = []
        self.fields["day"].initial = max(sheet.on, next_day(day_of(sheet.now)))
        if sheet.on > day_of(sheet.now):
            self.fields["packs"].initial = FROM_DAY
        for cell in sheet.cells():
            attrs = {"inputmode": "decimal", "autocomplete": "off", "aria-label": cell.label, "size": 8}
            if cell.price is None:
                attrs["placeholder"] = "—"
            widget = forms.TextInput(attrs=attrs)
            self.fields[cell.name] = forms.CharField(required=False, max_length=30, initial=cell.was, widget=widget)
        for cell in sheet.cells():
            cell.bound = self[cell.name]

    def clean(self) -> dict[str, Any]:
        """Find the changed cells, and refuse each that cannot be proposed at its place."""
        data = super().clean() or {}
        if not data.get("day") or not data.get("packs"):
            return data
        changed: list[SheetCell] = []
        for cell in self.sheet.cells():
            if cell.name in data and self._changed(cell, data[cell.name]):
                self._take(cell, data, changed)
        if "reason" in self.errors or (self.errors and not self.changes):
            return data
        try:
            judge(self.changes, self.sheet.now)
        except ProposalRefused as refusal:
            for place, why in refusal.errors.items():
                self.add_error(changed[place].name, why)
            if not refusal.errors:
                raise ValidationError(str(refusal)) from refusal
        return data

    def _changed(self, cell: SheetCell, entered: str) -> bool:
        try:
            before = self.data.get(f"was:{cell.name}", cell.was)
            return read_price(entered, cell.places) != read_price(before, cell.places)
        except ValueError:
            return True

    def _take(self, cell: SheetCell, data: dict[str, Any], changed: list[SheetCell]) -> None:
        if self.data.get(f"was:{cell.name}", cell.was) != cell.was:
            words = {"price": cell.was or _("not on sale")}
            self.add_error(cell.name, _("Changed meanwhile: it is %(price)s now.") % words)
            return
        try:
            price = read_price(data[cell.name], cell.places)
        except ValueError as error:
            self.add_error(cell.name, str(error))
            return
        at_once = not cell.region and data["packs"] == AT_ONCE
        self.changes.append(
            ProposedPrice(
                code=cell.code,
                region=cell.region,
                price=price,
                per=cell.per if price is not None else 0,
                day=None if at_once else data["day"],
                reason=data.get("reason", ""),
                new=cell.new,
            )
        )
        changed.append(cell)


def read_price(text: str, places: int) -> int | None:
    """What staff entered as a price, None where it is empty. Raises ValueError, with a sentence for the reader."""
    text = text.strip().replace(",", "")
    try:
        return parse_decimal(text, places) if text else None
    except ValueError as error:
        words = {"text": text[:40], "places": places}
        raise ValueError(
            _("“%(text)s” is no price: it is digits with at most %(places)s decimals, such as 12.50.") % words
        ) from error


def day_asked(text: str, now: datetime) -> date:
    """The day of `?on=`: today, or a coming one."""
    today = day_of(now)
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return today
    return min(max(day, today), today + timedelta(days=3660))
