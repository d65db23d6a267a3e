"""What a night left behind, without surrogate ids and times: two nights did the same when these are equal."""

import psycopg

BILL = "SELECT bill.account_id, bill.day, bill.sequence"
LINE = "JOIN settlement_billline AS line ON line.bill_id = bill.id"
TABLES = {
    "bills": f"""{BILL}, billing_mode, rated_total, carry_in, amount_due, carry_out, balance_after
        FROM settlement_bill AS bill""",
    "lines": f"""{BILL}, position, item_id, region, quantity, drawn, charged, price, per, amount
        FROM settlement_bill AS bill {LINE}""",
    "drawdowns": f"""{BILL}, position, draw.pack_id, draw.quantity, remaining_after, recognised
        FROM settlement_bill AS bill {LINE} JOIN settlement_drawdown AS draw ON draw.line_id = line.id""",
    "transfers": "SELECT account_id, kind, debit, credit, amount, balance_after FROM accounts_transfer",
    "accounts": "SELECT id, balance, carry, arrears_since IS NULL, announced FROM accounts_account",
    "packs": "SELECT id, remaining, recognised FROM packs_pack",
    "notices": "SELECT account_id, kind FROM accounts_notice",
    "pending": "SELECT account_id, day FROM settlement_pendingday",
}
TOTALS = """
SELECT count(*), sum(amount_due), (SELECT sum(drawn) FROM settlement_billline),
       (SELECT sum(charged) FROM settlement_billline) FROM settlement_bill
"""


def rows(connection: "psycopg.Connection[tuple[object, ...]]") -> dict[str, tuple[object, ...]]:
    """The number of rows of each table and a digest of them all."""
    digest = "SELECT count(*), md5(string_agg(entry::text, ';' ORDER BY entry::text)) FROM ({}) AS entry"
    return {name: connection.execute(digest.format(select)).fetchall()[0] for name, select in TABLES.items()}


def totals(connection: "psycopg.Connection[tuple[object, ...]]") -> str:
    """The same for a reader."""
    [(bills, due, drawn, charged)] = connection.execute(TOTALS).fetchall()
    return f"{bills:,} bills over {due:,} fen, {drawn:,} units drawn, {charged:,} charged"
