"""A day's quantities counted again from the raw events, in SQL of its own, for the audit, the certificate and
expiry (rules 2).

Shares no code with `usage` and `aggregation`: a check that calls what it checks finds nothing.
"""

KEPT = """
        UNION ALL
        SELECT e.day, e.account_id, e.item_id, e.region, e.quantity FROM settlement_dayusage AS e WHERE {which}"""


def recount(which: str, *, kept: bool = True) -> str:
    """A query of (day, account_id, item_id, region, quantity) over the events `e` that a condition picks.

    The condition may name `day` and `account_id`: of expired days it picks what is `kept` of them, where that is
    wanted too. Halves are rounded up by whole numbers: a quotient has but so many digits.
    """
    return f"""
        SELECT e.day, e.account_id, e.item_id, e.region, sum(e.quantity) AS quantity
        FROM settlement_usageevent AS e
        WHERE e.item_id IN (SELECT id FROM packs_item WHERE aggregation = 'sum') AND {which}
        GROUP BY 1, 2, 3, 4
        UNION ALL
        SELECT day, account_id, item_id, region, count(*) FILTER (WHERE seen)
        FROM (SELECT e.day, e.account_id, e.item_id, e.region, e.resource, bool_or(e.quantity > 0) AS seen
              FROM settlement_usageevent AS e
              WHERE e.item_id IN (SELECT id FROM packs_item WHERE aggregation = 'distinct') AND {which}
              GROUP BY 1, 2, 3, 4, 5) AS resource
        GROUP BY 1, 2, 3, 4
        UNION ALL
        SELECT s.day, s.account_id, s.item_id, s.region,
               CASE i.aggregation WHEN 'peak' THEN max(s.quantity) ELSE div(2 * sum(s.quantity) + 288, 576) END
        FROM (SELECT day, account_id, item_id, region, slot, sum(top) AS quantity
              FROM (SELECT e.day, e.account_id, e.item_id, e.region, e.source, e.resource, max(e.quantity) AS top,
                           div(extract(epoch FROM e.occurred_at), 300) AS slot
                    FROM settlement_usageevent AS e
                    WHERE e.item_id IN (SELECT id FROM packs_item WHERE aggregation IN ('peak', 'mean')) AND {which}
                    GROUP BY e.day, e.account_id, e.item_id, e.region, e.source, e.resource, slot) AS series
              GROUP BY day, account_id, item_id, region, slot) AS s
        JOIN packs_item AS i ON i.id = s.item_id
        GROUP BY s.day, s.account_id, s.item_id, s.region, i.aggregation""" + (KEPT.format(which=which) if kept else "")
