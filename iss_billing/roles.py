"""The roles of staff as Django groups: one mapping says what each may, and the groups follow it.

A line added here reaches the database with the next `migrate`, which brings the groups to the mapping when it is done
(`settlement.apps`), as Django does with the permissions themselves: so a permission whose model is made by a later
migration, or by another branch's, is never missed, and a test that empties the tables has its groups again.
Groups that are not named here are the operators' own and stay as they are. `*` stands for any letters.
"""

from fnmatch import fnmatchcase
from typing import Any, Final

from django.apps import apps as registry
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

SUPPORT, PRICING, FINANCE, ADMINISTRATOR = "support", "pricing", "finance", "administrator"

LOOK: Final = ("accounts.view_*", "packs.view_*", "settlement.view_*")
"""To see what is known of customers, prices and nights; logins (`view_user`) are part of it."""

ROLES: Final[dict[str, tuple[str, ...]]] = {
    # looks and helps, moves no money
    SUPPORT: (*LOOK, "accounts.help_account"),
    PRICING: (*LOOK, "accounts.read_books", "packs.propose_prices", "packs.publish_prices"),
    FINANCE: (
        *LOOK,
        "accounts.read_books",
        "accounts.help_account",
        "accounts.add_transfer",
        "packs.change_pack",
        "settlement.retry_failure",
        "settlement.change_closedaccount",
    ),
    # everything of ours, logins and roles too
    ADMINISTRATOR: ("accounts.*", "packs.*", "settlement.*", "auth.view_group"),
}
"""What each role may, as "app.codename"; one that does not exist (yet) is left out."""

NAMES: Final[dict[str, Promise]] = {
    SUPPORT: _("support"),
    PRICING: _("pricing"),
    FINANCE: _("finance"),
    ADMINISTRATOR: _("administrator"),
}


def apply(apps: Any) -> None:
    """Bring the groups to `ROLES`, out of the permissions there are; again changes nothing.

    `apps` is Django's registry, or a migration's.
    """
    group, permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    known = {
        f"{app}.{codename}": pk
        for pk, app, codename in permission.objects.values_list("pk", "content_type__app_label", "codename")
    }
    for role, allowed in ROLES.items():
        wanted = {pk for name, pk in known.items() if any(fnmatchcase(name, pattern) for pattern in allowed)}
        row, _made = group.objects.get_or_create(name=role)
        if wanted != set(row.permissions.values_list("pk", flat=True)):
            row.permissions.set(wanted)


def apply_after_migrate(**sent: Any) -> None:
    """What `migrate` calls when it is done, and `flush`, which names no registry."""
    apply(sent.get("apps", registry))
