"""Staff's page of the audit log: who did what, when and why; nobody edits it."""

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from accounts import audit_log
from accounts.models import AuditEntry
from iss_billing.staff import LookOnly


class ActionFilter(admin.SimpleListFilter):
    """By what was done."""

    title = gettext_lazy("action")
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Every action there is."""
        return sorted(audit_log.WORDS.items(), key=lambda pair: str(pair[1]))

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """The entries of one."""
        return queryset.filter(action=self.value()) if self.value() else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(LookOnly):
    """What staff did."""

    list_display = ("time", "who_did", "did", "object", "account", "reason")
    list_display_links = ("time", "did")
    list_filter = (ActionFilter, "time")
    search_fields = ("who", "=account__id", "account__name", "=subject_id", "label", "reason")
    list_select_related = ("account", "user")
    ordering = ("-id",)
    show_full_result_count = False
    fields = readonly_fields = ("time", "who_did", "did", "object", "account", "reason", "details")

    @admin.display(description=gettext_lazy("made by"), ordering="who")
    def who_did(self, entry: AuditEntry) -> str:
        """The login's address then."""
        return entry.who or str(gettext_lazy("the program"))

    @admin.display(description=gettext_lazy("action"), ordering="action")
    def did(self, entry: AuditEntry) -> str:
        """In words."""
        return audit_log.word(entry.action)

    @admin.display(description=gettext_lazy("object"))
    def object(self, entry: AuditEntry) -> str:
        """What it was done to, one click away where it has a page."""
        label = entry.label or entry.subject_id or "–"
        try:
            url = reverse(f"admin:{entry.subject.replace('.', '_')}_change", args=[entry.subject_id])
        except NoReverseMatch:
            return label
        return format_html('<a href="{}">{}</a>', url, label)

    @admin.display(description=gettext_lazy("details"))
    def details(self, entry: AuditEntry) -> SafeString:
        """The data that was kept with it."""
        return format_html("<pre>{}</pre>", json.dumps(entry.data, ensure_ascii=False, indent=1, sort_keys=True))
