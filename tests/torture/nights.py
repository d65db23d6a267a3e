"""Watches what settlement does, and moves the clock of the world from night to morning."""

import threading
import time
from datetime import date, datetime, timedelta
from typing import Any

import psycopg

from iss_billing.days import start_of
from tests.torture.chaos import EXPIRES
from tests.torture.script import FIRST
from tests.torture.stage import Stage

MOST_SECONDS = 240
"""Of a night: the next one begins five minutes earlier."""
RUNS = "SELECT finished_at IS NOT NULL, balances FROM settlement_settlementrun WHERE through_day >= %s"
UNANNOUNCED = """
SELECT FROM accounts_account WHERE arrears_since <= %s AND announced NOT IN ('suspended', 'reclaimed') AND id = ANY(%s)
"""
PENDING = """
SELECT account_id, day FROM settlement_pendingday WHERE day <= %(day)s AND account_id = ANY(%(ids)s)
UNION SELECT mark.account_id, mark.day FROM settlement_usagebatch AS batch,
    unnest(batch.account_ids, batch.days) AS mark (account_id, day)
WHERE mark.day <= %(day)s AND mark.account_id = ANY(%(ids)s)
"""


class Nights(threading.Thread):
    """Watches what settlement does, and moves the clock: a night, and when all is settled the sweep after it."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(name="nights", daemon=True)
        self.stage, self.cluster = stage, stage.cluster
        self.number = -1
        self.begun = 0.0
        self.leaving = threading.Event()
        self.names = {id: name for name, id in stage.ids.items()}
        self.scripted = [stage.ids[name] for name in stage.plan.accounts]

    def fall(self, number: int) -> None:
        """The night after a day: each a little earlier than the one before, or it would be 24 h after a bill."""
        night = start_of(self.stage.plan.day(number + 1)) + timedelta(hours=2, minutes=50 - 5 * number)
        self.cluster.set_clock(night, moving=True)
        self.begun = time.monotonic()
        self.number = number

    def run(self) -> None:
        """Until told to leave."""
        while not self.leaving.wait(0.1):
            self._prove_all_stay()
            try:
                with self.cluster.connect() as connection:
                    while not self.leaving.wait(0.1):
                        self._prove_all_stay()
                        self._look(connection)
            except psycopg.OperationalError:
                continue  # PostgreSQL was killed
            except Exception as error:
                self.stage.fail(f"nights: {type(error).__name__}: {error}")
                return

    def _prove_all_stay(self) -> None:
        if left := self.cluster.left:
            self.stage.fail(f"{', '.join(left)} ended although nobody killed it: see its log")

    def _look(self, connection: "psycopg.Connection[Any]") -> None:
        number = self.number
        bills = connection.execute("SELECT account_id, day FROM settlement_bill WHERE sequence = 1").fetchall()
        billed = {(self.names[account], (day - FIRST).days) for account, day in bills}
        if billed != self.stage.billed:
            self.stage.say(billed=billed)
        if self.stage.night >= number:
            return
        if time.monotonic() - self.begun > MOST_SECONDS:
            self.stage.fail(f"the night of day {number} was not over after {MOST_SECONDS} s")
        day = self.stage.plan.day(number)
        if not self._finished(connection, day):
            return
        self._prove_nothing_is_forgotten(connection, day)
        if self.stage.errors:
            return
        sweep = start_of(self.stage.plan.day(number + 1)) + timedelta(hours=3)
        self.cluster.set_clock(sweep, moving=False)
        while not self._announced(connection, sweep):
            if self.leaving.wait(0.1):
                return
        self.stage.say(night=number)

    def _announced(self, connection: "psycopg.Connection[Any]", sweep: datetime) -> bool:
        """Whether the sweep has told everybody who is suspended by now."""
        return connection.execute(UNANNOUNCED, [sweep - timedelta(days=1), self.scripted]).fetchone() is None

    def _finished(self, connection: "psycopg.Connection[Any]", day: date) -> bool:
        """Whether every run of the night is finished and none can begin: what comes late is the next night's."""
        runs = connection.execute(RUNS, [day]).fetchall()
        late = time.monotonic() > self.stage.second_run + EXPIRES + 1
        return bool(runs) and all(finished for finished, _ in runs) and late

    def _prove_nothing_is_forgotten(self, connection: "psycopg.Connection[Any]", day: date) -> None:
        """The run is over: nobody's day up to this one is still pending."""
        left = connection.execute(PENDING, {"day": day, "ids": self.scripted}).fetchall()
        failed = connection.execute("SELECT account_id, day, error FROM settlement_settlementfailure").fetchall()
        bills = connection.execute("SELECT account_id FROM settlement_bill WHERE day = %s", [day]).fetchall()
        # every script reports some billable use every day
        without = set(self.scripted) - {account for (account,) in bills}
        if left or failed or without:
            self.stage.fail(f"the run of {day} is over; pending: {left}; failed: {failed}; without a bill: {without}")
