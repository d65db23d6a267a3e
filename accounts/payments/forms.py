"""How much to top up."""

from typing import Any
from uuid import uuid4

from django import forms
from django.urls import reverse_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.payments.models import LEAST, MOST
from iss_billing import formats
from iss_billing.money import parse_decimal

LIVE = {
    "hx-get": reverse_lazy("top-up"),
    "hx-trigger": "input changed delay:250ms",
    "hx-select": "#after",
    "hx-target": "#after",
    "hx-swap": "outerHTML",
    "hx-sync": "this:replace",
}
"""While one types, the balance afterwards follows."""


def bounds() -> str:
    """How much at once."""
    return _("From %(least)s to %(most)s at once.") % {"least": formats.money(LEAST), "most": formats.money(MOST)}


class TopUpForm(forms.Form):
    """An amount in CNY; the key makes a form sent twice one payment."""

    amount = forms.CharField(
        label=gettext_lazy("Amount (CNY)"),
        max_length=20,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off", **LIVE}),
    )
    key = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["key"].initial = uuid4
        self.fields["amount"].help_text = bounds()

    def clean_amount(self) -> int:
        """Fen, within the bounds of one payment; grouped digits are read too."""
        try:
            fen = parse_decimal(self.cleaned_data["amount"].replace(",", "").replace(" ", ""), 2)
        except ValueError:
            raise forms.ValidationError(_("An amount such as 500 or 12.50, at most two decimals.")) from None
        if not LEAST <= fen <= MOST:
            raise forms.ValidationError(bounds())
        return fen
