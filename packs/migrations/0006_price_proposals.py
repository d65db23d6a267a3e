import datetime
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("packs", "0005_payments"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="PriceList",
            fields=[],
            options={
                "verbose_name": "price list",
                "verbose_name_plural": "price list",
                "proxy": True,
                "default_permissions": (),
                "indexes": [],
                "constraints": [],
            },
            bases=("packs.sku",),
        ),
        # the column stays, unused, so that processes of the release before go on while this one is deployed
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.RemoveField(model_name="sku", name="withdrawn_at")]
        ),
        migrations.AddField(
            model_name="skuprice",
            name="cancel_reason",
            field=models.CharField(blank=True, max_length=500, verbose_name="why it was cancelled"),
        ),
        migrations.AddField(
            model_name="skuprice",
            name="cancelled_at",
            field=models.DateTimeField(null=True, verbose_name="cancelled"),
        ),
        migrations.AddField(
            model_name="skuprice",
            name="cancelled_by",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
                verbose_name="cancelled by",
            ),
        ),
        migrations.AddField(
            model_name="skuprice",
            name="made_at",
            field=models.DateTimeField(
                default=datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc), verbose_name="made"
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="skuprice",
            name="withdraws",
            field=models.BooleanField(default=False, verbose_name="ends the sale"),
        ),
        migrations.AddField(
            model_name="tariffprice",
            name="cancel_reason",
            field=models.CharField(blank=True, max_length=500, verbose_name="why it was cancelled"),
        ),
        migrations.AddField(
            model_name="tariffprice",
            name="cancelled_at",
            field=models.DateTimeField(null=True, verbose_name="cancelled"),
        ),
        migrations.AddField(
            model_name="tariffprice",
            name="cancelled_by",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
                verbose_name="cancelled by",
            ),
        ),
        migrations.AddField(
            model_name="tariffprice",
            name="withdraws",
            field=models.BooleanField(default=False, verbose_name="ends the sale"),
        ),
        migrations.CreateModel(
            name="PriceProposal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("proposed", "proposed"),
                            ("rehearsed", "rehearsed"),
                            ("published", "published"),
                            ("rejected", "rejected"),
                            ("withdrawn", "withdrawn"),
                        ],
                        default="proposed",
                        max_length=10,
                        verbose_name="state",
                    ),
                ),
                ("reason", models.CharField(max_length=500, verbose_name="reason")),
                ("made_at", models.DateTimeField(verbose_name="proposed at")),
                ("decided_at", models.DateTimeField(null=True, verbose_name="decided")),
                ("decision", models.CharField(blank=True, max_length=500, verbose_name="why it was decided so")),
                (
                    "decided_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="decided by",
                    ),
                ),
                (
                    "made_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="proposed by",
                    ),
                ),
            ],
            options={
                "verbose_name": "price change",
                "verbose_name_plural": "price changes",
                "permissions": [("propose_prices", "Can propose prices"), ("publish_prices", "Can publish prices")],
                "default_permissions": ("view",),
            },
        ),
        migrations.AddField(
            model_name="skuprice",
            name="proposal",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="packs.priceproposal",
                verbose_name="price change",
            ),
        ),
        migrations.AddField(
            model_name="tariffprice",
            name="proposal",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="packs.priceproposal",
                verbose_name="price change",
            ),
        ),
        migrations.CreateModel(
            name="ProposedPrice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("place", models.PositiveSmallIntegerField()),
                ("code", models.CharField(max_length=60, verbose_name="code")),
                ("region", models.CharField(blank=True, max_length=40, verbose_name="region")),
                ("price", models.BigIntegerField(null=True, verbose_name="price")),
                ("per", models.BigIntegerField(default=0, verbose_name="per base units")),
                ("day", models.DateField(null=True, verbose_name="from day")),
                ("reason", models.CharField(max_length=500, verbose_name="reason")),
                ("cancels", models.BooleanField(default=False)),
                ("new", models.JSONField(null=True)),
                ("from_price", models.BigIntegerField(null=True, verbose_name="price before")),
                ("from_per", models.BigIntegerField(null=True, verbose_name="per before")),
                (
                    "proposal",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="cells", to="packs.priceproposal"
                    ),
                ),
            ],
            options={
                "verbose_name": "proposed price",
                "verbose_name_plural": "proposed prices",
                "ordering": ["proposal", "place"],
                "default_permissions": (),
            },
        ),
        migrations.AddIndex(
            model_name="priceproposal",
            index=models.Index(
                models.F("state"), models.OrderBy(models.F("id"), descending=True), name="price_proposal_by_state"
            ),
        ),
        migrations.AddConstraint(
            model_name="priceproposal",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_at", None), ("state__in", ("proposed", "rehearsed"))),
                    models.Q(("decided_at__isnull", False), ("state__in", ("published", "rejected", "withdrawn"))),
                    _connector="OR",
                ),
                name="proposal_decided_when_not_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="proposedprice",
            constraint=models.UniqueConstraint(fields=("proposal", "place"), name="proposed_price_place"),
        ),
    ]
