"""Reading and judging usage events: CloudEvents 1.0 in, columns of the usage table or refusals out (rules 5.6)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import msgspec

from iss_billing.bare import bare_cursor
from iss_billing.days import SHANGHAI, oldest_accepted, start_of
from packs.models import HOME_REGION, Aggregation, Item
from packs.tariff import Spells
from settlement.partitions import expired_since

MOST_EVENTS = 10_000
MOST_BYTES = 16 * 1024 * 1024
MOST_QUANTITY = 10**15
FUTURE_ALLOWED = timedelta(minutes=10)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC).astimezone(SHANGHAI)
MICROSECOND = timedelta(microseconds=1)


Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Data(msgspec.Struct, gc=False):
    """What was used; the quantity is judged later, under a code of its own."""

    item: str
    quantity: Any = msgspec.UNSET
    region: Annotated[str, msgspec.Meta(max_length=255)] = HOME_REGION
    resource: Annotated[str, msgspec.Meta(max_length=255)] = ""


class Event(msgspec.Struct, gc=False):
    """A CloudEvent of ours; attributes that we do not use are ignored."""

    specversion: str
    type: str
    id: Name
    source: Name
    subject: str
    time: Moment
    data: Data


@dataclass(frozen=True, slots=True)
class Accepted:
    """Events to store, as the columns that `metering.store` writes, in its order."""

    days: list[date] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    event_ids: list[str] = field(default_factory=list)
    account_ids: list[int] = field(default_factory=list)
    item_ids: list[int] = field(default_factory=list)
    regions: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    quantities: list[int] = field(default_factory=list)
    occurred_us: list[int] = field(default_factory=list)
    """Microseconds since 1970: an integer is written and read much faster than a time."""

    def __len__(self) -> int:
        return len(self.days)

    def columns(self) -> tuple[list[Any], ...]:
        """All of them."""
        return tuple(getattr(self, name.name) for name in fields(self))


@dataclass(frozen=True, slots=True)
class Rejected:
    """A refused event: its place in the batch, its id where it has one, why, and the source it is counted under."""

    index: int
    id: str | None
    code: str
    detail: str
    source: str

    def as_json(self) -> dict[str, Any]:
        """As answers show it."""
        return {"index": self.index, "id": self.id, "code": self.code, "detail": self.detail}


class NotEvents(Exception):
    """The body is no JSON, or nothing that could hold CloudEvents."""


class TooMany(Exception):
    """More than 10,000 events in one batch."""


Faulty = tuple[str | None, str, str]
"""An event that is none: its id and source as far as they can be read, and what is wrong with it."""

_one = msgspec.json.Decoder(Event)
_many = msgspec.json.Decoder(list[Event])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_FINER_THAN_MICROSECONDS = re.compile(rb'("time"\s*:\s*"[^"\n]{19}\.[0-9]{6})[0-9]+')
_UNSTORABLE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
"""Escapes of a NUL or of half a character: the decoder takes both, PostgreSQL neither."""


def _truncated(body: bytes) -> bytes:
    """Times cut to microseconds: the decoder would round 23:59:59.9999999 up into the next day."""
    return _FINER_THAN_MICROSECONDS.sub(rb"\1", body)


def decode_one(body: bytes) -> Event | Faulty:
    """One structured event. Raises NotEvents when the body is no JSON object."""
    try:
        json = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotEvents(f"the body is not JSON: {error}") from error
    if not isinstance(json, dict):
        raise NotEvents("the body is not a CloudEvent: a JSON object is expected")
    return _careful(_truncated(body))


def decode_lines(lines: bytes) -> list[Event | Faulty]:
    """Events one a line, blank lines passed over; a line that is no JSON is a faulty event like any other."""
    return [_careful(line) for line in _truncated(lines).split(b"\n") if line and not line.isspace()]


def decode_batch(body: bytes) -> list[Event | Faulty]:
    """A batch of 1 to 10,000 events. Raises NotEvents, TooMany."""
    body = _truncated(body)
    events: list[Event | Faulty]
    try:
        if _UNSTORABLE.search(body):
            raise msgspec.ValidationError("looked at one by one")
        events = list(_many.decode(body))
    except msgspec.ValidationError:
        try:
            raws = _raws.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise NotEvents(f"the body is not a JSON array of CloudEvents: {error}") from error
        if len(raws) > MOST_EVENTS:
            raise TooMany from None
        events = [_careful(bytes(raw)) for raw in raws]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotEvents(f"the body is not JSON: {error}") from error
    if not events:
        raise NotEvents("the batch is empty")
    if len(events) > MOST_EVENTS:
        raise TooMany
    return events


def _careful(raw: bytes) -> Event | Faulty:
    """One event, or what is wrong with it; also when the fault is in the text of a string."""
    try:
        event = _one.decode(raw)
        if _UNSTORABLE.search(raw):
            for text in (
                event.id,
                event.source,
                event.subject,
                event.data.item,
                event.data.region,
                event.data.resource,
            ):
                if "\x00" in text:
                    raise msgspec.ValidationError("a NUL character")
                text.encode()
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return _readable(raw, str(error))
    return event


def _readable(raw: bytes, fault: str) -> Faulty:
    """Id and source of a faulty event, as far as they are plain strings."""
    try:
        json = msgspec.json.decode(raw)
        id, source = (json.get("id"), json.get("source")) if isinstance(json, dict) else (None, None)
        id = id if isinstance(id, str) and id.encode() else None
        source = source[:255].replace("\x00", "") if isinstance(source, str) and source.encode() else ""
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None, "", fault
    return id, source, fault


ACCOUNTS = """
SELECT id, (opened_at AT TIME ZONE 'Asia/Shanghai')::date, closed_at FROM accounts_account
WHERE id = ANY(%s::bigint[])
"""


class Judge:
    """Decides, event by event, by the accounts, items and tariff of one moment; the first code that applies wins."""

    def __init__(self, subjects: Iterable[str], now: datetime) -> None:
        self.latest = (now + FUTURE_ALLOWED).astimezone(SHANGHAI)
        self.earliest = start_of(oldest_accepted(now))
        self.accounts: Mapping[str, tuple[int, date, datetime | None]] = _accounts(subjects)
        self.items = {
            code: (id, how == Aggregation.DISTINCT)
            for id, code, how in Item.objects.values_list("id", "code", "aggregation")
        }
        self.tariff = Spells()
        # none by today's clock; an import with an earlier one may meet days whose events, and ids, are gone
        self.expired = expired_since(oldest_accepted(now))

    def _time_refused(self, time: datetime, day: date, opened: date) -> tuple[str, str] | None:
        if time > self.latest:
            return "in_future", "the event's time is more than 10 minutes ahead"
        if time < self.earliest:
            return "too_old", "the event's day is more than 30 days ago"
        if self.expired and day in self.expired:
            return "too_old", "the usage of the event's day has expired"
        return ("before_account", "the event's day is before the account was opened") if day < opened else None

    def judge(self, event: Event, accepted: Accepted) -> tuple[str, str] | None:
        """Lay the event out in the columns, or the code and detail of its refusal."""
        if event.specversion != "1.0" or event.type != "iss.usage":
            return "invalid_event", "specversion 1.0 and type iss.usage are expected"
        if (account := self.accounts.get(event.subject)) is None:
            return "unknown_account", f"there is no account “{event.subject[:40]}”"
        account_id, opened, closed = account
        if closed is not None and event.time >= closed:
            return "unknown_account", f"account {account_id} was closed before the event's time"
        data = event.data
        if (item := self.items.get(data.item)) is None:
            return "unknown_item", f"there is no item “{data.item[:40]}”"
        item_id, distinct = item
        quantity = data.quantity
        if quantity is msgspec.UNSET and distinct:
            quantity = 1
        if type(quantity) is not int or not 0 <= quantity <= MOST_QUANTITY:
            return "invalid_quantity", "the quantity is a JSON integer from 0 to 10^15"
        if distinct and not data.resource:
            return "missing_resource", f"{data.item} counts resources: the event must name one"
        time = _in_shanghai(event.time)
        day = time.date()
        if refusal := self._time_refused(time, day, opened):
            return refusal
        first = self.tariff.first.get((item_id, data.region))
        if (
            first is None
            or day < first
            or (self.tariff.broken and self.tariff.interrupted((item_id, data.region), day))
        ):
            return "unknown_region", f"{data.item} has no tariff in “{data.region[:40]}” on {day}"
        accepted.days.append(day)
        accepted.sources.append(event.source)
        accepted.event_ids.append(event.id)
        accepted.account_ids.append(account_id)
        accepted.item_ids.append(item_id)
        accepted.regions.append(data.region)
        accepted.resources.append(data.resource)
        accepted.quantities.append(quantity)
        accepted.occurred_us.append((time - EPOCH) // MICROSECOND)
        return None


def _accounts(subjects: Iterable[str]) -> dict[str, tuple[int, date, datetime | None]]:
    """By subject, the account, the day on which it was opened, and when it was closed."""
    ids = ",".join(subject for subject in subjects if subject.isascii() and subject.isdigit() and len(subject) < 19)
    with bare_cursor() as cursor:
        cursor.execute(ACCOUNTS, [f"{{{ids}}}"], binary=True)
        return {str(row[0]): row for row in cursor.fetchall()}


def _in_shanghai(time: datetime) -> datetime:
    """The same instant there, where times are compared in a fraction of the time; not at the ends of the calendar."""
    try:
        return time.astimezone(SHANGHAI)
    except OverflowError:
        return time


def judge_all(events: Iterable[Event | Faulty], now: datetime, first_index: int = 0) -> tuple[Accepted, list[Rejected]]:
    """Part events into what is to be stored and what is refused, with `first_index` as the first one's place."""
    [accepted], rejected = judge_into_lanes(list(events), now, first_index, lanes=1)
    return accepted, rejected


def judge_into_lanes(
    events: Sequence[Event | Faulty], now: datetime, first_index: int, lanes: int
) -> tuple[list[Accepted], list[Rejected]]:
    """Part events as `judge_all` does, what is to be stored into lanes that can be stored side by side.

    All events of one id come into the same lane, in their order, so of an id repeated the first still counts.
    """
    # who they name, so that the database is asked once; each event is judged, and put into its columns, in one pass
    judge = Judge({event.subject for event in events if isinstance(event, Event)}, now)
    accepted = [Accepted() for _ in range(lanes)]
    rejected: list[Rejected] = []
    for index, event in enumerate(events, start=first_index):
        if not isinstance(event, Event):
            id, source, fault = event
            rejected.append(Rejected(index, id, "invalid_event", fault, source))
        elif refusal := judge.judge(event, accepted[hash(event.id) % lanes]):
            rejected.append(Rejected(index, event.id, *refusal, event.source))
    return accepted, rejected
