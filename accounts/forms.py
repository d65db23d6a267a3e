"""Forms of the accounts: signing up, adding a webhook."""

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.webhook_models import EventType
from accounts.webhooks import LONGEST_URL


class SignUpForm(forms.Form):
    """A new account with its login."""

    name = forms.CharField(label=_("Company or shop"), max_length=120)
    email = forms.EmailField(label=_("E-mail address"), max_length=254)
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        max_length=128,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_("At least 10 characters, not only digits."),
    )

    def clean_email(self) -> str:
        """Logins are kept in lower case."""
        email: str = self.cleaned_data["email"]
        return email.lower()

    def clean(self) -> None:
        """The password rules know the address, which must not be the password."""
        super().clean()
        if password := self.cleaned_data.get("password"):
            try:
                validate_password(password, User(email=self.cleaned_data.get("email", "")))
            except ValidationError as error:
                self.add_error("password", error)


OF_ONE_ACCOUNT = [choice for choice in EventType.choices if choice[0] != EventType.ACCOUNT_OPENED]
"""An account cannot hear of its own opening."""


class EndpointForm(forms.Form):
    """An address and what it is told of."""

    url = forms.CharField(
        label=_("Address"),
        max_length=LONGEST_URL,
        widget=forms.URLInput(attrs={"placeholder": "https://example.com/hooks", "autocomplete": "off"}),
        help_text=_("Messages are sent there as POST requests, over https, to the public internet only."),
    )
    events = forms.MultipleChoiceField(
        label=_("Events"),
        choices=OF_ONE_ACCOUNT,
        initial=[value for value, _label in OF_ONE_ACCOUNT],
        widget=forms.CheckboxSelectMultiple,
    )
