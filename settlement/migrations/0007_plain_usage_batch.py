"""The arrays of a batch are written once, read once and deleted: compressing them took a fifteenth of all ingest."""

from django.db import migrations

PLAIN = """
ALTER TABLE settlement_usagebatch ALTER account_ids SET STORAGE EXTERNAL, ALTER days SET STORAGE EXTERNAL
"""
AS_BEFORE = """
ALTER TABLE settlement_usagebatch ALTER account_ids SET STORAGE EXTENDED, ALTER days SET STORAGE EXTENDED
"""


class Migration(migrations.Migration):
    dependencies = [("settlement", "0006_expired_usage")]
    operations = [migrations.RunSQL(PLAIN, AS_BEFORE)]
