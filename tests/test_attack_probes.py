"""Bytes of chance at what watches the product: its figures come of statements of their own, so nothing is undone."""

import random

import pytest
from django.test import Client
from django.urls import reverse

from iss_billing.requests import REQUESTS, SECONDS
from tests.sender import sending
from tests.test_attack_bytes import BODIES, PROBES, SEED, Target

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("name", sorted(PROBES))
def test_bytes_of_chance_are_answered_by_the_probes(name: str) -> None:
    REQUESTS.clear()  # of other tests' addresses, each a line of the answer
    SECONDS.clear()
    chance = random.Random(f"{SEED} {name}")
    with sending() as site:
        target = Target(name, reverse(name), site.asker(Client()))
        target.look()
        for _ in range(BODIES):
            target.send(chance)
