"""Forms of the accounts: signing up."""

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from accounts.models import User


class SignUpForm(forms.Form):
    """A new account with its login."""

    name = forms.CharField(label=_("Company or shop"), max_length=120)
    email = forms.EmailField(label=_("E-mail address"), max_length=254)
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        max_length=128,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_("At least 8 characters, not only digits."),
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
