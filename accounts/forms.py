"""Forms of the accounts: logins and their addresses, what customers are told, webhooks."""

import re
from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.forms import PasswordResetForm, SetPasswordForm
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from accounts.logins import ask_password, set_password
from accounts.models import Account, User
from accounts.notice_topics import CHOICES, chosen_of
from accounts.opening import one_line
from accounts.webhook_models import EventType
from accounts.webhooks import LONGEST_URL
from iss_billing.money import format_decimal, parse_decimal

_WEB_ADDRESS = re.compile(r"://|\bwww\.", re.IGNORECASE)


class NameForm(forms.Form):
    """What an account is called."""

    name = forms.CharField(
        label=_("Company or shop"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "organization"})
    )

    def clean_name(self) -> str:
        """In one line, and no web address: a stranger's name is mailed to whom the stranger names."""
        name = one_line(self.cleaned_data["name"])
        if not name or _WEB_ADDRESS.search(name):
            raise ValidationError(_("This is no name of a company or shop."))
        return name


class AddressForm(forms.Form):
    """An e-mail address; logins are kept in lower case."""

    email = forms.EmailField(
        label=_("E-mail address"), max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )

    def clean_email(self) -> str:
        """In lower case."""
        email: str = self.cleaned_data["email"]
        return email.lower()


class SignUpForm(AddressForm, NameForm):
    """An account to open, once the address is confirmed."""

    field_order = ("name", "email")


def _new_password() -> forms.CharField:
    return forms.CharField(
        label=_("Password"),
        strip=False,
        max_length=128,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_("At least 10 characters, not only digits."),
    )


class PasswordForm(forms.Form):
    """A password to choose; it must not be like the address."""

    password = _new_password()

    def __init__(self, email: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.email = email

    def clean_password(self) -> str:
        """By the password rules."""
        password: str = self.cleaned_data["password"]
        validate_password(password, User(email=self.email))
        return password


class OwnPasswordForm(forms.Form):
    """The login's present password, asked for before what matters is changed."""

    password = forms.CharField(
        label=_("Your password"),
        strip=False,
        max_length=128,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        self.user = cast("User", request.user)

    def clean_password(self) -> str:
        """It must be the login's; wrong ones are counted as at the sign-in."""
        password: str = self.cleaned_data["password"]
        found = authenticate(self.request, username=self.user.email, password=password)
        if found is None or found.pk != self.user.pk:
            raise ValidationError(_("This is not the password of the login."))
        return password


class ChangeEmailForm(OwnPasswordForm, AddressForm):
    """A new address for the login."""

    field_order = ("email", "password")

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self.fields["email"].label = _("New e-mail address")

    def clean_email(self) -> str:
        """Another than it has."""
        email = super().clean_email()
        if email == self.user.email:
            raise ValidationError(_("The login has this address already."))
        return email


class ChangePasswordForm(OwnPasswordForm):
    """A new password for the login."""

    new_password = _new_password()

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self.fields["new_password"].label = _("New password")

    def clean_new_password(self) -> str:
        """By the password rules."""
        password: str = self.cleaned_data["new_password"]
        validate_password(password, self.user)
        return password


class AskPasswordForm(PasswordResetForm):
    """Asks for the mail with a link to a new password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].label = _("E-mail address")  # as the other forms call it

    def save(self, **_: Any) -> None:  # type: ignore[override]  # how Django's own mail is made is no concern here
        """Write the letter, if there is a login with the address."""
        email = self.cleaned_data["email"].lower()
        ask_password(email=email, language=get_language() or settings.LANGUAGE_CODE, now=timezone.now())


class NewPasswordForm(SetPasswordForm):  # type: ignore[type-arg]  # its class takes none while the program runs
    """The new password, by way of the mail."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        first, again = self.fields["new_password1"], self.fields["new_password2"]
        first.label, first.help_text = _("New password"), _new_password().help_text  # in the words of the other forms
        again.label, again.help_text = _("The same again"), ""

    def save(self, commit: bool = True) -> User:
        """Set it."""
        user: User = self.user
        set_password(user, self.cleaned_data["new_password1"], timezone.now())
        return user


class WishesForm(forms.Form):
    """What the customer wants to be told, and how."""

    low_percent = forms.IntegerField(
        label=_("Packs: tell at this much remaining (%)"),
        min_value=0,
        max_value=99,
        help_text=_("20 is usual; 0 tells nothing before a pack is used up."),
    )
    low_balance = forms.CharField(
        label=_("Balance: tell below (CNY)"),
        required=False,
        max_length=16,
        widget=forms.TextInput(attrs={"inputmode": "decimal"}),
        help_text=_("Empty: never. Told once, and again after the balance has been above it."),
    )
    mailed = forms.MultipleChoiceField(
        label=_("Mailed"),
        required=False,
        choices=[(choice.code, choice.name) for choice in CHOICES],
        widget=forms.CheckboxSelectMultiple,
    )
    mails_bills = forms.BooleanField(label=_("Every bill, the morning after its day"), required=False)
    language = forms.ChoiceField(label=_("Language of mails and pages"), choices=settings.LANGUAGES)

    def clean_low_balance(self) -> int | None:
        """In fen."""
        text = self.cleaned_data["low_balance"].strip().replace(",", "")
        if not text:
            return None
        try:
            fen = parse_decimal(text, 2)
        except ValueError as error:
            raise ValidationError(_("An amount above 0 with at most 2 decimals, such as 500.")) from error
        if not 0 < fen <= 10**13:
            raise ValidationError(_("An amount above 0 with at most 2 decimals, such as 500."))
        return fen

    @staticmethod
    def of(account: Account) -> dict[str, Any]:
        """What the form begins with."""
        low = account.low_balance
        text = "" if low is None else format_decimal(low, 2).removesuffix(".00")
        return {
            "low_percent": account.low_percent,
            "low_balance": text,
            "mailed": chosen_of(account.muted),
            "mails_bills": account.mails_bills,
            "language": account.language,
        }


OF_PLATFORM = (EventType.ACCOUNT_OPENED, EventType.ACCOUNT_CLOSED, EventType.ACCOUNT_REOPENED)
"""An account cannot hear of its own opening, and has no endpoints once it is closed."""
OF_ONE_ACCOUNT = [choice for choice in EventType.choices if choice[0] not in OF_PLATFORM]


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
