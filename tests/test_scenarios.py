"""The program against the model: the same random scenarios give the same answers, to the unit and the fen.

`SCENARIO_SEEDS=1000-1300` runs other seeds than the fixed sample; `SCENARIO_SEEDS=7` runs one.
"""

from __future__ import annotations

import os

import pytest

from tests.scenarios import run, scenario

SAMPLE = range(1, 26)


def chosen() -> range:
    wanted = os.environ.get("SCENARIO_SEEDS", "")
    first, _, last = wanted.partition("-")
    return range(int(first), int(last or first) + 1) if wanted else SAMPLE


@pytest.mark.django_db
@pytest.mark.parametrize("seed", chosen())
def test_the_program_answers_as_the_model(seed: int) -> None:
    run(seed)


def test_a_seed_always_writes_the_same_scenario() -> None:
    assert scenario(5) == scenario(5)
    assert scenario(5) != scenario(6)
