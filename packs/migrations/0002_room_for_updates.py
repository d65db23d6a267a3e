"""The night updates packs in place: their rows leave room for it."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("packs", "0001_initial")]
    operations = [
        migrations.RunSQL("ALTER TABLE packs_pack SET (fillfactor = 60)", "ALTER TABLE packs_pack RESET (fillfactor)")
    ]
