"""What is kept of days whose usage events are gone; fixed-width columns first, for the rows to be narrow."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

import iss_billing.fields


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_names"),
        ("packs", "0003_names"),
        ("settlement", "0005_certificate"),
    ]

    operations = [
        migrations.CreateModel(
            name="ExpiredDay",
            fields=[
                ("day", models.DateField(primary_key=True, serialize=False)),
                ("expired_at", models.DateTimeField()),
                ("events", models.BigIntegerField()),
                ("bytes", models.BigIntegerField()),
                ("kept", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="DayUsage",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "account_id",
                        "day",
                        "item_id",
                        "region",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.account",
                        verbose_name="account",
                    ),
                ),
                ("day", models.DateField()),
                (
                    "item",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="packs.item"
                    ),
                ),
                ("region", models.CharField(max_length=40)),
                ("quantity", iss_billing.fields.WideIntegerField()),
                (
                    "slots",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=iss_billing.fields.WideIntegerField(null=True), null=True, size=None
                    ),
                ),
            ],
        ),
    ]
