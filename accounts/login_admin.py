"""Staff: logins of staff and customers, their roles and their second factor."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import SetPasswordMixin, UserChangeForm, UserCreationForm
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters

from accounts import audit_log, logins, second_factor
from accounts.acting import Doing, ReasonForm, Refused, act_page, require
from accounts.models import Account, User
from iss_billing.roles import NAMES
from iss_billing.staff import KeptHistory

audit_log.WORDS |= {
    "login.make": gettext_lazy("made a login"),
    "login.change": gettext_lazy("changed a login"),
    "login.password": gettext_lazy("set a password"),
    "login.reset_second_factor": gettext_lazy("reset a second factor"),
}
KEPT = ("email", "is_active", "is_staff", "is_superuser")
RIGHTS = {"is_active", "is_staff", "groups", "is_superuser"}


class RolesField(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]
    """Roles by their names in the reader's language."""

    def label_from_instance(self, obj: Any) -> str:
        """A group that is no role of ours goes by its own name."""
        return str(NAMES.get(obj.name, obj.name))


class Login(ReasonForm):
    """What is asked about a login, new or not."""

    groups = RolesField(
        label=gettext_lazy("roles"),
        queryset=Group.objects.order_by("pk"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )

    def clean_email(self) -> str:
        """In lower case, as logins are kept and looked for."""
        return str(self.cleaned_data["email"]).lower()


class LoginForm(Login, UserChangeForm):  # type: ignore[type-arg]
    """A login, and why it is changed; nobody takes rights from himself, or gives himself any."""

    changed_by: Any = None

    def clean(self) -> dict[str, Any]:
        """Refuse one's own rights."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if self.instance == self.changed_by and RIGHTS & set(self.changed_data):
            raise ValidationError(_("Your own rights are changed by another administrator."))
        return data


class NewLoginForm(Login, UserCreationForm):  # type: ignore[type-arg]
    """A new login with its roles, and why it is made."""

    class Meta:
        model = User
        fields = ("email", "is_staff", "groups")


class PasswordForm(SetPasswordMixin, ReasonForm):  # type: ignore[type-arg]
    """A new password for somebody's login, and why."""

    password1, password2 = SetPasswordMixin.create_password_fields()
    user: Any = None
    field_order = ("password1", "password2", "reason")

    def clean(self) -> dict[str, Any]:
        """Twice the same, and not easily guessed."""
        self.validate_passwords()
        self.validate_password_for_user(self.user)
        return super().clean() or self.cleaned_data


@admin.register(User)
class LoginAdmin(KeptHistory, UserAdmin):  # type: ignore[type-arg]
    """Logins; nobody but a superuser touches a superuser, or makes one, and none is ever deleted."""

    change_form_template = "admin/accounts/user/change_form.html"
    actions = None
    form = LoginForm
    add_form = NewLoginForm
    add_form_template = "admin/change_form.html"
    list_display = ("email", "is_staff", "role_names", "is_active", "date_joined")
    list_filter = ("is_staff", "is_active", "groups")
    search_fields = ("email",)
    ordering = ("email",)
    filter_horizontal = ()
    readonly_fields = ("last_login", "date_joined", "is_superuser")
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        (gettext_lazy("rights"), {"fields": ("is_active", "is_staff", "groups", "is_superuser", "reason")}),
        (gettext_lazy("dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("email", "password1", "password2")}),
        (gettext_lazy("rights"), {"fields": ("is_staff", "groups", "reason")}),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        """With the roles."""
        return super().get_queryset(request).prefetch_related("groups")

    @admin.display(description=gettext_lazy("roles"))
    def role_names(self, user: User) -> str:
        """The groups."""
        return ", ".join(str(NAMES.get(group.name, group.name)) for group in user.groups.all()) or "–"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A superuser may make another."""
        fields = super().get_readonly_fields(request, obj)
        return [name for name in fields if name != "is_superuser"] if request.user.is_superuser else fields

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """The form, which knows who fills it in."""
        form = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (form,), {"changed_by": request.user})

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """An administrator does not change who is above."""
        above = obj is not None and obj.is_superuser and not request.user.is_superuser
        return not above and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: what a login did stays with its name; it is deactivated."""
        return False

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """The roles are saved with the login, and what changed is kept, in the transaction of the page."""
        super().save_related(request, form, formsets, change)
        user, now = form.instance, timezone.now()
        data: dict[str, Any] = {name: getattr(user, name) for name in KEPT}
        data["roles"] = sorted(user.groups.values_list("name", flat=True))
        data["changed"] = [name for name in form.changed_data if name != "reason"]
        entry = audit_log.record(
            "login.change" if change else "login.make",
            by=require(request, "accounts.change_user"),
            now=now,
            subject=user,
            account=Account.objects.filter(user=user).first(),
            reason=form.cleaned_data["reason"],
            data=data,
        )
        if change and "email" in form.changed_data:
            logins.readdressed(user, old=form.initial["email"], reference=f"staff:{entry.pk}", now=now)

    @method_decorator(sensitive_post_parameters())
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Set a password; what follows is what follows when its owner does (rules 8.1)."""
        require(request, "accounts.change_user")
        user = get_object_or_404(User, pk=int(id) if id.isdecimal() and len(id) < 19 else 0)
        if not self.has_change_permission(request, user):
            raise PermissionDenied

        def do(doing: Doing) -> str:
            logins.set_password(user, doing.data["password1"], doing.now)
            audit_log.record(
                "login.password",
                by=doing.by,
                now=doing.now,
                subject=user,
                account=Account.objects.filter(user=user).first(),
                reason=doing.reason,
            )
            if user.pk == doing.by.pk:
                update_session_auth_hash(request, user)
            return _("The password is set. All other sessions of the login are signed out.")

        return act_page(
            request,
            permission="accounts.change_user",
            original=user,
            title=_("Set the password"),
            form=type("SetPassword", (PasswordForm,), {"user": user}),
            facts=[(_("login"), user.email)],
            do=do,
            back=reverse("admin:accounts_user_change", args=[user.pk]),
        )

    def get_urls(self) -> list[URLPattern]:
        """With the acts."""
        acts = {"reset-second-factor": self.reset_second_factor}
        return [
            *(
                path(f"<int:pk>/{name}/", self.admin_site.admin_view(view), name=f"accounts_user_{name}")
                for name, view in acts.items()
            ),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With whether there is a second factor."""
        user = User.objects.filter(pk=int(object_id) if object_id.isdecimal() else 0).first()
        has = user is not None and second_factor.device_of(user) is not None
        return super().change_view(request, object_id, form_url, {"has_second_factor": has, **(extra_context or {})})

    def reset_second_factor(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Forget a colleague's telephone and paper; they set both up again when they sign in next."""
        by = require(request, "accounts.change_user")
        user = get_object_or_404(User, pk=pk)
        if not self.has_change_permission(request, user):
            raise PermissionDenied

        def do(doing: Doing) -> str:
            if user.pk == by.pk:
                raise Refused(_("Your own second factor is reset by another administrator."))
            if not second_factor.reset(user):
                raise Refused(_("This login has no second factor."))
            audit_log.record("login.reset_second_factor", by=doing.by, now=doing.now, subject=user, reason=doing.reason)
            return _("The second factor of %(login)s is reset.") % {"login": user.email}

        return act_page(
            request,
            permission="accounts.change_user",
            original=user,
            title=_("Reset the second factor"),
            facts=[(_("login"), user.email)],
            do=do,
            back=reverse("admin:accounts_user_change", args=[pk]),
            warning=_(
                "Make sure that it is the colleague who asks: with the password alone they will set up a new one."
            ),
        )
