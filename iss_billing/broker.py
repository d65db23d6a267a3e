"""Redis as Celery's broker, for a worker that outlives it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from kombu.transport import redis as kombu_redis


class Channel(kombu_redis.Channel):
    """Kombu's channel, whose link may be gone while its tasks are still in hand.

    A lost link is torn down at once. Tasks that it delivered are then acknowledged or handed back over nothing, of
    which kombu dies with an AttributeError, and the whole worker with it. A ConnectionError is what it is, and what
    Celery expects: it logs that the task could not be acknowledged, and goes on with the new link.
    """

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """A client of the broker. Raises redis.ConnectionError once the link is torn down."""
        if client is None and (self.connection is None or self.connection.client is None):
            raise redis.ConnectionError("the link that delivered this task is gone")
        with super().conn_or_acquire(client) as it:
            yield it


class Transport(kombu_redis.Transport):
    """Kombu's transport with the channel above."""

    Channel = Channel
