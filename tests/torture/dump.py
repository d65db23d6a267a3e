"""All rows of a world in words that two worlds share: names for surrogate ids, nights for the clocks of runs.

Left out are runs, shards and failures, keys and logins, counts of refused events, and how often a mail was tried.
The clock of a run moves with the kills, so what settlement stamps is compared by its hour, which is the night's.
Where a loose account's money races the night, running balances depend on who came first and are left out.
"""

import re
from typing import Any

import psycopg

LOOSE = "account.name LIKE 'loose-%'"
HOUR = "date_trunc('hour', {})"

PACKS = """
pack_name AS (
    SELECT pack.id, account.name || ' pack ' || row_number() OVER (PARTITION BY account_id ORDER BY pack.id) AS name
    FROM packs_pack AS pack JOIN accounts_account AS account ON account.id = pack.account_id
), bill_name AS (
    SELECT bill.id, account.name || ' bill ' || day || '/' || sequence AS name
    FROM settlement_bill AS bill JOIN accounts_account AS account ON account.id = bill.account_id
), cause AS (
    SELECT 'pack:' || id AS reference, name FROM pack_name
    UNION ALL SELECT 'bill:' || id, name FROM bill_name
    UNION ALL SELECT 'order:' || id, key FROM packs_order
)
"""

TABLES = {
    "accounts": f"""
        SELECT name, opened_at, balance, carry, {HOUR.format("arrears_since")}, announced, language
        FROM accounts_account AS account WHERE name NOT LIKE 'brawler-%' ORDER BY name""",
    "modes": """
        SELECT account.name, effective_day, mode, decided_at
        FROM accounts_modechange AS change JOIN accounts_account AS account ON account.id = change.account_id
        WHERE account.name NOT LIKE 'brawler-%' ORDER BY account.name, change.id""",
    "transfers": f"""
        WITH {PACKS} SELECT account.name, transfer.kind, debit, credit, amount,
            coalesce(cause.name, transfer.reference),
            CASE WHEN kind IN ('usage', 'recognition') THEN {HOUR.format("time")} ELSE time END, reason,
            CASE WHEN {LOOSE} THEN NULL ELSE balance_after END
        FROM accounts_transfer AS transfer JOIN accounts_account AS account ON account.id = transfer.account_id
        LEFT JOIN cause USING (reference)
        WHERE account.name NOT LIKE 'brawler-%'
        ORDER BY account.name, CASE WHEN {LOOSE} THEN NULL ELSE transfer.id END, 2, 6""",
    "orders": """
        SELECT account.name, orders.key, placed_at, total, fingerprint, line.position, sku.code, line.quantity,
            line.price
        FROM packs_order AS orders JOIN accounts_account AS account ON account.id = orders.account_id
        JOIN packs_orderline AS line ON line.order_id = orders.id JOIN packs_sku AS sku ON sku.id = line.sku_id
        WHERE account.name NOT LIKE 'brawler-%' ORDER BY account.name, orders.id, line.position""",
    "packs": f"""
        WITH {PACKS} SELECT pack_name.name, orders.key, line.position, sku.code, pack.total, remaining, pack.price,
            recognised, purchased_at, effective_day, pack.valid_until, refunded_at, refunded, refunded_quantity
        FROM packs_pack AS pack JOIN pack_name USING (id) JOIN packs_orderline AS line ON line.id = pack.order_line_id
        JOIN packs_order AS orders ON orders.id = line.order_id JOIN packs_sku AS sku ON sku.id = pack.sku_id
        WHERE pack_name.name NOT LIKE 'brawler-%' ORDER BY pack_name.name""",
    "usage": """
        SELECT day, source, event_id, account.name, item_id, region, resource, quantity, occurred_at, received_at
        FROM settlement_usageevent AS event JOIN accounts_account AS account ON account.id = event.account_id
        WHERE account.name NOT LIKE 'brawler-%' ORDER BY day, source, event_id""",
    "bills": f"""
        SELECT account.name, row_number() OVER (PARTITION BY account_id ORDER BY bill.id), day, sequence, billing_mode,
            rated_total, carry_in, amount_due, carry_out, CASE WHEN {LOOSE} THEN NULL ELSE balance_after END,
            {HOUR.format("settled_at")}
        FROM settlement_bill AS bill JOIN accounts_account AS account ON account.id = bill.account_id
        WHERE account.name NOT LIKE 'brawler-%' ORDER BY 1, 2""",
    "lines": f"""
        WITH {PACKS} SELECT bill_name.name, position, item_id, region, quantity, drawn, charged, price, per, amount
        FROM settlement_billline AS line JOIN bill_name ON bill_name.id = line.bill_id
        WHERE bill_name.name NOT LIKE 'brawler-%' ORDER BY 1, 2""",
    "drawdowns": f"""
        WITH {PACKS} SELECT bill_name.name, line.position, pack_name.name, drawdown.quantity, remaining_after,
            recognised
        FROM settlement_drawdown AS drawdown JOIN settlement_billline AS line ON line.id = drawdown.line_id
        JOIN bill_name ON bill_name.id = line.bill_id JOIN pack_name ON pack_name.id = drawdown.pack_id
        WHERE bill_name.name NOT LIKE 'brawler-%' ORDER BY 1, 2, drawdown.id""",
    "notices": f"""
        WITH {PACKS} SELECT account.name, kind, coalesce(cause.name, reference), data - 'pack_id', created_at,
            sent_at IS NOT NULL, read_at, last_error
        FROM accounts_notice AS notice JOIN accounts_account AS account ON account.id = notice.account_id
        LEFT JOIN cause USING (reference)
        WHERE account.name NOT LIKE 'brawler-%' ORDER BY 1, 2, 3""",
    "prices": "SELECT item_id, region, price, per, effective_day, reason FROM packs_tariffprice ORDER BY 1, 2, 5, id",
    "pending": """
        SELECT account.name, mark.day FROM (
            SELECT account_id, day FROM settlement_pendingday
            UNION ALL SELECT unnest(account_ids), unnest(days) FROM settlement_usagebatch
        ) AS mark JOIN accounts_account AS account ON account.id = mark.account_id
        WHERE account.name NOT LIKE 'brawler-%' ORDER BY 1, 2""",
}
KNOWN = {
    "accounts_account", "accounts_modechange", "accounts_transfer", "packs_order", "packs_orderline", "packs_pack",
    "settlement_usageevent", "settlement_bill", "settlement_billline", "settlement_drawdown", "accounts_notice",
    "packs_tariffprice", "settlement_pendingday", "settlement_usagebatch",
}  # fmt: skip
"""Tables that are compared."""
LEFT_OUT = {
    "settlement_settlementrun", "settlement_settlementshard", "settlement_settlementfailure",
    "settlement_certificateline", "settlement_alarm", "settlement_dayusage", "settlement_expiredday",
    "accounts_endpoint", "accounts_endpointsecret", "accounts_delivery", "accounts_attempt",
    "accounts_payment", "accounts_checkout", "packs_checkout",
    "settlement_usagerefusal", "accounts_apikey", "accounts_user", "accounts_user_groups",
    "accounts_user_user_permissions", "packs_item", "packs_packtype", "packs_packtype_covers", "packs_sku",
    "packs_skuprice", "packs_priceproposal", "packs_proposedprice",
    "settlement_pricerun", "settlement_priceshard", "settlement_priceeffect",
    "accounts_auditentry", "accounts_letter",
    "settlement_bookday", "settlement_countedday", "settlement_reportedday", "settlement_reporter",
}  # fmt: skip
"""Tables that are not: bookkeeping of runs and of deliveries, what no script changes, what a retry rightly counts
twice, and sums of other tables, taken when the clock says so."""

_FRACTION = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d):\d\d:\d\d(\.\d+)?")


def dump(connection: "psycopg.Connection[Any]") -> dict[str, list[str]]:
    """Every table's rows as text, in an order that both worlds share."""
    connection.execute("SET timezone = 'Asia/Shanghai'")
    return {name: [_line(name, row) for row in connection.execute(sql).fetchall()] for name, sql in TABLES.items()}


def _line(name: str, row: tuple[Any, ...]) -> str:
    text = " | ".join("" if value is None else str(value) for value in row)
    # a notice carries the clock of the posting in its texts and its reference
    return _FRACTION.sub(r"\1", text) if name == "notices" else text


def unknown_tables(connection: "psycopg.Connection[Any]") -> list[str]:
    """Tables of the product that are neither compared nor left out on purpose."""
    found = connection.execute(
        """SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition
        AND relnamespace = 'public'::regnamespace AND relname ~ '^(accounts|packs|settlement)_' ORDER BY 1"""
    ).fetchall()
    return [name for (name,) in found if name not in KNOWN | LEFT_OUT]


def differences(calm: dict[str, list[str]], storm: dict[str, list[str]], most: int = 8) -> list[str]:
    """The first rows that only one of two worlds has, by table."""
    found = []
    for name, rows in calm.items():
        other = storm[name]
        if rows == other:
            continue
        missing, more = [row for row in rows if row not in other], [row for row in other if row not in rows]
        found.append(
            f"{name}: {len(rows)} rows undisturbed, {len(other)} under torture"
            + ("" if missing or more else ", the same in another order or number")
        )
        found += [f"  only undisturbed:   {row}" for row in missing[:most]]
        found += [f"  only under torture: {row}" for row in more[:most]]
    return found
