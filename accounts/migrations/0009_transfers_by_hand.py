"""What people cause is found among what the night posts; built without keeping writers out."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("accounts", "0008_audit_log"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="transfer",
            index=models.Index(
                models.F("time"),
                models.F("id"),
                condition=models.Q(("kind__in", ["top_up", "refund", "adjustment", "withdrawal"])),
                name="transfer_by_hand",
            ),
        ),
    ]
