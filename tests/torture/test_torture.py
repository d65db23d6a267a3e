"""The sample of the torture that `make test` plays; `make torture N=500` plays more of it."""

import pytest

from tests.torture.chaos import INSIDE, KINDS
from tests.torture.round import play

SEED, KILLS, DAYS = 8, 27, 3


def test_what_is_killed_at_any_moment_leaves_the_books_that_calm_would(capsys: pytest.CaptureFixture[str]) -> None:
    report = play(SEED, KILLS, days=DAYS)
    assert all(report.kills[kind] >= 3 for kind in KINDS), report
    assert all(report.extra[kind] for kind in ("shards again", "second runs")), report
    workers = sum(report.kills[kind] for kind in INSIDE)
    assert 2 * sum(report.inside[kind] for kind in INSIDE) >= workers, report
    assert capsys.readouterr().out.count("inside transaction") == report.inside.total(), "the log proves each"
