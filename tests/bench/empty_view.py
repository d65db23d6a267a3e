"""The product's settings with one call more: a view of the platform's that does nothing."""

from iss_billing.settings import *  # noqa: F403 - the product's own

ROOT_URLCONF = "tests.bench.empty_urls"
