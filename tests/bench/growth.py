"""How the night grows: time per account over three sizes, and one giant account among others."""

from statistics import median

from tests.bench import database, night
from tests.bench.database import connect, fresh_copy

RUNS = 3
LONG_ENOUGH = 50_000
"""Accounts that a run settles at least, on as many copies as it takes: 10,000 are done in a second, and a second says
little on a machine that others use as well."""
Figures = dict[str, float | int | str]


def measure(figures: Figures, sizes: tuple[int, ...], runs: int) -> None:
    """Microseconds per account with two worker processes; the runs of the sizes take turns."""
    for accounts in sizes:
        database.build(accounts, accounts * 10, name=_base(accounts))
    taken: dict[int, list[float]] = {accounts: [] for accounts in sizes}
    shown: dict[int, list[str]] = {}
    for run in range(1, runs + 1):
        for accounts in sizes:
            nights = max(LONG_ENOUGH // accounts, 1) if runs > 1 else 1
            seconds = 0.0
            for _ in range(nights):
                with fresh_copy(_base(accounts)) as name:
                    spent, peak = night.settle(name, 2)
                seconds += spent
                shown.setdefault(accounts, []).append(f"{spent * 1_000_000 / accounts:.0f}")
                figures["settle_worker_peak_mb"] = max(peak, int(figures.get("settle_worker_peak_mb", 0)))
            taken[accounts].append(seconds * 1_000_000 / nights / accounts)
            figures[f"growth_{accounts}_us_per_account_run_{run}"] = round(taken[accounts][-1], 1)
    for accounts in sizes:
        figures[f"growth_{accounts}_us_per_account"] = round(median(taken[accounts]), 1)
        figures[f"growth_{accounts}_us_per_account_nights"] = " ".join(shown[accounts])
        database.drop(_base(accounts))
    medians = [median(of_size) for of_size in taken.values()]
    figures["growth_slowest_over_fastest"] = round(max(medians) / min(medians), 2)


def _base(accounts: int) -> str:
    return f"{database.BASE}_{accounts}"


def measure_giant(figures: Figures, accounts: int, packs: int) -> None:
    """A night with an account of so many packs and 1,000 events for each: its shard, and the others meanwhile."""
    base = f"{database.BASE}_giant"
    database.build(accounts, accounts * 10, name=base, giant=packs)
    with fresh_copy(base) as name:
        seconds, peak = night.settle(name, 2)
        with connect(name) as connection:
            spent = connection.execute(
                """WITH giant AS (SELECT account_id AS id FROM packs_pack GROUP BY 1 ORDER BY count(*) DESC LIMIT 1)
                SELECT extract(epoch FROM done_at - started_at)::float, started_at, done_at
                FROM settlement_settlementshard
                ORDER BY (SELECT id FROM giant) BETWEEN first_account AND last_account"""
            ).fetchall()
    database.drop(base)
    figures["settle_worker_peak_mb"] = max(peak, int(figures.get("settle_worker_peak_mb", 0)))
    longest, begun, ended = spent[-1]
    figures["giant_accounts_beside_it"] = accounts - 1
    figures["giant_night_seconds"] = round(seconds, 2)
    figures["giant_shard_seconds"] = round(longest, 2)
    figures["giant_other_shards_median_seconds"] = round(median(one for one, _, _ in spent[:-1]), 2)
    figures["giant_shards_done_meanwhile"] = sum(begun < done <= ended for _, _, done in spent[:-1])
