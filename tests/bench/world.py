"""The bench's world: accounts with packs and one day of usage, made by set-based SQL."""

from datetime import timedelta

from django.db import connection, transaction
from django.utils import timezone

from iss_billing.days import day_of, start_of
from packs.models import Item, PackType, Sku
from settlement.partitions import ensure_partitions

DAY = day_of(timezone.now()) - timedelta(days=1)
"""Yesterday: what the nightly task settles."""
OPENED = DAY - timedelta(days=10)
AI = ("ai.face", "ai.pet", "ai.vehicle", "ai.image-label")
OTHER = ("storage.standard", "bandwidth.down", "device.gb28181")
PACK_TYPES = ("face", "pet", "vehicle", "image-label")

PACKS = "CASE WHEN {} = %(giant)s THEN %(packs)s ELSE 1 + ({} %% 10 < 3)::int END"
ACCOUNTS = """
INSERT INTO accounts_account (name, opened_at, language, balance, carry, announced)
SELECT 'bench ' || n, %(opened)s, 'zh-hans', 10000000, 0, 'active' FROM generate_series(1, %(accounts)s) AS n
"""
TOP_UPS = f"""
INSERT INTO accounts_transfer (account_id, kind, debit, credit, amount, time, reference, balance_after, reason)
SELECT id, 'top_up', 'cash', 'balance', paid, opened_at, 'bench:' || id, paid, ''
FROM accounts_account CROSS JOIN LATERAL (SELECT 10000000 + 100000 * ({PACKS.format("id", "id")}) AS paid) AS sum
"""
ORDERS = f"""
WITH placed AS (
    INSERT INTO packs_order (account_id, placed_at, total, key, fingerprint)
    SELECT id, %(opened)s, 100000 * ({PACKS.format("id", "id")}), 'bench', ''
    FROM accounts_account RETURNING id, account_id, total
), line AS (
    INSERT INTO packs_orderline (order_id, position, sku_id, quantity, price)
    SELECT id, 1, (%(skus)s::int[])[1 + account_id %% 4], total / 100000, 100000
    FROM placed RETURNING id, order_id, quantity, sku_id
), paid AS (
    INSERT INTO accounts_transfer (account_id, kind, debit, credit, amount, time, reference, balance_after, reason)
    SELECT account_id, 'purchase', 'balance', 'deferred', total, %(opened)s, 'order:' || id, 10000000, '' FROM placed
)
INSERT INTO packs_pack (account_id, order_line_id, sku_id, pack_type_id, total, remaining, price, recognised,
                        purchased_at, effective_day, valid_until, refunded, refunded_quantity)
SELECT placed.account_id, line.id, line.sku_id, (%(types)s::int[])[1 + placed.account_id %% 4],
       size, size, 100000, 0, %(opened)s, %(opened_day)s, '2099-12-31', 0, 0
FROM placed JOIN line ON line.order_id = placed.id
CROSS JOIN generate_series(1, line.quantity) AS unit
CROSS JOIN LATERAL (SELECT CASE WHEN unit = 1 AND placed.account_id %% 100 = 0 THEN 50 ELSE 100000 END AS size) AS sized
ORDER BY placed.account_id, unit
"""
EVENTS = """
INSERT INTO settlement_usageevent
    (day, source, event_id, account_id, item_id, region, resource, quantity, occurred_at, received_at)
SELECT %(day)s, '/edge/' || account %% 100, 'e' || n, account,
       CASE which WHEN 0 THEN (%(ai)s::int[])[1 + account %% 4] WHEN 1 THEN (%(ai)s::int[])[1 + (account + 1) %% 4]
                  ELSE (%(other)s::int[])[1 + account %% 3] END,
       'cn-mainland', 'camera-' || n %% 3, 20 + n %% 60, %(start)s + n %% 86400 * interval '1 second', %(start)s
FROM generate_series(0, %(events)s - 1) AS n
CROSS JOIN LATERAL (SELECT %(first)s + n %% %(accounts)s AS account, n / %(accounts)s %% 3 AS which) AS spread
"""
PENDING = "INSERT INTO settlement_pendingday (account_id, day) SELECT id, %(day)s FROM accounts_account ORDER BY id"
GIANT_EVENTS = """
INSERT INTO settlement_usageevent
    (day, source, event_id, account_id, item_id, region, resource, quantity, occurred_at, received_at)
SELECT %(day)s, '/edge/giant', 'g' || n, %(giant)s, (%(ai)s::int[])[1 + %(giant)s %% 4],
       'cn-mainland', 'camera-' || n %% 500, 20 + n %% 60, %(start)s + n %% 86400 * interval '1 second', %(start)s
FROM generate_series(0, 1000 * %(packs)s - 1) AS n
"""


def build(accounts: int, events: int, giant: int = 0) -> None:
    """Make so many accounts with 3 items and 1.3 packs each, and so many events on one day, pending.

    With `giant` the middle account holds so many packs and reports 1,000 events for each.
    """
    types = dict(PackType.objects.values_list("code", "id"))
    skus = dict(Sku.objects.values_list("code", "id"))
    items = dict(Item.objects.values_list("code", "id"))
    ensure_partitions([DAY])
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(ACCOUNTS, {"opened": start_of(OPENED), "accounts": accounts})
        cursor.execute("SELECT min(id) FROM accounts_account")
        [first] = cursor.fetchone()
        values = {
            "opened": start_of(OPENED),
            "opened_day": OPENED,
            "skus": [skus[f"{code}-100k"] for code in PACK_TYPES],
            "types": [types[code] for code in PACK_TYPES],
            "giant": first + accounts // 2 if giant else 0,
            "packs": giant,
            "day": DAY,
            "start": start_of(DAY),
            "first": first,
            "accounts": accounts,
            "events": events,
            "ai": [items[code] for code in AI],
            "other": [items[code] for code in OTHER],
        }
        for statement in (TOP_UPS, ORDERS, EVENTS, GIANT_EVENTS, PENDING):
            cursor.execute(statement, values)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
