"""Proving the books in SQL from the raw rows (rules 7.3); shares no code with what it audits.

Each check lists what it looked at with what it `expected` and what it `found`; a row where they differ is broken.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any, NamedTuple

from django.db import connection, transaction

from settlement.recount import recount

FIRST_ROWS = 10


class Check(NamedTuple):
    """The outcome of one check; `broken` holds the first rows that break it, `breaks` their number."""

    name: str
    rows_checked: int
    breaks: int
    broken: list[dict[str, Any]]


class Audit(NamedTuple):
    """All checks; how many account-days have usage that arrived since the last run began to read them; and how many
    days were proved against what is kept of them, their usage events having expired."""

    checks: list[Check]
    waiting: int
    expired_days: int

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not any(check.breaks for check in self.checks)


MOVES = """
    SELECT id, account_id, kind, reference, time, amount, balance_after,
           CASE WHEN credit = 'balance' THEN amount WHEN debit = 'balance' THEN -amount ELSE 0 END AS effect
    FROM accounts_transfer
"""

DRAWN = """
    SELECT d.id AS drawdown, d.line_id AS line, l.bill_id, b.account_id, d.pack_id, d.quantity, d.remaining_after,
           d.recognised
    FROM settlement_drawdown AS d JOIN settlement_billline AS l ON l.id = d.line_id
    JOIN settlement_bill AS b ON b.id = l.bill_id
"""


def _lines(bills: str = "settlement_bill") -> str:
    """Lines with what they belong to; with `DRAWN` the only place that knows how one names the other."""
    return f"""
    SELECT l.id AS line, b.account_id, b.day, l.bill_id, l.item_id, l.region, l.quantity, l.drawn, l.charged, l.amount
    FROM {bills} AS b JOIN settlement_billline AS l ON l.bill_id = b.id
"""


LINES = _lines()


def judged(expiring: date | None = None) -> str:
    """The CTE `judged`: per account, day, item and region what was `rated` and `billed`, whether it is `billable` in
    the day's mode and whether it `waits`.

    Of every day, from events or what is kept of them; of a day that is expiring, from its events alone.
    """
    rated, lines = recount("true"), LINES
    if expiring:
        rated = recount(f"e.day = '{expiring}'", kept=False)
        # account by account: the day alone would read every bill ever written
        lines = _lines(
            f"""(SELECT bill.* FROM accounts_account AS a CROSS JOIN LATERAL (
                SELECT id, account_id, day FROM settlement_bill
                WHERE account_id = a.id AND day = '{expiring}' OFFSET 0) AS bill)"""
        )
    return f"""
    WITH waiting AS (
        SELECT account_id, day FROM settlement_pendingday
        UNION SELECT unnest(account_ids), unnest(days) FROM settlement_usagebatch
    ), rated AS (
        {rated}
    ), billed AS (
        SELECT day, account_id, item_id, region, sum(quantity) AS quantity
        FROM ({lines}) AS l GROUP BY day, account_id, item_id, region
    ), both_sides AS (
        SELECT day, account_id, item_id, region, coalesce(rated.quantity, 0) AS rated,
               coalesce(billed.quantity, 0) AS billed
        FROM rated FULL JOIN billed USING (day, account_id, item_id, region)
    ), judged AS (
        SELECT s.*, i.requires_billing_mode IS NULL OR i.requires_billing_mode = coalesce((
                   SELECT mode FROM accounts_modechange AS m
                   WHERE m.account_id = s.account_id AND m.effective_day <= s.day
                   ORDER BY m.effective_day DESC, m.id DESC LIMIT 1), 'bandwidth') AS billable,
               w.account_id IS NOT NULL AS waits
        FROM both_sides AS s JOIN packs_item AS i ON i.id = s.item_id
        LEFT JOIN waiting AS w ON w.account_id = s.account_id AND w.day = s.day
    )
"""


CHECKS: dict[str, str] = {
    "balance_is_sum_of_transfers": f"""
        SELECT a.id AS account, coalesce(sum(m.effect), 0) AS expected, a.balance AS found
        FROM accounts_account AS a LEFT JOIN ({MOVES}) AS m ON m.account_id = a.id GROUP BY a.id""",
    "balance_after_each_transfer": f"""
        SELECT id AS transfer, account_id AS account, found, expected FROM (
            SELECT id, account_id, balance_after AS found,
                   sum(effect) OVER (PARTITION BY account_id ORDER BY id) AS expected
            FROM ({MOVES}) AS m WHERE effect <> 0) AS chain""",
    "transfer_books_fit_its_kind": """
        SELECT id AS transfer, 'two books that ' || kind || ' moves between' AS expected,
               CASE WHEN debit <> credit AND (kind, debit, credit) IN (
                   ('top_up', 'cash', 'balance'), ('purchase', 'balance', 'deferred'),
                   ('usage', 'balance', 'usage_revenue'), ('refund', 'deferred', 'balance'),
                   ('adjustment', 'usage_revenue', 'balance'), ('adjustment', 'balance', 'usage_revenue'),
                   ('withdrawal', 'balance', 'cash'), ('recognition', 'deferred', 'pack_revenue')) AND amount > 0
               THEN 'two books that ' || kind || ' moves between'
               ELSE debit || ' to ' || credit || ', ' || amount END AS found
        FROM accounts_transfer""",
    "pack_total_is_remaining_drawn_refunded": """
        SELECT p.id AS pack, p.total AS expected,
               p.remaining + p.refunded_quantity + coalesce(sum(d.quantity), 0) AS found
        FROM packs_pack AS p LEFT JOIN settlement_drawdown AS d ON d.pack_id = p.id GROUP BY p.id""",
    "pack_remaining_after_each_drawdown": f"""
        SELECT drawdown, d.remaining_after AS found,
               p.total - sum(d.quantity) OVER (PARTITION BY d.pack_id ORDER BY drawdown) AS expected
        FROM ({DRAWN}) AS d JOIN packs_pack AS p ON p.id = d.pack_id""",
    "pack_recognised_is_price_by_drawn": """
        SELECT p.id AS pack, p.recognised AS found,
               CASE WHEN p.refunded_at IS NULL
                    THEN div(2 * p.price::numeric * coalesce(sum(d.quantity), 0) + p.total, 2 * p.total)
                    ELSE p.price - p.refunded END AS expected
        FROM packs_pack AS p LEFT JOIN settlement_drawdown AS d ON d.pack_id = p.id GROUP BY p.id""",
    "drawdowns_recognise_what_the_pack_did": """
        SELECT p.id AS pack, p.recognised AS expected, coalesce(sum(d.recognised), 0) + coalesce((
                   SELECT sum(t.amount) FROM accounts_transfer AS t
                   WHERE t.kind = 'recognition' AND t.reference = 'pack:' || p.id), 0) AS found
        FROM packs_pack AS p LEFT JOIN settlement_drawdown AS d ON d.pack_id = p.id GROUP BY p.id""",
    "line_quantity_is_drawn_and_charged": f"""
        SELECT line, quantity AS expected, drawn + charged AS found FROM ({LINES}) AS l""",
    "line_drawn_is_its_drawdowns": f"""
        SELECT line, drawn AS found, coalesce(sum(d.quantity), 0) AS expected
        FROM ({LINES}) AS l LEFT JOIN ({DRAWN}) AS d USING (line) GROUP BY line, drawn""",
    "line_amount_is_charged_at_tariff": f"""
        SELECT line, l.amount AS found, div(2 * l.charged * t.price + t.per, 2 * t.per::numeric) AS expected
        FROM ({LINES}) AS l LEFT JOIN LATERAL (
            SELECT CASE WHEN t.withdraws THEN NULL ELSE price END AS price, per FROM packs_tariffprice AS t
            WHERE t.item_id = l.item_id AND t.region = l.region AND t.effective_day <= l.day AND t.cancelled_at IS NULL
            ORDER BY t.effective_day DESC, t.id DESC LIMIT 1) AS t ON true""",
    "bill_total_is_its_lines": """
        SELECT b.id AS bill, b.rated_total AS found, coalesce(sum(l.amount), 0) AS expected
        FROM settlement_bill AS b LEFT JOIN settlement_billline AS l ON l.bill_id = b.id GROUP BY b.id""",
    "bill_due_is_total_and_carry_in_whole_fen": """
        SELECT id AS bill, amount_due || ' carry ' || carry_out AS found,
               greatest(div(rated_total + carry_in + 5000, 10000), 0) || ' carry ' ||
               rated_total + carry_in - 10000 * greatest(div(rated_total + carry_in + 5000, 10000), 0) AS expected
        FROM settlement_bill""",
    "carry_goes_from_bill_to_bill": """
        SELECT id AS bill, carry_in AS found,
               coalesce(lag(carry_out) OVER (PARTITION BY account_id ORDER BY id), 0) AS expected
        FROM settlement_bill""",
    "due_and_carry_are_all_lines": f"""
        SELECT a.id AS account, coalesce(d.due, 0) * 10000 + a.carry AS found, coalesce(t.total, 0) AS expected
        FROM accounts_account AS a
        LEFT JOIN (SELECT account_id, sum(amount_due) AS due
                   FROM settlement_bill GROUP BY 1) AS d ON d.account_id = a.id
        LEFT JOIN (SELECT account_id, sum(amount) AS total FROM ({LINES}) AS l GROUP BY 1) AS t
               ON t.account_id = a.id""",
    "billed_is_never_above_used": judged()
    + """
        SELECT account_id AS account, day, item_id AS item, region, billed AS found, least(rated, billed) AS expected
        FROM judged""",
    "billed_is_used_unless_it_waits": judged()
    + """
        SELECT account_id AS account, day, item_id AS item, region, billed AS found,
               CASE WHEN NOT billable THEN 0 ELSE rated END AS expected
        FROM judged WHERE NOT waits OR NOT billable""",
    "kept_quantity_is_its_curve": """
        SELECT u.account_id AS account, u.day, u.item_id AS item, u.region, u.quantity AS found,
               (SELECT CASE i.aggregation WHEN 'peak' THEN max(top) ELSE div(2 * sum(top) + 288, 576) END
                FROM unnest(u.slots) AS slot (top)) AS expected
        FROM settlement_dayusage AS u JOIN packs_item AS i ON i.id = u.item_id
        WHERE i.aggregation IN ('peak', 'mean')""",
    "expired_day_is_kept_whole": """
        SELECT day, coalesce(x.kept, 0) || ' rows kept, 0 events' AS expected,
               coalesce(k.rows, 0) || ' rows kept, ' || e.events || ' events' AS found
        FROM settlement_expiredday AS x
        FULL JOIN (SELECT day, count(*) AS rows FROM settlement_dayusage GROUP BY day) AS k USING (day)
        LEFT JOIN LATERAL (SELECT count(*) AS events FROM settlement_usageevent
                           WHERE settlement_usageevent.day = coalesce(x.day, k.day)) AS e ON true""",
    "every_bill_and_order_moved_its_money": f"""
        SELECT coalesce(c.reference, t.reference) AS cause, coalesce(c.kind, t.kind) AS kind,
               coalesce(c.account_id || ': ' || c.amount, 'nothing') AS expected,
               coalesce(t.account_id || ': ' || t.amount, 'nothing') AS found
        FROM (SELECT account_id, 'usage' AS kind, 'bill:' || id AS reference, amount_due AS amount
              FROM settlement_bill WHERE amount_due > 0
              UNION ALL SELECT account_id, 'purchase', 'order:' || id, total FROM packs_order
              UNION ALL SELECT account_id, 'refund', 'pack:' || id, refunded FROM packs_pack WHERE refunded > 0
              UNION ALL SELECT account_id, 'recognition', 'bill:' || bill_id, sum(recognised)
              FROM ({DRAWN}) AS d GROUP BY account_id, bill_id HAVING sum(recognised) > 0) AS c
        FULL JOIN (SELECT * FROM accounts_transfer
                   WHERE kind IN ('usage', 'purchase', 'refund')
                      OR kind = 'recognition' AND reference LIKE 'bill:%%') AS t
        ON t.kind = c.kind AND t.reference = c.reference""",
    "payment_received_is_its_top_up": """
        SELECT p.number AS payment, p.account_id || ': ' || p.amount AS expected,
               coalesce(t.account_id || ': ' || t.amount, 'nothing') AS found
        FROM accounts_payment AS p LEFT JOIN accounts_transfer AS t
        ON t.kind = 'top_up' AND t.reference = 'payment:' || p.number WHERE p.state = 'paid'""",
    "order_total_is_its_packs": """
        SELECT o.id AS "order", o.total AS expected, coalesce(sum(p.price), 0) AS found
        FROM packs_order AS o LEFT JOIN packs_orderline AS l ON l.order_id = o.id
        LEFT JOIN packs_pack AS p ON p.order_line_id = l.id GROUP BY o.id""",
    "deferred_is_paid_less_recognised_less_refunded": """
        SELECT a.id AS account, coalesce(b.deferred, 0) AS found, coalesce(p.deferred, 0) AS expected
        FROM accounts_account AS a
        LEFT JOIN (SELECT account_id, sum(CASE WHEN credit = 'deferred' THEN amount ELSE -amount END) AS deferred
                   FROM accounts_transfer WHERE 'deferred' IN (credit, debit) GROUP BY 1) AS b ON b.account_id = a.id
        LEFT JOIN (SELECT account_id, sum(price - recognised - refunded) AS deferred FROM packs_pack GROUP BY 1) AS p
               ON p.account_id = a.id""",
    "closed_account_defers_nothing": """
        SELECT a.id AS account, coalesce(b.deferred, 0) AS found,
               CASE WHEN a.closed_at IS NULL THEN coalesce(b.deferred, 0) ELSE 0 END AS expected
        FROM accounts_account AS a
        LEFT JOIN (SELECT account_id, sum(CASE WHEN credit = 'deferred' THEN amount ELSE -amount END) AS deferred
                   FROM accounts_transfer WHERE 'deferred' IN (credit, debit)
                   GROUP BY 1) AS b ON b.account_id = a.id""",
    "usage_revenue_is_bills_and_adjustments": """
        SELECT a.id AS account, coalesce(r.revenue, 0) AS found,
               coalesce(b.due, 0) - coalesce(j.adjusted, 0) AS expected
        FROM accounts_account AS a
        LEFT JOIN (SELECT account_id, sum(CASE WHEN credit = 'usage_revenue' THEN amount ELSE -amount END) AS revenue
                   FROM accounts_transfer WHERE 'usage_revenue' IN (credit, debit)
                   GROUP BY 1) AS r ON r.account_id = a.id
        LEFT JOIN (SELECT account_id, sum(amount_due) AS due
                   FROM settlement_bill GROUP BY 1) AS b ON b.account_id = a.id
        LEFT JOIN (SELECT account_id, sum(CASE WHEN credit = 'balance' THEN amount ELSE -amount END) AS adjusted
                   FROM accounts_transfer WHERE kind = 'adjustment' GROUP BY 1) AS j ON j.account_id = a.id""",
    "summed_up_day_is_its_transfers": """
        SELECT coalesce(s.day, t.day) AS day, coalesce(s.moved, t.moved) AS moved,
               coalesce(s.amount, 0) AS found, coalesce(t.amount, 0) AS expected
        FROM (SELECT day, kind || ': ' || debit || ' → ' || credit AS moved, sum(amount) AS amount
              FROM settlement_bookday GROUP BY 1, 2) AS s
        FULL JOIN (SELECT (time AT TIME ZONE 'Asia/Shanghai')::date AS day,
                          kind || ': ' || debit || ' → ' || credit AS moved, sum(amount) AS amount
                   FROM accounts_transfer WHERE id <= (SELECT max(last_transfer) FROM settlement_countedday)
                   GROUP BY 1, 2) AS t ON t.day = s.day AND t.moved = s.moved""",
    "arrears_since_the_posting_below_zero": f"""
        SELECT a.id AS account, a.arrears_since::text AS found, (
            SELECT (array_agg(m.time ORDER BY m.id))[1]::text FROM ({MOVES}) AS m
            WHERE m.account_id = a.id AND m.effect <> 0 AND m.id > coalesce((
                SELECT max(good.id) FROM accounts_transfer AS good
                WHERE good.account_id = a.id AND good.balance_after >= 0), 0)) AS expected
        FROM accounts_account AS a""",
}


def audit() -> Audit:
    """Check every equation on one snapshot of the database, changing nothing."""
    with _snapshot():
        return Audit([_run(name, sql) for name, sql in CHECKS.items()], *_waiting_and_expired())


@contextmanager
def _snapshot() -> Iterator[None]:
    if connection.in_atomic_block:
        yield  # a test's own transaction
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        # before the snapshot is taken: a day that expired after it would have neither events nor anything kept
        cursor.execute("LOCK TABLE ONLY settlement_usageevent IN ACCESS SHARE MODE")
        yield


def _run(name: str, sql: str) -> Check:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT count(*), count(*) FILTER (WHERE expected IS DISTINCT FROM found),
                       (array_agg(to_jsonb(checked)) FILTER (WHERE expected IS DISTINCT FROM found))[1:%s]
                FROM ({sql}) AS checked""",
            [FIRST_ROWS],
        )
        checked, breaks, broken = cursor.fetchone()
        return Check(name, checked, breaks, [json.loads(row) for row in broken or ()])


def _waiting_and_expired() -> tuple[int, int]:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT (SELECT count(*) FROM (SELECT account_id, day FROM settlement_pendingday
               UNION SELECT unnest(account_ids), unnest(days) FROM settlement_usagebatch) AS waiting),
               (SELECT count(*) FROM settlement_expiredday)"""
        )
        waiting, expired = cursor.fetchone()
        return waiting, expired
