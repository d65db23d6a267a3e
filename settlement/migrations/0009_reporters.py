"""Who reported usage when; a run may be for one account."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0008_audit_log"),
        ("settlement", "0008_retry_failure"),
    ]

    operations = [
        migrations.CreateModel(
            name="ReportedDay",
            fields=[
                ("day", models.DateField(primary_key=True, serialize=False, verbose_name="day")),
                ("looked_at", models.DateTimeField()),
                ("events", models.BigIntegerField()),
                ("accounts", models.PositiveIntegerField()),
                ("sources", models.PositiveIntegerField()),
            ],
        ),
        migrations.AlterModelOptions(
            name="usagerefusal",
            options={"verbose_name": "refused usage", "verbose_name_plural": "refused usage"},
        ),
        migrations.AddField(
            model_name="settlementrun",
            name="account",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="accounts.account",
                verbose_name="account",
            ),
        ),
        migrations.AlterField(
            model_name="alarm",
            name="kind",
            field=models.CharField(
                choices=[
                    ("failures", "account-days that failed"),
                    ("unbalanced", "a run that does not balance"),
                    ("standstill", "a night that stands still"),
                    ("silent", "usage that stopped coming"),
                ],
                max_length=20,
                verbose_name="kind",
            ),
        ),
        migrations.CreateModel(
            name="Reporter",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("source", models.CharField(blank=True, max_length=255, verbose_name="source")),
                ("last_day", models.DateField(verbose_name="last reported")),
                ("days", models.BigIntegerField()),
                ("told", models.BooleanField(default=False)),
                (
                    "account",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.account",
                        verbose_name="account",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("account", None)), fields=("source",), name="reporter_source_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("account", None), models.Q(("source", ""), _negated=True)),
                            models.Q(("account__isnull", False), ("source", "")),
                            _connector="OR",
                        ),
                        name="reporter_account_or_source",
                    ),
                ],
            },
        ),
    ]
