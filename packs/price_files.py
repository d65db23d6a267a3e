"""Prices as files: the list in force as CSV or Excel, and a file that is read back as what differs (rules 5.5).

A row is one cell of the price list. The files are written and read by django-import-export's formats, within bounds:
what is uploaded is small, an Excel file is small unpacked too, and what is written is never taken for a formula.
What reads and writes Excel is imported by who needs it: every process would take a fifth longer to start.
"""

import zipfile
from datetime import date, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from tablib import Dataset, InvalidDimensions

from iss_billing.days import day_of, next_day, parse_day
from iss_billing.tables import neutral
from packs.models import Item, PackType, Sku
from packs.price_checks import ProposalRefused, judge
from packs.price_sheet import FEN, MICRO, price_text, read_price
from packs.proposal_models import ProposedPrice
from packs.tariff import sku_prices, tariff_on

COLUMNS = (
    *("kind", "code", "name", "region", "price", "per", "unit", "from", "reason"),
    *("type", "size", "name_zh", "name_en", "aggregation", "mode", "covers"),
)
"""Read are kind (`pack` or `item`), code, region, price (empty: not on sale), per, from and reason; of a code that is
not there yet also what describes it, which otherwise tells: the type and size of a pack, its type's names and what it
covers, an item's names, unit, aggregation and mode."""
PACK, ITEM = "pack", "item"
MOST_BYTES, MOST_UNPACKED = 2**20, 2**23
MOST_ROWS, MOST_COLUMNS, MOST_PARTS, MOST_FAULTS = 5_000, 40, 200, 20
TYPES = {"csv": "text/csv; charset=utf-8", "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}


def export(kind: str, now: datetime) -> HttpResponse:
    """The price list in force at `now` as `csv` or `xlsx`; another kind is not found."""
    from import_export.formats.base_formats import CSV, XLSX

    if kind not in TYPES:
        raise Http404
    rows = Dataset(headers=list(COLUMNS))
    for row in _in_force(now):
        rows.append([_for_file(head, value, kind) for head, value in zip(COLUMNS, row, strict=True)])
    body = XLSX().export_data(rows) if kind == "xlsx" else b"\xef\xbb\xbf" + CSV().export_data(rows).encode()
    name = f"prices-{day_of(now).isoformat()}.{kind}"
    return HttpResponse(
        body, content_type=TYPES[kind], headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


def _for_file(head: str, value: str, kind: str) -> Any:
    """Text, and in Excel numbers for what is a number."""
    return Decimal(value) if value and kind == "xlsx" and head in ("price", "per", "size") else neutral(value)


def _in_force(now: datetime) -> list[tuple[str, ...]]:
    prices, tariff = sku_prices(now), tariff_on(day_of(now))
    rows: list[tuple[str, ...]] = []
    for sku in Sku.objects.select_related("pack_type").prefetch_related("pack_type__covers"):
        kind = sku.pack_type
        price = price_text(prices.get(sku.pk), FEN)
        covers = " ".join(item.code for item in kind.covers.all())
        told = (kind.code, str(sku.quantity), kind.name_zh, kind.name_en, "", kind.requires_billing_mode or "", covers)
        rows.append((PACK, sku.code, f"{kind.name} {sku.quantity}", "", price, "", kind.unit, "", "", *told))
    items = {item.pk: item for item in Item.objects.all()}
    for (pk, region), found in sorted(tariff.items(), key=lambda entry: (items[entry[0][0]].position, entry[0][1])):
        item = items[pk]
        price = price_text(found.price, MICRO)
        told = ("", "", item.name_zh, item.name_en, item.aggregation, item.requires_billing_mode or "", "")
        rows.append((ITEM, item.code, item.name, region, price, str(found.per), item.unit, "", "", *told))
    return rows


class FileFaulty(Exception):
    """The file is not a price list, or too large; the message says where."""


def read(name: str, content: bytes) -> list[dict[str, str]]:
    """The rows of an uploaded file by column. Raises FileFaulty."""
    excel = content.startswith(b"PK\x03\x04")
    if excel != name.lower().endswith(".xlsx"):
        raise FileFaulty(_("Send a CSV file, or an Excel file of the kind .xlsx."))
    try:
        data = _excel(content) if excel else _csv(content)
    except FileFaulty:
        raise
    except Exception as error:  # the libraries raise whatever a broken file makes of them
        raise FileFaulty(_("The file cannot be read: it is damaged, or not what its name says.")) from error
    if not data or not 0 < len(data[0]) <= MOST_COLUMNS:
        raise FileFaulty(_("The file's first row names its columns: %(columns)s.") % {"columns": ", ".join(COLUMNS)})
    heads = [str(head).strip().lower() for head in data[0]]
    if missing := [head for head in ("kind", "code", "price") if head not in heads]:
        raise FileFaulty(_("The file has no column %(columns)s.") % {"columns": ", ".join(missing)})
    if len(data) - 1 > MOST_ROWS:
        raise FileFaulty(_("The file has more than %(most)s rows.") % {"most": f"{MOST_ROWS:,}"})
    rows = [[_text(value) for value in row] for row in data[1:]]
    return [dict(zip(heads, row, strict=False)) for row in rows if any(row)]


def _csv(content: bytes) -> list[list[Any]]:
    from import_export.formats.base_formats import CSV

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("gb18030")  # what Excel saves in China
    try:
        data = CSV().create_dataset(text)
    except InvalidDimensions as error:
        raise FileFaulty(_("A row has more cells than the first row names columns.")) from error
    return [data.headers or [], *data]


def _excel(content: bytes) -> list[list[Any]]:
    from openpyxl import load_workbook

    with zipfile.ZipFile(BytesIO(content)) as parts:
        # never more is unpacked than a part says it holds
        if len(parts.infolist()) > MOST_PARTS or sum(part.file_size for part in parts.infolist()) > MOST_UNPACKED:
            raise FileFaulty(_("The Excel file is too large when it is unpacked."))
    # read here and not by the format, which believes the size that a sheet claims: millions of rows that are not there
    sheet = load_workbook(BytesIO(content), read_only=True, data_only=True).worksheets[0]
    sheet.reset_dimensions()
    rows: list[list[Any]] = []
    for row in sheet.iter_rows(max_col=MOST_COLUMNS, values_only=True):
        if any(value is not None for value in row):
            rows.append(list(row))
        if len(rows) > MOST_ROWS + 1:
            break
    width = max((place for row in rows[:1] for place, value in enumerate(row, 1) if value is not None), default=0)
    return [row[:width] for row in rows]


def _whole(text: str) -> int:
    """A whole number of base units. Raises ValueError, with a sentence for the reader."""
    if not text.isascii() or not text.isdigit() or len(text) > 16:
        raise ValueError(_("“%(per)s” is not a whole number of base units.") % {"per": text[:40]})
    return int(text)


def _day(text: str) -> date:
    """A day of a row. Raises ValueError, with a sentence for the reader."""
    try:
        return parse_day(text)
    except ValueError as error:
        raise ValueError(_("“%(text)s” is not a day such as 2026-03-05.") % {"text": text[:40]}) from error


def _text(value: Any) -> str:
    """A value of a cell as it was typed; a number as its shortest decimal."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    text = repr(value) if isinstance(value, float) else str(value)
    text = text.strip()
    if isinstance(value, float) and text.endswith(".0"):
        text = text[:-2]
    return text[1:] if text.startswith("'") else text


class UploadForm(forms.Form):
    """A file of prices; `changes` are its cells that differ from what will be in force on their day."""

    file = forms.FileField(label=gettext_lazy("file"), help_text=gettext_lazy("CSV or .xlsx, at most 1 MB."))
    day = forms.DateField(
        label=gettext_lazy("from day"),
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        required=False,
        help_text=gettext_lazy(
            "For rows that name none. Left empty, packs change at once and pay-as-you-go prices tomorrow."
        ),
    )
    reason = forms.CharField(
        label=gettext_lazy("reason"), max_length=500, help_text=gettext_lazy("For rows that give none.")
    )

    def __init__(self, now: datetime, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.now = now
        self.changes: list[ProposedPrice] = []
        self.described: dict[str, dict[str, Any]] = {}
        """The new pack types of the file: only the first row of each must describe it."""

    def clean_file(self) -> list[dict[str, str]]:
        """Its rows."""
        upload = self.cleaned_data["file"]
        if upload.size > MOST_BYTES:
            raise ValidationError(_("The file is larger than 1 MB."))
        try:
            return read(upload.name, upload.read())
        except FileFaulty as fault:
            raise ValidationError(str(fault)) from fault

    def clean(self) -> dict[str, Any]:
        """Find what differs; every faulty row is named."""
        data = super().clean() or {}
        if self.errors:
            return data
        self.known = {PACK: set(Sku.objects.values_list("code", flat=True))}
        self.known[ITEM] = set(Item.objects.values_list("code", flat=True))
        self.types = set(PackType.objects.values_list("code", flat=True))
        lines: list[int] = []
        faults: dict[int, str] = {}
        for number, row in enumerate(data["file"], start=2):
            try:
                cell = self._cell(row, data)
            except ValueError as error:
                faults[number] = str(error)
                continue
            self.changes.append(cell)
            lines.append(number)
        faults |= self._judged(lines)
        self.changes = [cell for cell in self.changes if not _same(cell)]
        if faults:
            shown = sorted(faults.items())[:MOST_FAULTS]
            said = [_("Row %(number)s: %(fault)s") % {"number": number, "fault": fault} for number, fault in shown]
            raise ValidationError(said)
        return data

    def _cell(self, row: dict[str, str], data: dict[str, Any]) -> ProposedPrice:
        kind = row["kind"].lower()
        if kind not in (PACK, ITEM):
            raise ValueError(_("The kind is “pack” or “item”."))
        day = _day(row["from"]) if row.get("from") else data["day"]
        if kind == ITEM and day is None:
            day = next_day(day_of(self.now))
        per = _whole(row.get("per", "") or "0")
        value = read_price(row["price"], FEN if kind == PACK else MICRO)
        return ProposedPrice(
            code=row["code"][:60],
            region=(row.get("region") or "cn-mainland")[:40] if kind == ITEM else "",
            price=value,
            per=per if kind == ITEM and value is not None else 0,
            day=day,
            reason=(row.get("reason") or data["reason"])[:500],
            new=self._new(kind, row),
        )

    def _new(self, kind: str, row: dict[str, str]) -> dict[str, Any] | None:
        """What a code that is not there yet stands for; `judge` says whether it may. Raises ValueError."""
        if row["code"] in self.known[kind]:
            return None
        names = {name: row.get(name, "") for name in ("name_zh", "name_en")}
        if kind == ITEM and row.get("aggregation"):
            rest = {"unit": row.get("unit", ""), "aggregation": row["aggregation"]}
            return names | rest | {"requires_billing_mode": row.get("mode") or None}
        pack_type, size = row.get("type", ""), row.get("size", "")
        if kind == ITEM or not pack_type or not size:
            raise ValueError(_("There is no %(code)s in the catalogue.") % {"code": row["code"][:60]})
        new: dict[str, Any] = {"pack_type": pack_type, "quantity": _whole(size)}
        if pack_type not in self.types:
            described = names | {"covers": row.get("covers", "").split()}
            first = self.described.setdefault(pack_type, described)
            new["type"] = described if any(described.values()) else first
        return new

    def _judged(self, lines: list[int]) -> dict[int, str]:
        """What is wrong with which line; a row that is not on sale and stays so is no fault."""
        try:
            judge(self.changes, self.now)
        except ProposalRefused as refusal:
            if not refusal.errors and self.changes:
                return {lines[0]: str(refusal)}
            return {lines[place]: why for place, why in refusal.errors.items() if not _same(self.changes[place])}
        return {}


def _same(cell: ProposedPrice) -> bool:
    """Whether a cell changes nothing."""
    if cell.price is None:
        return cell.from_price is None and cell.new is None
    return (cell.price, cell.per) == (cell.from_price, cell.from_per)
