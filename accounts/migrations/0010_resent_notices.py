"""Messages that staff had mailed once more."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0009_transfers_by_hand"),
    ]

    operations = [
        migrations.AddField(
            model_name="notice",
            name="resent",
            field=models.PositiveSmallIntegerField(db_default=0, default=0, verbose_name="sent again"),
        ),
    ]
