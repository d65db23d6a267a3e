"""Calling a worker at once for what a beat task would find within the minute."""

import logging
from typing import Any

log = logging.getLogger(__name__)


def wake(task: Any, *arguments: Any) -> None:
    """Hand a task to the broker; without a broker the next tick does it."""
    try:
        task.apply_async(arguments, retry=False)
    except task.OperationalError as error:
        log.warning("no broker to wake a worker with (%s): the next tick does it", error)
