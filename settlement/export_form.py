"""The form that says what is exported, of which days, and how."""

from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from settlement.export_tables import TABLES

FORMATS = [("xlsx", _("Excel")), ("csv", "CSV")]
COLUMNS = [("words", _("in words")), ("codes", _("as codes for programs"))]


class ExportForm(forms.Form):
    """`?what=&from=&to=&format=&columns=`; a day left out leaves that end open."""

    CHOSEN: ClassVar = ("what", "from", "to")
    """What a link to the page may choose beforehand."""

    what = forms.ChoiceField(
        label=pgettext_lazy("export", "What"),
        choices=[(code, table.title) for code, table in TABLES.items()],
        widget=forms.RadioSelect,
    )
    format = forms.ChoiceField(label=_("Format"), choices=FORMATS, widget=forms.RadioSelect, required=False)
    columns = forms.ChoiceField(label=_("Headings"), choices=COLUMNS, widget=forms.RadioSelect, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # `from` is no name for a class attribute
        for name, label in (("from", pgettext_lazy("export", "From")), ("to", pgettext_lazy("export", "To"))):
            widget = forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"})
            self.fields[name] = forms.DateField(label=label, required=False, input_formats=["%Y-%m-%d"], widget=widget)
        self.order_fields(["what", "from", "to", "format", "columns"])

    def clean_format(self) -> str:
        """CSV where nothing is said."""
        return self.cleaned_data["format"] or "csv"

    def clean_columns(self) -> str:
        """Words where nothing is said."""
        return self.cleaned_data["columns"] or "words"

    def clean(self) -> None:
        """The range runs forward."""
        super().clean()
        first, last = self.cleaned_data.get("from"), self.cleaned_data.get("to")
        if first and last and first > last:
            self.add_error("to", ValidationError(_("The range ends before it begins.")))
