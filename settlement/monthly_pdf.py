"""A month's statement as PDF, A4, in the active language: the console's figures on paper."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import CondPageBreak, Flowable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from accounts.models import Account
from iss_billing import formats
from iss_billing.days import day_of
from settlement.monthly import Month, PackMovement

FONT = "NotoSansSC"
INK, INK_2, LINE, ACCENT = HexColor("#1a1e1d"), HexColor("#505755"), HexColor("#e4e1da"), HexColor("#0b6b63")
MARGIN = 20 * mm
FRAME = 6
"""What reportlab keeps free inside a page's margins, in points."""
WIDTH = A4[0] - 2 * MARGIN

Row = Sequence[str | Paragraph]


@cache
def _register_font() -> None:
    """Once a process: the file holds every character that GBK has."""
    pdfmetrics.registerFont(TTFont(FONT, str(Path(__file__).parent / "fonts" / "NotoSansSC-Regular.ttf")))


def _style(size: float, color: HexColor = INK, **more: Any) -> ParagraphStyle:
    leading = size * (1.3 if size > 11 else 1.55)
    return ParagraphStyle(f"{size}", fontName=FONT, fontSize=size, leading=leading, textColor=color, **more)


TITLE, FIGURE, SECTION = _style(22), _style(17), _style(12.5, spaceBefore=14, spaceAfter=5)
TEXT, NOTE = _style(9, wordWrap="CJK"), _style(8, INK_2, wordWrap="CJK")
LATIN_TEXT, LATIN_NOTE = _style(9), _style(8, INK_2)


def monthly_pdf(account: Account, month: Month, now: datetime) -> bytes:
    """The statement; one page a month of few bills, more as it takes, each with its number."""
    _register_font()
    into = BytesIO()
    title = " · ".join([_("Monthly statement"), formats.month(month.first)])
    document = SimpleDocTemplate(
        into,
        pagesize=A4,
        leftMargin=MARGIN - FRAME,
        rightMargin=MARGIN - FRAME,
        topMargin=18 * mm,
        bottomMargin=20 * mm,
        title=title,
        author=_("ISS Billing"),
        subject=account.name,
        lang="zh-Hans" if formats.chinese() else "en",
    )
    foot = " · ".join([_whose(account), formats.month(month.first)])
    story = [*_head(account, month, now), *_movements(month), *_items(month), *_packs(month), *_bills(month)]
    document.build(story, canvasmaker=_numbered(foot))
    return into.getvalue()


def _numbered(foot: str) -> Callable[..., Canvas]:
    """A canvas that knows how many pages there are before it writes the first one's number."""

    class Numbered(Canvas):  # type: ignore[misc]
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self._pages: list[dict[str, Any]] = []

        def showPage(self) -> None:
            self._pages.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, page in enumerate(self._pages, start=1):
                self.__dict__.update(page)
                self.setFont(FONT, 8)
                self.setFillColor(INK_2)
                self.drawString(MARGIN, 11 * mm, foot)
                words = _("Page %(number)s of %(all)s") % {"number": number, "all": len(self._pages)}
                self.drawRightString(A4[0] - MARGIN, 11 * mm, words)
                super().showPage()
            super().save()

    return Numbered


def _text(words: str, style: ParagraphStyle | None = None) -> Paragraph:
    """Words that may break: between any two Chinese characters, in English between words."""
    default = TEXT if formats.chinese() else LATIN_TEXT
    return Paragraph(escape(words), style or default)


def _note(words: str) -> Paragraph:
    return _text(words, NOTE if formats.chinese() else LATIN_NOTE)


def _table(heading: Row, rows: Sequence[Row], widths: Sequence[float], *, total: bool = False) -> Table:
    """Names left, figures right, hairlines between rows only, the total under a line of ink."""
    names = sum(1 for width in widths if width < 0)
    table = Table([heading, *rows], colWidths=[abs(width) * WIDTH for width in widths], repeatRows=1)
    style: list[tuple[Any, ...]] = [
        ("FONT", (0, 0), (-1, -1), FONT, 9, 13),
        ("FONT", (0, 0), (-1, 0), FONT, 8, 11),
        ("TEXTCOLOR", (0, 0), (-1, -1), INK),
        ("TEXTCOLOR", (0, 0), (-1, 0), INK_2),
        ("ALIGN", (names, 0), (-1, -1), "RIGHT"),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LINEBELOW", (0, 0), (-1, -2 if total else -1), 0.5, LINE),
        ("TOPPADDING", (0, 0), (-1, -1), 3),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
        ("LEFTPADDING", (0, 0), (0, -1), 0),
        ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
    ]
    if total:
        style.append(("LINEABOVE", (0, -1), (-1, -1), 0.8, INK))
    table.setStyle(TableStyle(style))
    return table


def _section(title: str, *content: Flowable) -> list[Flowable]:
    """A heading, never at the foot of a page without what it heads."""
    return [CondPageBreak(40 * mm), _text(title, SECTION), *content]


def _whose(account: Account) -> str:
    return _("%(name)s · Account %(number)s") % {"name": account.name, "number": account.pk}


def _head(account: Account, month: Month, now: datetime) -> list[Flowable]:
    name = escape(_("ISS Billing"))
    brand = Paragraph(f'<font color="#0b6b63">●</font> {name}', _style(9, INK_2))
    who = _whose(account)
    last = day_of(month.until - timedelta(microseconds=1))
    if month.over:
        span = f"{formats.day(month.first)} – {formats.day(last)}"
    else:
        runs = _("%(moment)s, the month still runs") % {"moment": formats.moment(month.until, now)}
        span = f"{formats.day(month.first)} – {runs}"
    figures = Table(
        [
            [_note(_("Balance at the beginning")), _note(_("Balance at the end") if month.over else _("Balance now"))],
            [_text(str(formats.money(month.opening)), FIGURE), _text(str(formats.money(month.closing)), FIGURE)],
        ],
        colWidths=[WIDTH / 2, WIDTH / 2],
    )
    figures.setStyle(TableStyle([("LEFTPADDING", (0, 0), (-1, -1), 0), ("TOPPADDING", (0, 0), (-1, -1), 1)]))
    title = _text("  ".join([_("Monthly statement"), formats.month(month.first)]), TITLE)
    return [brand, Spacer(0, 10), title, Spacer(0, 4), _text(who), _note(span), Spacer(0, 12), figures]


def _movements(month: Month) -> list[Flowable]:
    rows: list[Row] = [[_("Balance at the beginning"), "", str(formats.money(month.opening))]]
    for movement in month.movements:
        amount = str(formats.money(movement.amount, signed=True))
        rows.append([str(movement.kind.label), f"{movement.number:,}", amount])
    closing = _("Balance at the end") if month.over else _("Balance now")
    rows.append([closing, "", str(formats.money(month.closing))])
    heading = [_("What moved the balance"), _("Transfers"), _("Amount")]
    return _section(_("Balance"), _table(heading, rows, (-0.5, 0.2, 0.3), total=True), *_bridge(month))


def _bridge(month: Month) -> list[Flowable]:
    """Why usage by posting is not the bills by day, where it is not."""
    usage = month.usage
    if not usage.later and not usage.earlier:
        return []
    words = {
        "days": formats.money(usage.of_days),
        "later": formats.money(usage.later),
        "earlier": formats.money(usage.earlier),
        "posted": formats.money(usage.posted),
    }
    return [
        Spacer(0, 5),
        _note(
            _(
                "A day is billed in the night after it. Bills of this month's days %(days)s − posted after the month "
                "%(later)s + posted in it for earlier days %(earlier)s = usage taken from the balance %(posted)s."
            )
            % words
        ),
    ]


def _items(month: Month) -> list[Flowable]:
    if not month.items:
        return []
    rows: list[Row] = [
        [
            _text(total.item.name),
            str(formats.quantity(total.quantity, total.item.unit)),
            str(formats.quantity(total.drawn, total.item.unit)) if total.drawn else "",
            str(formats.quantity(total.charged, total.item.unit)) if total.charged else "",
            str(formats.exact_money(total.amount)),
        ]
        for total in month.items
    ]
    rated = sum(total.amount for total in month.items)
    rows.append([_("Sum of lines"), "", "", "", str(formats.exact_money(rated))])
    heading = [_("Item"), _("Usage"), _("Drawn"), _("Charged"), _("Amount")]
    table = _table(heading, rows, (-0.26, 0.2, 0.18, 0.18, 0.18), total=True)
    note = _("By the days of use. Daily peaks, means and channels are added up over the days.")
    return _section(_("Usage by item"), table, Spacer(0, 5), _note(note))


def _packs(month: Month) -> list[Flowable]:
    if not month.packs:
        return []
    names = {"bought": _("Bought"), "refunded": _("Refunded"), "drawn": _("Drawn")}
    rows = [_pack_row(one, names[one.what]) for one in month.packs]
    heading = ["", _("Type"), _("Number of packs"), _("Quantity"), _("Amount")]
    return _section(_("Resource packs"), _table(heading, rows, (-0.12, -0.32, 0.16, 0.22, 0.18)))


def _pack_row(one: PackMovement, what: str) -> Row:
    size = f" {formats.size(one.size, one.kind.unit)}" if one.size else ""
    amount = "" if one.amount is None else str(formats.money(one.amount, signed=True))
    quantity = str(formats.quantity(one.quantity, one.kind.unit))
    return [what, _text(f"{one.kind.short_name}{size}"), f"{one.number:,}", quantity, amount]


def _bills(month: Month) -> list[Flowable]:
    if not month.bills:
        return _section(_("Bills by day"), _note(_("No bill in this month.")))
    rows: list[Row] = []
    for bill in month.bills:
        day = formats.day_and_weekday(bill.day, month.first)
        if bill.sequence > 1:
            day += " · " + _("supplementary bill, number %(number)s") % {"number": bill.sequence}
        amounts = (formats.exact_money(bill.rated_total), formats.exact_money(bill.carry_out))
        rows.append([_text(day), str(bill.pk), *map(str, amounts), str(formats.money(bill.amount_due))])
    rated = sum(bill.rated_total for bill in month.bills)
    due = str(formats.money(month.usage.of_days))
    rows.append([_("This month"), "", str(formats.exact_money(rated)), "", due])
    heading = [_("Day"), _("Bill"), _("Sum of lines"), _("Carry out"), _("Amount due")]
    return _section(_("Bills by day"), _table(heading, rows, (-0.36, 0.12, 0.2, 0.16, 0.16), total=True))
