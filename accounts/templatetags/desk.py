"""What the admin's first page asks of the audit log."""

from django import template
from django.db.models import QuerySet

from accounts.models import AuditEntry, User

register = template.Library()


@register.simple_tag
def acts_of(user: User) -> QuerySet[AuditEntry]:
    """The last things that somebody did."""
    return AuditEntry.objects.filter(user=user).order_by("-pk")[:8]
