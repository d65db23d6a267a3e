"""The column that 0006 stopped using goes: the release before this one does not know it."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("packs", "0007_withdrawn_packs"),
    ]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE packs_sku DROP COLUMN IF EXISTS withdrawn_at",
            "ALTER TABLE packs_sku ADD COLUMN IF NOT EXISTS withdrawn_at timestamptz",
        ),
    ]
