"""What staff do is kept, and never changed or deleted; the roles of staff are groups."""

import django.contrib.postgres.indexes
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from iss_billing import roles

FORWARDS = """
CREATE FUNCTION accounts_auditentry_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'an audit entry is never changed or deleted';
END $$;
CREATE TRIGGER accounts_auditentry_is_immutable BEFORE UPDATE OR DELETE ON accounts_auditentry
    FOR EACH ROW EXECUTE FUNCTION accounts_auditentry_is_immutable();
"""
BACKWARDS = """
DROP TRIGGER accounts_auditentry_is_immutable ON accounts_auditentry;
DROP FUNCTION accounts_auditentry_is_immutable();
"""


def make_roles(apps, schema_editor):
    """The groups, with the permissions there are already; `migrate` completes them in the end."""
    roles.apply(apps)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0007_payments"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="account",
            options={
                "permissions": [
                    ("help_account", "Can help a customer: send a message again, let a login in again"),
                    ("read_books", "Can read the reports of the books"),
                ],
                "verbose_name": "account",
                "verbose_name_plural": "accounts",
            },
        ),
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("time", models.DateTimeField(verbose_name="time")),
                ("who", models.CharField(blank=True, max_length=254, verbose_name="signed in as")),
                ("action", models.CharField(max_length=60, verbose_name="action")),
                ("subject", models.CharField(blank=True, max_length=60, verbose_name="object")),
                ("subject_id", models.CharField(blank=True, max_length=64, verbose_name="object's number")),
                ("label", models.CharField(blank=True, max_length=200, verbose_name="object as it was called")),
                ("reason", models.CharField(blank=True, max_length=500, verbose_name="reason")),
                ("data", models.JSONField(default=dict, verbose_name="details")),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="audit",
                        to="accounts.account",
                        verbose_name="account",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="made by",
                    ),
                ),
            ],
            options={
                "verbose_name": "audit entry",
                "verbose_name_plural": "audit log",
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(models.F("account"), models.F("id"), name="audit_of_account"),
                    models.Index(models.F("subject"), models.F("subject_id"), models.F("id"), name="audit_of_object"),
                    django.contrib.postgres.indexes.BrinIndex(models.F("time"), autosummarize=True, name="audit_time"),
                ],
            },
        ),
        migrations.RunSQL(FORWARDS, BACKWARDS),
        migrations.RunPython(make_roles, migrations.RunPython.noop),
    ]
