"""Letters; thresholds and mails as customers want them; where a notice was mailed to; closed accounts.

Indexes of tables that there were, and the proof of the constraint, come in 0014: nothing here waits for rows.
"""

import django.contrib.postgres.fields
import django.db.models.deletion
import iss_billing.fields
from django.conf import settings
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0011_price_rise"),
    ]

    operations = [
        migrations.CreateModel(
            name="Letter",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("sign_up", "open an account"),
                            ("sign_up_known", "open an account: there is one"),
                            ("password", "new password"),
                            ("address", "new address of a login"),
                            ("address_taken", "new address of a login: it is another's"),
                            ("contact", "address for bills"),
                        ],
                        max_length=20,
                        verbose_name="kind",
                    ),
                ),
                ("to", models.EmailField(max_length=254, verbose_name="to")),
                ("language", models.CharField(max_length=10, verbose_name="language")),
                ("data", models.JSONField(default=dict)),
                ("created_at", models.DateTimeField(verbose_name="written")),
                ("used_at", models.DateTimeField(null=True, verbose_name="used")),
                ("sent_at", models.DateTimeField(null=True, verbose_name="mailed")),
                ("attempts", models.PositiveSmallIntegerField(default=0, verbose_name="attempts")),
                ("next_attempt_at", models.DateTimeField(null=True)),
                ("last_error", models.CharField(blank=True, max_length=500, verbose_name="last error")),
            ],
            options={
                "verbose_name": "letter",
                "verbose_name_plural": "letters",
            },
        ),
        migrations.AddField(
            model_name="account",
            name="closed_at",
            field=models.DateTimeField(null=True, verbose_name="closed"),
        ),
        migrations.AddField(
            model_name="account",
            name="contact_email",
            field=models.EmailField(
                blank=True, db_default="", default="", max_length=254, verbose_name="address for bills"
            ),
        ),
        migrations.AddField(
            model_name="account",
            name="low_balance",
            field=iss_billing.fields.WideIntegerField(null=True, verbose_name="low balance (fen)"),
        ),
        migrations.AddField(
            model_name="account",
            name="mails_bills",
            field=models.BooleanField(db_default=False, default=False, verbose_name="every bill by mail"),
        ),
        migrations.AddField(
            model_name="account",
            name="muted",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=20),
                db_default=[],
                default=list,
                size=None,
                verbose_name="not mailed",
            ),
        ),
        migrations.AddField(
            model_name="account",
            name="reopened_at",
            field=models.DateTimeField(null=True, verbose_name="reopened"),
        ),
        migrations.AddField(
            model_name="notice",
            name="mailed_to",
            field=models.CharField(blank=True, db_default="", default="", max_length=600, verbose_name="mailed to"),
        ),
        migrations.AlterField(
            model_name="delivery",
            name="type",
            field=models.CharField(
                choices=[
                    ("account.opened", "an account was opened"),
                    ("account.arrears", "the balance fell below 0"),
                    ("account.suspended", "the service was suspended"),
                    ("account.resumed", "the service was resumed"),
                    ("account.reclaimed", "resources were released"),
                    ("account.closed", "an account was closed"),
                    ("account.reopened", "an account was opened again"),
                    ("balance.low", "the balance fell below the threshold"),
                    ("bill.ready", "a bill was written"),
                    ("pack.low", "a pack fell to the threshold"),
                    ("pack.exhausted", "a pack was used up"),
                    ("pack.refunded", "a pack was refunded"),
                    ("order.placed", "packs were bought"),
                    ("payment.received", "a top-up arrived"),
                    ("price.announced", "a tariff change was announced"),
                ],
                max_length=40,
                verbose_name="type",
            ),
        ),
        migrations.AlterField(
            model_name="endpoint",
            name="events",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(
                    choices=[
                        ("account.opened", "an account was opened"),
                        ("account.arrears", "the balance fell below 0"),
                        ("account.suspended", "the service was suspended"),
                        ("account.resumed", "the service was resumed"),
                        ("account.reclaimed", "resources were released"),
                        ("account.closed", "an account was closed"),
                        ("account.reopened", "an account was opened again"),
                        ("balance.low", "the balance fell below the threshold"),
                        ("bill.ready", "a bill was written"),
                        ("pack.low", "a pack fell to the threshold"),
                        ("pack.exhausted", "a pack was used up"),
                        ("pack.refunded", "a pack was refunded"),
                        ("order.placed", "packs were bought"),
                        ("payment.received", "a top-up arrived"),
                        ("price.announced", "a tariff change was announced"),
                    ],
                    max_length=40,
                ),
                size=None,
                verbose_name="events",
            ),
        ),
        migrations.AlterField(
            model_name="notice",
            name="kind",
            field=models.CharField(
                choices=[
                    ("arrears", "in arrears"),
                    ("suspended", "service suspended"),
                    ("resumed", "service resumed"),
                    ("reclaimed", "resources reclaimed"),
                    ("pack_low", "pack running low"),
                    ("pack_exhausted", "pack used up"),
                    ("endpoint_disabled", "webhook turned off"),
                    ("checkout", "waiting purchase"),
                    ("price_rise", "price rise"),
                    ("balance_low", "balance running low"),
                    ("bill_ready", "bill"),
                    ("email_asked", "change of the e-mail address asked for"),
                    ("email_changed", "e-mail address changed"),
                    ("password_changed", "password changed"),
                    ("closed", "account closed"),
                    ("reopened", "account reopened"),
                    ("paid_out", "balance paid out"),
                ],
                max_length=20,
                verbose_name="kind",
            ),
        ),
        migrations.AlterField(
            model_name="notice",
            name="sent_at",
            field=models.DateTimeField(null=True, verbose_name="told"),
        ),
        AddConstraintNotValid(
            model_name="account",
            constraint=models.CheckConstraint(
                condition=models.Q(("low_balance__gt", 0)), name="account_low_balance_positive"
            ),
        ),
        migrations.AddField(
            model_name="letter",
            name="user",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="letters",
                to=settings.AUTH_USER_MODEL,
                verbose_name="login",
            ),
        ),
        migrations.AddIndex(
            model_name="letter",
            index=models.Index(models.F("to"), models.F("created_at"), name="letter_to_address"),
        ),
        migrations.AddIndex(
            model_name="letter",
            index=models.Index(models.F("id"), condition=models.Q(("sent_at__isnull", True)), name="letter_unsent"),
        ),
    ]
