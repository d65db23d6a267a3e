"""The night gives way to people: while there are any, it leaves the machine to them for as long as it has used it.

A worker's niceness and weight do not reach its connection, and three quarters of a night's work are the server's.
"""

from time import sleep

from django.db import connection

from iss_billing.links import PAGES

LATELY_SECONDS = 1
LONGEST_SECONDS = 5.0
"""Less than what a run may stand still before its shards are handed out again (`tasks.LOST_AFTER`)."""

SERVED = """
SELECT EXISTS (
    SELECT FROM pg_stat_activity AS page JOIN pg_stat_activity AS this ON this.pid = pg_backend_pid()
    WHERE page.datname = this.datname AND page.application_name = %s
      AND page.state_change > this.query_start - make_interval(secs => %s)
)
"""


def give_way(worked: float) -> None:
    """Rest for as many seconds as were just worked, if the site has served anybody lately.

    Called between transactions, or where nothing is locked: who is served waits for locks as well.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # or a transaction sees whom it saw first
        cursor.execute(SERVED, [PAGES, LATELY_SECONDS])
        (served,) = cursor.fetchone()
    if served:
        sleep(min(worked, LONGEST_SECONDS))
