"""Staff's page of closed accounts."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0012_account_and_messages"),
        ("settlement", "0011_price_runs"),
    ]

    operations = [
        migrations.CreateModel(
            name="ClosedAccount",
            fields=[],
            options={
                "verbose_name": "closed account",
                "verbose_name_plural": "closed accounts",
                "proxy": True,
                "default_permissions": ("view", "change"),
                "indexes": [],
                "constraints": [],
            },
            bases=("accounts.account",),
        ),
    ]
