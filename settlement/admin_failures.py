"""Staff: what runs could not settle, and trying it again."""

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import audit_log
from accounts.acting import Doing, Done, Refused, act_page, require
from accounts.waking import wake
from iss_billing import formats
from iss_billing.staff import LookOnly
from settlement import runs
from settlement.metering import pending_days
from settlement.models import SettlementFailure
from settlement.tasks import hand_out

audit_log.WORDS["failure.retry"] = gettext_lazy("tried a failed day again")


@admin.register(SettlementFailure)
class SettlementFailureAdmin(LookOnly):
    """What runs could not settle."""

    change_form_template = "admin/settlement/settlementfailure/change_form.html"
    list_display = ("day", "account_link", "run_link", "error", "again")
    list_display_links = None
    search_fields = ("=account__id", "account__name", "error")
    ordering = ("-id",)
    fields = readonly_fields = ("day", "account", "run", "error")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """A run's page links here."""
        return lookup == "run__id__exact" or super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    def get_queryset(self, request: HttpRequest) -> QuerySet[SettlementFailure]:
        """With their accounts' names."""
        return SettlementFailure.objects.named().order_by(*self.ordering)

    @admin.display(description=gettext_lazy("account"))
    def account_link(self, failure: SettlementFailure) -> SafeString:
        """The account, one click away."""
        url = reverse("admin:accounts_account_change", args=[failure.account_id])
        return format_html('<a href="{}">{} {}</a>', url, failure.account_id, failure.account.name)

    @admin.display(description=gettext_lazy("settlement run"))
    def run_link(self, failure: SettlementFailure) -> SafeString:
        """The run."""
        url = reverse("admin:settlement_settlementrun_change", args=[failure.run_id])
        return format_html('<a href="{}">{}</a>', url, failure.run_id)

    @admin.display(description=gettext_lazy("retry"))
    def again(self, failure: SettlementFailure) -> SafeString:
        """To the failure's own page, where it can be tried again."""
        url = reverse("admin:settlement_settlementfailure_change", args=[failure.pk])
        return format_html('<a href="{}">{}</a>', url, _("Look"))

    def get_urls(self) -> list[URLPattern]:
        """With trying again."""
        retry = self.admin_site.admin_view(self.retry)
        return [path("<int:pk>/retry/", retry, name="settlement_settlementfailure_retry"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With whether it still waits."""
        failure = SettlementFailure.objects.filter(pk=int(object_id) if object_id.isdigit() else 0).first()
        waits = failure is not None and failure.day in pending_days(failure.account_id)
        return super().change_view(request, object_id, form_url, {"waits": waits, **(extra_context or {})})

    def retry(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Hand the account's days out again, the failed one first, as a run of its own."""
        require(request, "settlement.retry_failure")
        failure = get_object_or_404(SettlementFailure.objects.named(), pk=pk)
        days = pending_days(failure.account_id)

        def do(doing: Doing) -> Done:
            if failure.day not in pending_days(failure.account_id):
                raise Refused(_("This account-day has been settled since."))
            run = runs.begin(now=doing.now, account_id=failure.account_id)
            data = {"day": failure.day.isoformat(), "run": run.pk, "failed_in": failure.run_id}
            audit_log.record(
                "failure.retry", by=doing.by, now=doing.now, subject=failure, reason=doing.reason, data=data
            )
            transaction.on_commit(lambda: wake(hand_out, run.pk))
            said = _("Run %(run)s settles account %(account)s again.") % {"run": run.pk, "account": failure.account_id}
            return Done(said, reverse("admin:settlement_settlementrun_change", args=[run.pk]))

        return act_page(
            request,
            permission="settlement.retry_failure",
            original=failure,
            title=_("Settle again"),
            facts=[
                (_("account"), failure.account),
                (_("day"), formats.day(failure.day)),
                (_("error"), failure.error),
                (_("days that wait"), ", ".join(formats.day(day) for day in days[:10]) or "–"),
            ],
            do=do,
            back=reverse("admin:settlement_settlementrun_change", args=[failure.run_id]),
            warning="" if failure.day in days else _("This account-day has been settled since."),
        )
