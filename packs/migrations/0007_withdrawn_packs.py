from django.db import migrations

FORWARDS = """
UPDATE packs_skuprice SET made_at = effective_at;
INSERT INTO packs_skuprice (sku_id, price, from_price, effective_at, made_at, reason, withdraws, cancel_reason)
SELECT sku.id, last.price, last.price, sku.withdrawn_at, sku.withdrawn_at, 'withdrawn from sale', true, ''
FROM packs_sku AS sku CROSS JOIN LATERAL (
    SELECT price FROM packs_skuprice WHERE sku_id = sku.id ORDER BY effective_at DESC, id DESC LIMIT 1
) AS last
WHERE sku.withdrawn_at IS NOT NULL
"""


class Migration(migrations.Migration):
    """What was withdrawn from sale is a row of its prices."""

    dependencies = [("packs", "0006_price_proposals")]
    operations = [migrations.RunSQL(FORWARDS, migrations.RunSQL.noop)]
