"""The floor: a bare set-based SQL settlement of one day that writes the same rows into the same tables.

It knows no late usage, no failures and no notices of arrears: what a night costs the database, and nothing else.
"""

import sys
import time
from datetime import date, datetime

import psycopg

from tests.bench.database import connect

TABLES = """
CREATE TEMP TABLE used (account_id bigint, item_id smallint, region text, quantity numeric) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE line (id bigint, account_id bigint, position int, item_id smallint, region text,
                        pack_type_id smallint, quantity numeric, before numeric, price bigint, per bigint)
    ON COMMIT DELETE ROWS;
CREATE TEMP TABLE draw (line_id bigint, account_id bigint, pack_id bigint, quantity bigint, remaining_after bigint,
                        recognised bigint) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE rated (id bigint, account_id bigint, position int, item_id smallint, region text, quantity numeric,
                         drawn numeric, price bigint, per bigint, amount numeric) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE bill (id bigint, account_id bigint, rated numeric, carry_in bigint, due numeric, balance numeric,
                        recognised numeric) ON COMMIT DELETE ROWS;
"""

STEPS = [
    "SELECT id FROM accounts_account WHERE id BETWEEN %(first)s AND %(last)s ORDER BY id FOR NO KEY UPDATE",
    "DELETE FROM settlement_pendingday WHERE day = %(day)s AND account_id BETWEEN %(first)s AND %(last)s",
    """INSERT INTO used
    WITH event AS (
        SELECT e.account_id, e.item_id, e.region, e.source, e.resource, e.quantity, e.occurred_at, item.aggregation
        FROM settlement_usageevent AS e JOIN packs_item AS item ON item.id = e.item_id
        WHERE e.day = %(day)s AND e.account_id BETWEEN %(first)s AND %(last)s
    ), slot AS (
        SELECT account_id, item_id, region, aggregation, slot, sum(largest) AS quantity
        FROM (SELECT account_id, item_id, region, aggregation, source, resource, max(quantity) AS largest,
                     date_bin('5 minutes', occurred_at, %(start)s) AS slot
              FROM event WHERE aggregation IN ('peak', 'mean')
              GROUP BY account_id, item_id, region, aggregation, source, resource,
                       date_bin('5 minutes', occurred_at, %(start)s)) AS series
        GROUP BY account_id, item_id, region, aggregation, slot
    )
    SELECT account_id, item_id, region, sum(quantity) FROM event WHERE aggregation = 'sum' GROUP BY 1, 2, 3
    UNION ALL
    SELECT account_id, item_id, region, count(DISTINCT resource) FILTER (WHERE quantity > 0)
    FROM event WHERE aggregation = 'distinct' GROUP BY 1, 2, 3
    UNION ALL
    SELECT account_id, item_id, region, max(quantity) FROM slot WHERE aggregation = 'peak' GROUP BY 1, 2, 3
    UNION ALL
    SELECT account_id, item_id, region, div(2 * sum(quantity) + 288, 576)
    FROM slot WHERE aggregation = 'mean' GROUP BY 1, 2, 3""",
    "ANALYZE used",
    """INSERT INTO line
    WITH tariff AS (
        SELECT DISTINCT ON (item_id, region) item_id, region, price, per FROM packs_tariffprice
        WHERE effective_day <= %(day)s ORDER BY item_id, region, effective_day DESC, id DESC
    ), mode AS (
        SELECT DISTINCT ON (account_id) account_id, mode FROM accounts_modechange
        WHERE effective_day <= %(day)s ORDER BY account_id, effective_day DESC, id DESC
    ), covering AS (
        SELECT cover.item_id, kind.id AS pack_type_id, kind.region
        FROM packs_packtype_covers AS cover JOIN packs_packtype AS kind ON kind.id = cover.packtype_id
    )
    SELECT nextval('settlement_billline_id_seq'), u.account_id,
           row_number() OVER (PARTITION BY u.account_id ORDER BY item.position, u.region),
           u.item_id, u.region, covering.pack_type_id, u.quantity,
           coalesce(sum(u.quantity) OVER (PARTITION BY u.account_id, covering.pack_type_id
                    ORDER BY item.position, u.region ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0),
           tariff.price, tariff.per
    FROM used AS u JOIN packs_item AS item ON item.id = u.item_id
    JOIN tariff ON tariff.item_id = u.item_id AND tariff.region = u.region
    LEFT JOIN mode ON mode.account_id = u.account_id
    LEFT JOIN covering ON covering.item_id = u.item_id AND covering.region = u.region
    WHERE u.quantity > 0 AND (item.requires_billing_mode IS NULL
                              OR item.requires_billing_mode = coalesce(mode.mode, 'bandwidth'))""",
    "ANALYZE line",
    """INSERT INTO draw
    WITH pack AS (
        SELECT id, account_id, pack_type_id, total, remaining, price, recognised,
               sum(remaining) OVER (PARTITION BY account_id, pack_type_id ORDER BY id) - remaining AS before
        FROM packs_pack
        WHERE account_id BETWEEN %(first)s AND %(last)s AND remaining > 0
          AND %(day)s BETWEEN effective_day AND valid_until
    ), taken AS (
        SELECT line.id AS line_id, line.account_id, pack.id AS pack_id, pack.total, pack.remaining, pack.price,
               pack.recognised,
               least(line.before + line.quantity, pack.before + pack.remaining) - greatest(line.before, pack.before)
                   AS quantity,
               least(line.before + line.quantity, pack.before + pack.remaining) - pack.before AS until
        FROM line JOIN pack ON pack.account_id = line.account_id AND pack.pack_type_id = line.pack_type_id
             AND pack.before < line.before + line.quantity AND line.before < pack.before + pack.remaining
    )
    SELECT line_id, account_id, pack_id, quantity, remaining - until,
           div(2 * price * (total - remaining + until) + total, 2 * total)
           - div(2 * price * (total - remaining + until - quantity) + total, 2 * total)
    FROM taken""",
    "ANALYZE draw",
    """INSERT INTO rated
    SELECT line.id, line.account_id, line.position, line.item_id, line.region, line.quantity,
           coalesce(drawn.quantity, 0), line.price, line.per,
           div(2 * (line.quantity - coalesce(drawn.quantity, 0)) * line.price + line.per, 2 * line.per)
    FROM line LEFT JOIN (SELECT line_id, sum(quantity) AS quantity FROM draw GROUP BY 1) AS drawn
         ON drawn.line_id = line.id""",
    """INSERT INTO bill
    SELECT nextval('settlement_bill_id_seq'), account.id, total.rated, account.carry, due.fen,
           account.balance - due.fen, coalesce(recognised.fen, 0)
    FROM (SELECT account_id, sum(amount) AS rated FROM rated GROUP BY 1) AS total
    JOIN accounts_account AS account ON account.id = total.account_id
    LEFT JOIN (SELECT account_id, sum(recognised) AS fen FROM draw GROUP BY 1) AS recognised
         ON recognised.account_id = account.id
    CROSS JOIN LATERAL (SELECT greatest(0, floor((total.rated + account.carry + 5000) / 10000)) AS fen) AS due""",
    "ANALYZE bill",
    """INSERT INTO settlement_bill (id, account_id, day, sequence, billing_mode, rated_total, carry_in, amount_due,
                                    carry_out, balance_after, settled_at)
    SELECT id, account_id, %(day)s, 1, 'bandwidth', rated, carry_in, due, rated + carry_in - due * 10000,
           balance, %(now)s FROM bill""",
    """INSERT INTO settlement_billline
        (id, bill_id, position, item_id, region, quantity, drawn, charged, price, per, amount)
    SELECT rated.id, bill.id, position, item_id, region, quantity, drawn, quantity - drawn, price, per, amount
    FROM rated JOIN bill USING (account_id)""",
    """INSERT INTO settlement_drawdown (line_id, pack_id, quantity, remaining_after, recognised)
    SELECT line_id, pack_id, quantity, remaining_after, recognised FROM draw""",
    """INSERT INTO accounts_transfer (account_id, kind, debit, credit, amount, time, reference, balance_after, reason)
    SELECT account_id, 'usage', 'balance', 'usage_revenue', due, %(now)s, 'bill:' || id, balance, '' FROM bill
    WHERE due > 0
    UNION ALL
    SELECT account_id, 'recognition', 'deferred', 'pack_revenue', recognised, %(now)s, 'bill:' || id, NULL, ''
    FROM bill WHERE recognised > 0""",
    """UPDATE packs_pack AS pack SET remaining = new.remaining, recognised = pack.recognised + new.recognised
    FROM (SELECT pack_id, min(remaining_after) AS remaining, sum(recognised) AS recognised FROM draw GROUP BY 1) AS new
    WHERE pack.id = new.pack_id""",
    """UPDATE accounts_account AS account SET balance = bill.balance,
           carry = bill.rated + bill.carry_in - bill.due * 10000,
           arrears_since = CASE WHEN bill.balance < 0 THEN coalesce(account.arrears_since, %(now)s) END
    FROM bill WHERE account.id = bill.account_id""",
    """INSERT INTO accounts_notice (account_id, kind, reference, data, created_at, attempts, last_error)
    SELECT account_id, 'pack_exhausted', 'pack:' || pack_id, '{}', %(now)s, 0, ''
    FROM (SELECT account_id, pack_id, min(remaining_after) AS remaining FROM draw GROUP BY 1, 2) AS pack
    WHERE remaining = 0""",
]


def settle(connection: "psycopg.Connection[object]", first: int, last: int, day: date, now: datetime) -> None:
    """Settle the accounts of an id range in one transaction."""
    values = {"first": first, "last": last, "day": day, "now": now, "start": f"{day}T00:00:00+08:00"}
    with connection.transaction():
        for step in STEPS:
            connection.execute(step.encode(), values)


def main(database: str, first: int, last: int, shard: int, day: date, now: datetime) -> None:
    """Settle an id range in shards; says when it was connected and when it was done."""
    with connect(database) as connection:
        connection.execute(TABLES)
        begun = time.time()
        for begin in range(first, last + 1, shard):
            settle(connection, begin, min(begin + shard - 1, last), day, now)
        print(begun, time.time())  # noqa: T201 - its answer


if __name__ == "__main__":
    name, lowest, highest, size, day_text, now_text = sys.argv[1:]
    main(name, int(lowest), int(highest), int(size), date.fromisoformat(day_text), datetime.fromisoformat(now_text))
