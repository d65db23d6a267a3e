"""Room for a second version of every account of a page: a night updates them all, and then writes no index."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0014_without_waiting"),
    ]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE accounts_account SET (fillfactor = 45)",
            "ALTER TABLE accounts_account SET (fillfactor = 60)",
        )
    ]
