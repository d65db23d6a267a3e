"""Indexes of 0012's columns, built while the product writes, and its constraint proved while it reads and writes.

Whoever migrated while 0012 still did both has them already: nothing is done twice.
"""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations, models


def concurrently(model: str, index: models.Index, columns: str) -> migrations.SeparateDatabaseAndState:
    """An index that is built without holding writers up, unless it is there."""
    return migrations.SeparateDatabaseAndState(
        state_operations=[migrations.AddIndex(model_name=model, index=index)],
        database_operations=[
            migrations.RunSQL(
                f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {index.name} ON accounts_{model} {columns}",
                f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}",
            )
        ],
    )


CLOSED = models.Index("closed_at", condition=models.Q(closed_at__isnull=False), name="account_closed")
OF_ACCOUNT = models.Index("account", "id", name="notice_of_account")
UNREAD = models.Index("account", condition=models.Q(read_at__isnull=True), name="notice_unread")


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("accounts", "0013_theme"),
    ]

    operations = [
        concurrently("account", CLOSED, "(closed_at) WHERE closed_at IS NOT NULL"),
        concurrently("notice", OF_ACCOUNT, "(account_id, id)"),
        concurrently("notice", UNREAD, "(account_id) WHERE read_at IS NULL"),
        ValidateConstraint("account", "account_low_balance_positive"),
    ]
