"""Staff: the ledger, payments, messages and webhooks to look at; logins."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.models import Group
from django.utils.translation import gettext_lazy
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import account_admin as account_admin  # these register their pages
from accounts import audit_admin as audit_admin
from accounts import key_admin as key_admin
from accounts import login_admin as login_admin
from accounts import login_help as login_help
from accounts import second_factor_views as second_factor_views
from accounts.models import Account, Notice, Payment, Transfer
from accounts.webhook_models import Attempt, Delivery, Endpoint
from iss_billing import formats
from iss_billing.roles import NAMES
from iss_billing.staff import LookOnly, LookOnlyInline

admin.site.site_header = admin.site.site_title = gettext_lazy("ISS Billing")
admin.site.index_title = gettext_lazy("Administration")


@admin.register(Transfer)
class TransferAdmin(LookOnly):
    """The ledger."""

    list_display = ("id", "time", "account", "kind", "debit", "credit", "money", "reference", "made_by")
    list_filter = ("kind",)
    search_fields = ("=id", "reference", "account__name", "=account__id")
    list_select_related = ("account", "made_by")
    ordering = ("-id",)

    @admin.display(description=gettext_lazy("amount"))
    def money(self, transfer: Transfer) -> str:
        """In whole fen, always positive."""
        return str(formats.money(transfer.amount))


@admin.register(Payment)
class PaymentAdmin(LookOnly):
    """Payments through a gateway, and what went wrong with them."""

    list_display = ("number", "account", "money", "state", "gateway", "started_at", "ended_at", "queries", "trouble")
    list_filter = ("state", "gateway", ("trouble", admin.EmptyFieldListFilter))
    search_fields = ("=number", "=gateway_reference", "account__name", "=account__id")
    list_select_related = ("account",)
    ordering = ("-id",)

    @admin.display(description=gettext_lazy("amount"), ordering="amount")
    def money(self, payment: Payment) -> str:
        """In whole fen."""
        return str(formats.money(payment.amount))


@admin.register(Notice)
class NoticeAdmin(LookOnly):
    """Notices, and whether they were told."""

    change_form_template = "admin/accounts/notice/change_form.html"

    list_display = ("id", "account", "kind", "created_at", "sent_at", "attempts", "last_error")
    list_filter = ("kind",)
    search_fields = ("account__name", "=account__id")
    list_select_related = ("account",)
    ordering = ("-id",)


class AttemptInline(LookOnlyInline):
    """How the attempts of a delivery went."""

    model = Attempt
    fields = readonly_fields = ("time", "status", "milliseconds", "error", "answer")
    ordering = ("id",)


@admin.register(Delivery)
class DeliveryAdmin(LookOnly):
    """What endpoints were sent."""

    inlines = (AttemptInline,)
    list_display = ("id", "endpoint", "account", "type", "created_at", "status", "next_attempt_at", "delivered_at")
    list_filter = (
        "type",
        ("next_attempt_at", admin.EmptyFieldListFilter),
        ("delivered_at", admin.EmptyFieldListFilter),
    )
    search_fields = ("=id", "=endpoint__id", "=endpoint__account__id", "message")
    list_select_related = ("endpoint__account",)
    ordering = ("-id",)
    show_full_result_count = False

    @admin.display(description=gettext_lazy("account"))
    def account(self, delivery: Delivery) -> Account | None:
        """None for the platform's."""
        return delivery.endpoint.account

    @admin.display(description=gettext_lazy("state"))
    def status(self, delivery: Delivery) -> str:
        """What has become of it."""
        return str(delivery.status.label)


@admin.register(Endpoint)
class EndpointAdmin(LookOnly):
    """Webhook endpoints, without their secrets."""

    list_display = ("id", "account", "url", "created_at", "failing_since", "disabled_at", "deleted_at")
    list_filter = (
        ("account", admin.EmptyFieldListFilter),
        ("disabled_at", admin.EmptyFieldListFilter),
        ("deleted_at", admin.EmptyFieldListFilter),
    )
    search_fields = ("=id", "=account__id", "account__name", "url")
    list_select_related = ("account",)
    ordering = ("-id",)


class RoleAdmin(LookOnly, GroupAdmin):
    """The roles of staff, to look at: what each may stands in `iss_billing.roles`, and reaches here by `migrate`."""

    list_display = ("name", "role")

    @admin.display(description=gettext_lazy("role"))
    def role(self, group: Group) -> str:
        """In the reader's language; a dash for a group of the operators' own."""
        return str(NAMES.get(group.name, "–"))


admin.site.unregister(Group)
admin.site.register(Group, RoleAdmin)
# their secrets are nobody's to read; they are reset on the login's page
for device in (TOTPDevice, StaticDevice):
    admin.site.unregister(device)
