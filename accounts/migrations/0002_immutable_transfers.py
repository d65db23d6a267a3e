"""A transfer is never changed and never deleted; account rows leave room for updates in place."""

from django.db import migrations

FORWARDS = """
CREATE FUNCTION accounts_transfer_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a transfer is never changed or deleted: post another one';
END $$;
CREATE TRIGGER accounts_transfer_is_immutable BEFORE UPDATE OR DELETE ON accounts_transfer
    FOR EACH ROW EXECUTE FUNCTION accounts_transfer_is_immutable();
ALTER TABLE accounts_account SET (fillfactor = 60);
"""
BACKWARDS = """
ALTER TABLE accounts_account RESET (fillfactor);
DROP TRIGGER accounts_transfer_is_immutable ON accounts_transfer;
DROP FUNCTION accounts_transfer_is_immutable();
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [migrations.RunSQL(FORWARDS, BACKWARDS)]
