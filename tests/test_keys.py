"""What scales by account can be divided by account: its working keys begin with `account_id`."""

import pytest
from django.db import connection

FIRST_COLUMNS = """
SELECT indrelid::regclass::text, array_agg(attname::text)
FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
WHERE indpred IS NULL GROUP BY indrelid
"""
OF_AN_ACCOUNT = "SELECT table_name FROM information_schema.columns WHERE column_name = 'account_id'"


@pytest.mark.django_db
def test_every_table_of_an_account_has_a_key_that_begins_with_it() -> None:
    with connection.cursor() as cursor:
        cursor.execute(OF_AN_ACCOUNT)
        tables = {table for (table,) in cursor.fetchall() if not table.startswith("settlement_usageevent_")}
        cursor.execute(FIRST_COLUMNS)
        keys = dict(cursor.fetchall())
    assert {"settlement_bill", "packs_pack", "accounts_transfer", "settlement_usageevent"} <= tables
    tables -= {"settlement_settlementrun"}  # runs stay on the coordinator; one that is for an account alone names it
    assert not [table for table in tables if "account_id" not in keys[table]]
