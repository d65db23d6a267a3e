"""The settings of a server that can be made to crash."""

from iss_billing.settings import *  # noqa: F403 - the product's own, and one thing more
from iss_billing.settings import MIDDLEWARE

MIDDLEWARE = ["tests.crash.KillAfterCommit", *MIDDLEWARE]
