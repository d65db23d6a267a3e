"""Room for a second version of every pack of a page: a night that draws them all writes no index."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("packs", "0008_sku_without_withdrawn_at"),
    ]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE packs_pack SET (fillfactor = 45)", "ALTER TABLE packs_pack SET (fillfactor = 60)"
        )
    ]
