"""Reading and judging usage events: CloudEvents 1.0 in, columns of the usage table or refusals out (rules 5.6)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import msgspec

from accounts.models import Account
from iss_billing.days import SHANGHAI, oldest_accepted, start_of
from packs.models import HOME_REGION, Aggregation, Item, TariffPrice
from settlement.partitions import expired_since

MOST_EVENTS = 10_000
MOST_QUANTITY = 10**15
FUTURE_ALLOWED = timedelta(minutes=10)


Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Data(msgspec.Struct):
    """What was used; the quantity is judged later, under a code of its own."""

    item: str
    quantity: Any = msgspec.UNSET
    region: Annotated[str, msgspec.Meta(max_length=255)] = HOME_REGION
    resource: Annotated[str, msgspec.Meta(max_length=255)] = ""


class Event(msgspec.Struct):
    """A CloudEvent of ours; attributes that we do not use are ignored."""

    specversion: str
    type: str
    id: Name
    source: Name
    subject: str
    time: Moment
    data: Data


class Accepted(NamedTuple):
    """The columns of a stored event, in the order in which `metering.store` writes them."""

    day: date
    source: str
    event_id: str
    account_id: int
    item_id: int
    region: str
    resource: str
    quantity: int
    occurred_at: datetime


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
_FINER_THAN_MICROSECONDS = re.compile(rb'("time"\s*:\s*"[^"]{19}\.[0-9]{6})[0-9]+')


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
    return _careful(body)


def decode_line(line: bytes) -> Event | Faulty:
    """One line of a file; what is no JSON is a faulty event like any other."""
    return _careful(line)


def decode_batch(body: bytes) -> list[Event | Faulty]:
    """A batch of 1 to 10,000 events. Raises NotEvents, TooMany."""
    events: list[Event | Faulty]
    try:
        if b"\\u" in body:
            raise msgspec.ValidationError("escapes are looked at one by one")
        events = list(_many.decode(_truncated(body)))
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
        event = _one.decode(_truncated(raw))
        texts = (event.id, event.source, event.subject, event.data.item, event.data.region, event.data.resource)
        if any("\x00" in text for text in texts):
            raise msgspec.ValidationError("a NUL character")
        for text in texts:
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


class Judge:
    """Decides, event by event, by the accounts, items and tariff of one moment; the first code that applies wins."""

    def __init__(self, subjects: Iterable[str], now: datetime) -> None:
        ids = [
            int(subject) for subject in set(subjects) if subject.isascii() and subject.isdigit() and len(subject) < 19
        ]
        self.accounts: Mapping[str, tuple[int, datetime]] = {
            str(id): (id, start_of(opened.astimezone(SHANGHAI).date()))
            for id, opened in Account.objects.filter(pk__in=ids).values_list("id", "opened_at")
        }
        self.items = {code: (id, how) for id, code, how in Item.objects.values_list("id", "code", "aggregation")}
        first = TariffPrice.objects.order_by("item_id", "region", "effective_day").distinct("item_id", "region")
        self.opened: Mapping[tuple[int, str], date] = {
            (item, region): day for item, region, day in first.values_list("item_id", "region", "effective_day")
        }
        self.latest = now + FUTURE_ALLOWED
        self.earliest = start_of(oldest_accepted(now))
        # none by today's clock; an import with an earlier one may meet days whose events, and ids, are gone
        self.expired = expired_since(oldest_accepted(now))

    def _time_refused(self, time: datetime, opened: datetime) -> tuple[str, str] | None:
        if time > self.latest:
            return "in_future", "the event's time is more than 10 minutes ahead"
        if time < self.earliest:
            return "too_old", "the event's day is more than 30 days ago"
        if self.expired and time.astimezone(SHANGHAI).date() in self.expired:
            return "too_old", "the usage of the event's day has expired"
        return ("before_account", "the event's day is before the account was opened") if time < opened else None

    def judge(self, event: Event) -> Accepted | tuple[str, str]:
        """The columns to store, or the code and detail of the refusal."""
        if event.specversion != "1.0" or event.type != "iss.usage":
            return "invalid_event", "specversion 1.0 and type iss.usage are expected"
        if (account := self.accounts.get(event.subject)) is None:
            return "unknown_account", f"there is no account “{event.subject[:40]}”"
        data = event.data
        if (item := self.items.get(data.item)) is None:
            return "unknown_item", f"there is no item “{data.item[:40]}”"
        account_id, opened = account
        item_id, aggregation = item
        quantity = data.quantity
        if quantity is msgspec.UNSET and aggregation == Aggregation.DISTINCT:
            quantity = 1
        if type(quantity) is not int or not 0 <= quantity <= MOST_QUANTITY:
            return "invalid_quantity", "the quantity is a JSON integer from 0 to 10^15"
        if aggregation == Aggregation.DISTINCT and not data.resource:
            return "missing_resource", f"{data.item} counts resources: the event must name one"
        if refusal := self._time_refused(event.time, opened):
            return refusal
        day = event.time.astimezone(SHANGHAI).date()
        first = self.opened.get((item_id, data.region))
        if first is None or day < first:
            return "unknown_region", f"{data.item} has no tariff in “{data.region[:40]}” on {day}"
        return Accepted(
            day, event.source, event.id, account_id, item_id, data.region, data.resource, quantity, event.time
        )


def judge_all(
    events: Iterable[Event | Faulty], now: datetime, first_index: int = 0
) -> tuple[list[Accepted], list[Rejected]]:
    """Part events into what is to be stored and what is refused, with `first_index` as the first one's place."""
    events = list(events)
    judge = Judge((event.subject for event in events if isinstance(event, Event)), now)
    accepted: list[Accepted] = []
    rejected: list[Rejected] = []
    for index, event in enumerate(events, start=first_index):
        if not isinstance(event, Event):
            id, source, fault = event
            rejected.append(Rejected(index, id, "invalid_event", fault, source))
            continue
        verdict = judge.judge(event)
        if isinstance(verdict, Accepted):
            accepted.append(verdict)
        else:
            rejected.append(Rejected(index, event.id, *verdict, event.source))
    return accepted, rejected
