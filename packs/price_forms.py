"""Forms for what the price list has no cell for yet: a pack type, a size of one, an item, a region."""

from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import MODES
from iss_billing.days import day_of, next_day
from packs.models import HOME_REGION, Aggregation, Item, PackType, Unit
from packs.price_checks import ProposalRefused, judge
from packs.price_sheet import FEN, MICRO, code_of_size, read_price
from packs.proposal_models import ProposedPrice

SIZE_UNITS = {
    "1": gettext_lazy("base units"),
    "1000": gettext_lazy("thousand"),
    "10000": gettext_lazy("ten thousand"),
    "1000000": gettext_lazy("million"),
    "1000000000": "GB",
    "1000000000000": "TB",
}


class _Judged(forms.Form):
    """A form that makes one cell, judged before it is proposed."""

    places = FEN

    def __init__(self, now: datetime, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.now = now

    def clean_price(self) -> int:
        """As an integer."""
        try:
            price = read_price(self.cleaned_data["price"], self.places)
        except ValueError as error:
            raise ValidationError(str(error)) from error
        if price is None:
            raise ValidationError(_("What is new needs a price."))
        return price

    def clean(self) -> dict[str, Any]:
        """Whether it could be published now."""
        data = super().clean() or {}
        if not self.errors:
            try:
                judge([self.cell()], self.now)
            except ProposalRefused as refusal:
                raise ValidationError(refusal.errors.get(0, str(refusal))) from refusal
        return data

    def cell(self) -> ProposedPrice:
        """The proposed price."""
        raise NotImplementedError


def _day_field(**more: Any) -> forms.DateField:
    return forms.DateField(
        label=gettext_lazy("from day"), widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"), **more
    )


class _Size(_Judged):
    """How large a pack is, what it costs and from when."""

    number = forms.CharField(label=gettext_lazy("size"), max_length=16, help_text=gettext_lazy("A whole number."))
    scale = forms.ChoiceField(label=gettext_lazy("of"), choices=list(SIZE_UNITS.items()), initial="10000")
    price = forms.CharField(label=gettext_lazy("price (CNY)"), max_length=20)
    day = _day_field(required=False, help_text=gettext_lazy("On sale at once where it is left empty."))
    reason = forms.CharField(label=gettext_lazy("reason"), max_length=500)

    def clean_number(self) -> int:
        """As an integer."""
        text = self.cleaned_data["number"].strip()
        if not text.isascii() or not text.isdigit():
            raise ValidationError(_("A whole number."))
        return int(text)

    def size_of(self, kind: PackType, described: dict[str, Any] | None) -> ProposedPrice:
        """The new SKU's price; `described` is the type's own where there is none yet."""
        data = self.cleaned_data
        quantity = data["number"] * int(data["scale"])
        new = {"pack_type": kind.code, "quantity": quantity} | ({"type": described} if described else {})
        code = code_of_size(kind, quantity)
        return ProposedPrice(code=code, price=data["price"], day=data["day"], reason=data["reason"], new=new)


class SizeForm(_Size):
    """A new size of a pack type."""

    pack_type = forms.ModelChoiceField(label=gettext_lazy("pack type"), queryset=PackType.objects.all())
    field_order = ("pack_type",)

    def cell(self) -> ProposedPrice:
        """The new SKU's price."""
        return self.size_of(self.cleaned_data["pack_type"], None)


class ItemsField(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]
    """Items by their names, and in which mode alone they are billed."""

    def label_from_instance(self, obj: Any) -> str:
        """The name and the code."""
        return f"{obj.name} ({obj.code})"


class TypeForm(_Size):
    """A new pack type, with its first size; others are added to it once it is there."""

    code = forms.CharField(
        label=gettext_lazy("code"), max_length=40, help_text=gettext_lazy("As in pet; the size's own is pet-100k.")
    )
    name_zh = forms.CharField(label=gettext_lazy("Chinese name"), max_length=120)
    name_en = forms.CharField(label=gettext_lazy("English name"), max_length=120)
    covers = ItemsField(
        label=gettext_lazy("covers"),
        queryset=Item.objects.filter(aggregation=Aggregation.SUM),
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy(
            "Items counted in one unit, whose day is a sum. Packs are for usage in cn-mainland; one that covers items "
            "of one billing mode is frozen in the other."
        ),
    )
    field_order = ("code", "name_zh", "name_en", "covers")

    def cell(self) -> ProposedPrice:
        """The first SKU's price, with what the type is."""
        data = self.cleaned_data
        items = list(data["covers"])
        described = {name: data[name].strip() for name in ("name_zh", "name_en")} | {
            "covers": [item.code for item in items]
        }
        return self.size_of(PackType(code=data["code"], unit=items[0].unit), described)


class ItemForm(_Judged):
    """A new item, or a price of one that there is in a new region, or for another number of units."""

    places = MICRO

    code = forms.CharField(label=gettext_lazy("item code"), max_length=40)
    region = forms.CharField(label=gettext_lazy("region"), max_length=40, initial=HOME_REGION)
    price = forms.CharField(label=gettext_lazy("price (CNY)"), max_length=20)
    per = forms.IntegerField(label=gettext_lazy("per base units"), min_value=1, initial=1000)
    day = _day_field(help_text=gettext_lazy("In force from 00:00 of this day, Asia/Shanghai."))
    reason = forms.CharField(label=gettext_lazy("reason"), max_length=500)
    name_zh = forms.CharField(label=gettext_lazy("Chinese name"), max_length=120, required=False)
    name_en = forms.CharField(label=gettext_lazy("English name"), max_length=120, required=False)
    unit = forms.ChoiceField(label=gettext_lazy("unit"), choices=[("", "—"), *Unit.choices], required=False)
    aggregation = forms.ChoiceField(
        label=gettext_lazy("aggregation"), choices=[("", "—"), *Aggregation.choices], required=False
    )
    requires_billing_mode = forms.ChoiceField(
        label=gettext_lazy("billed only in mode"), choices=[("", gettext_lazy("any")), *MODES], required=False
    )

    NEW = ("name_zh", "name_en", "unit", "aggregation", "requires_billing_mode")

    def __init__(self, now: datetime, *args: Any, **kwargs: Any) -> None:
        super().__init__(now, *args, **kwargs)
        self.fields["day"].initial = next_day(day_of(now))

    def cell(self) -> ProposedPrice:
        """The item's price; its description where there is no such item."""
        data = self.cleaned_data
        new = None
        if not Item.objects.filter(code=data["code"]).exists():
            new = {name: data[name] or None for name in self.NEW}
        return ProposedPrice(
            code=data["code"],
            region=data["region"],
            price=data["price"],
            per=data["per"],
            day=data["day"],
            reason=data["reason"],
            new=new,
        )
