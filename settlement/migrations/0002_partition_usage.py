"""Usage by day: Django makes no partitioned table, so the one it made is made again, empty, with the same columns."""

from django.db import migrations

PARTITIONED = """
DROP TABLE settlement_usageevent;
CREATE TABLE settlement_usageevent (
    day date NOT NULL,
    source varchar(255) NOT NULL,
    event_id varchar(255) NOT NULL,
    account_id bigint NOT NULL REFERENCES accounts_account (id),
    item_id smallint NOT NULL REFERENCES packs_item (id),
    region varchar(40) NOT NULL,
    resource varchar(255) NOT NULL,
    quantity bigint NOT NULL CHECK (quantity >= 0),
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (day, source, event_id)
) PARTITION BY RANGE (day);
CREATE INDEX usage_event_of_account ON settlement_usageevent (account_id, item_id);
"""


class Migration(migrations.Migration):
    dependencies = [("settlement", "0001_initial")]
    operations = [migrations.RunSQL(PARTITIONED, migrations.RunSQL.noop)]
