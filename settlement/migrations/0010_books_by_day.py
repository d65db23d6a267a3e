"""The ledger summed up by day."""

import django.db.models.deletion
import iss_billing.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("packs", "0005_payments"),
        ("settlement", "0009_reporters"),
    ]

    operations = [
        migrations.CreateModel(
            name="CountedDay",
            fields=[
                ("day", models.DateField(primary_key=True, serialize=False)),
                ("counted_at", models.DateTimeField()),
                ("last_transfer", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="BookDay",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("top_up", "top-up"),
                            ("purchase", "purchase"),
                            ("usage", "usage"),
                            ("refund", "refund"),
                            ("adjustment", "adjustment"),
                            ("withdrawal", "withdrawal"),
                            ("recognition", "recognition"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "debit",
                    models.CharField(
                        choices=[
                            ("balance", "customer balance"),
                            ("cash", "cash"),
                            ("deferred", "deferred revenue"),
                            ("pack_revenue", "pack revenue"),
                            ("usage_revenue", "usage revenue"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "credit",
                    models.CharField(
                        choices=[
                            ("balance", "customer balance"),
                            ("cash", "cash"),
                            ("deferred", "deferred revenue"),
                            ("pack_revenue", "pack revenue"),
                            ("usage_revenue", "usage revenue"),
                        ],
                        max_length=16,
                    ),
                ),
                ("amount", iss_billing.fields.WideIntegerField()),
                (
                    "pack_type",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="packs.packtype",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(models.F("day"), name="book_day")],
            },
        ),
    ]
