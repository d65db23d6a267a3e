"""Importing usage: a file of CloudEvents, one a line, judged here while the database stores what was judged before."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any, BinaryIO

from django.db import connection

from settlement.events import MOST_BYTES, Accepted, Rejected, decode_lines, judge_into_lanes
from settlement.metering import Ingested, store

BLOCK_BYTES = 4 * 2**20
"""Lines judged at once, some 20,000; a lane stores its share of them in one transaction."""
LANES = 2
"""Connections that store side by side: one spends about as long waiting for its own commits and locks as working."""
BLOCKS_AHEAD = 2


def import_lines(file: BinaryIO, now: datetime) -> Iterator[tuple[int, Ingested]]:
    """Store a file block by block, in flat memory: the bytes read so far and what became of each block.

    A block is told once it is durable, in the order of the file. Of an id repeated the first counts, as if all were
    one batch. Stopped half-way, what is stored stays, and the same file again counts it as duplicates.
    """
    index = 0
    told: deque[tuple[int, list[Future[Ingested]]]] = deque()
    with _lanes() as lanes:
        before: list[Future[Ingested] | None] = [None] * len(lanes)
        for read, lines in _blocks(file):
            events = decode_lines(lines)
            accepted, rejected = judge_into_lanes(events, now, index, len(lanes))
            index += len(events)
            refusals: list[list[Rejected]] = [rejected, *([] for _ in lanes[1:])]
            stored = [
                lane.submit(_store_after, last, share, refused, now)
                for lane, last, share, refused in zip(lanes, before, accepted, refusals, strict=True)
            ]
            before = [*stored]
            told.append((read, stored))
            if len(told) > BLOCKS_AHEAD:
                yield _told(*told.popleft())
        for one in told:
            yield _told(*one)


def _store_after(
    before: Future[Ingested] | None, events: Accepted, rejected: list[Rejected], now: datetime
) -> Ingested:
    """Store a lane's share of a block, if that of the block before it went well: the first of an id comes first."""
    if before:
        before.result()
    return store(events, rejected, now)


def _told(read: int, stored: list[Future[Ingested]]) -> tuple[int, Ingested]:
    parts = [future.result() for future in stored]
    return read, Ingested(
        sum(done.accepted for done in parts), sum(done.duplicates for done in parts), parts[0].rejected
    )


def _blocks(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Whole lines, megabytes at once, and the bytes read so far; of a line beyond all bounds only its beginning."""
    read = 0
    while block := file.read(BLOCK_BYTES):
        rest = last = file.readline(MOST_BYTES)
        read += len(block) + len(rest)
        while len(last) == MOST_BYTES and not last.endswith(b"\n"):
            last = file.readline(MOST_BYTES)
            read += len(last)
        yield read, block + rest


@contextmanager
def _lanes() -> Iterator[list[Executor]]:
    """Threads with a connection each; inside a transaction only the caller's own."""
    if connection.in_atomic_block:
        yield [_Here()]
        return
    lanes = [ThreadPoolExecutor(1) for _ in range(LANES)]
    try:
        yield [*lanes]
    finally:
        for lane in lanes:
            lane.submit(connection.close)
            lane.shutdown()


class _Here(Executor):
    """Does at once what it is given."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future that is done."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future
