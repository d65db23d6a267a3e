"""Who may settle an account-day again that failed."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("settlement", "0007_plain_usage_batch"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="settlementfailure",
            options={
                "permissions": [("retry_failure", "Can settle an account-day again that failed")],
                "verbose_name": "failure",
                "verbose_name_plural": "failures",
            },
        ),
    ]
