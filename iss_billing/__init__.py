"""The project: settings, wiring, and what every app uses (money, days, problems)."""

from iss_billing.celery import app as celery_app

__all__ = ["celery_app"]
