"""Demo data: two customers and a staff login, lived day by day through the public writers under a moving clock."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from accounts.ledger import record_top_up
from accounts.models import BANDWIDTH, TRAFFIC, Account, User
from accounts.modes import switch_mode
from accounts.opening import open_account
from iss_billing.days import SLOT, SLOTS_PER_DAY, day_of, start_of
from packs.models import Pack
from packs.orders import LineRequest, place_order
from packs.refunds import refund_pack
from settlement.arrears import sweep
from settlement.events import Data, Event
from settlement.metering import meter
from settlement.models import UsageEvent
from settlement.runs import settle

DAYS = 60
ARREARS_DAYS = 12
PASSWORD = "iss-billing-demo"  # noqa: S105 - known on purpose: the command refuses to run in production
CUSTOMER, IN_ARREARS, STAFF = "demo@example.com", "arrears@example.com", "staff@example.com"

SITES = ("/edge/west", "/edge/east", "/edge/kitchen")
AI_PER_DAY = {
    "ai.face": 45_000,
    "ai.image-label": 6_500,
    "ai.plate": 420,
    "ai.vehicle": 36_000,
    "ai.kitchen.uniform": 8_000,
    "ai.kitchen.hat": 8_300,
    "ai.kitchen.mask": 8_100,
    "ai.kitchen.smoking": 8_200,
    "ai.kitchen.phone": 7_900,
    "video.snapshot": 3_000,
}
TRAFFIC_PER_DAY = {"traffic.down": 150 * 10**9, "traffic.up": 95 * 10**9}
PEAKS = {"bandwidth.down": 28 * 10**6, "bandwidth.up": 19 * 10**6}
STORED = 1_050 * 10**9
CHANNELS = 48
# what a shop street sees by the hour, in hundredths of the busiest
HOURS = (18, 14, 12, 11, 12, 16, 25, 38, 52, 60, 66, 78, 92, 84, 66, 58, 60, 70, 88, 100, 96, 74, 46, 26)


@dataclass(frozen=True)
class Act:
    """What the customer does on a day, counted from the opening: buy a SKU, top up, switch, or give a pack back."""

    day: int
    hour: int
    kind: str
    what: str


ACTS = (
    Act(0, 9, "top_up", "26000.00"),
    Act(0, 10, "switch", TRAFFIC),
    Act(0, 11, "buy", "plate-100k"),
    Act(1, 9, "buy", "face-10m"),
    Act(2, 9, "buy", "kitchen-1m"),
    Act(2, 15, "buy", "traffic-down-10tb"),
    Act(14, 10, "top_up", "6000.00"),
    Act(20, 14, "buy", "pet-100k"),
    Act(21, 9, "refund", "pet-100k"),
    Act(24, 9, "buy", "image-label-100k"),
    Act(27, 9, "buy", "kitchen-1m"),
    Act(36, 16, "top_up", "8000.00"),
    Act(40, 10, "switch", BANDWIDTH),
    Act(50, 9, "top_up", "5000.00"),
    Act(57, 14, "buy", "kitchen-1m"),
    Act(58, 16, "buy", "kitchen-1m"),
)


def make_demo(now: datetime) -> bool:
    """Make the demo data as of `now`; False when it was complete. Cut short, it goes on where it stopped.

    Every step has its own key or reference, so that none is ever done twice.
    """
    if not User.objects.filter(email=STAFF).exists():
        User.objects.create_superuser(STAFF, PASSWORD)
    customer = _account("云岚连锁", CUSTOMER, now, DAYS)
    debtor = _account("青石便利", IN_ARREARS, now, ARREARS_DAYS)
    opened = day_of(customer.opened_at)
    end = opened + timedelta(days=DAYS)
    if _complete(customer, end):
        return False
    for number in range(DAYS + 1):
        day = opened + timedelta(days=number)
        _live(customer, number, day, now)
        if day >= day_of(debtor.opened_at):
            _owe(debtor, day, now)
        night = start_of(day) + timedelta(days=1, hours=2)
        if night <= now and day < end:
            settle(now=night, through=day)
            sweep(night)
    return True


def _complete(customer: Account, end: date) -> bool:
    """Whether the last day's usage has been reported: what follows is the worker's."""
    return UsageEvent.objects.filter(account=customer, day=end).exists()


def _account(name: str, email: str, now: datetime, days: int) -> Account:
    """The demo account, opened at 08:00 so many days ago."""
    known = Account.objects.filter(user__email=email).first()
    opened = start_of(day_of(now)) - timedelta(days=days) + timedelta(hours=8)
    return known or open_account(name=name, now=opened, email=email, password=PASSWORD)


def _live(account: Account, number: int, day: date, now: datetime) -> None:
    """A day of the customer: acts, and usage as far as the clock has come."""
    for act in ACTS:
        moment = start_of(day) + timedelta(hours=act.hour)
        if act.day == number and moment <= now:
            _act(account, act, moment)
    _report(
        [event for event in _usage(account, day, number) if event.time <= now],
        min(start_of(day) + timedelta(days=1), now),
    )
    if number == DAYS - 9:
        # a camera that was off-line for three days reports late: a supplementary bill
        late = start_of(day) - timedelta(days=3) + timedelta(hours=11)
        _report([_event(account, "ai.vehicle", 2_400, late, SITES[1], "late")], start_of(day) + timedelta(hours=12))


def _act(account: Account, act: Act, moment: datetime) -> None:
    key = f"demo-{account.pk}-{act.day}-{act.hour}-{act.kind}"
    if act.kind == "top_up":
        amount = int(act.what.replace(".", ""))
        record_top_up(account_id=account.pk, amount=amount, reference=key, now=moment)
    elif act.kind == "switch":
        switch_mode(account_id=account.pk, mode=act.what, now=moment)
    elif act.kind == "buy":
        place_order(account_id=account.pk, lines=[LineRequest(act.what, 1)], key=key, now=moment)
    elif pack := Pack.objects.filter(account=account, sku__code=act.what, refunded_at=None).first():
        refund_pack(account_id=account.pk, pack_id=pack.pk, now=moment)


def _usage(account: Account, day: date, number: int) -> Iterator[Event]:
    """A day's events: hourly calls and traffic, five-minute reports of bandwidth and storage, channels seen."""
    chance = random.Random(f"{number}")  # noqa: S311 - the same day every time, nothing secret
    start = start_of(day)
    busy = sum(HOURS)
    weekend = 118 if day.weekday() >= 5 else 100
    for hour, share in enumerate(HOURS):
        moment = start + timedelta(hours=hour, minutes=30)
        for item, daily in (AI_PER_DAY | TRAFFIC_PER_DAY).items():
            quantity = daily * share * weekend * chance.randint(90, 110) // (busy * 100 * 100)
            yield _event(account, item, quantity, moment, SITES[hour % 3], f"{item}-{hour}")
    for slot in range(SLOTS_PER_DAY):
        moment, share = start + slot * SLOT, HOURS[slot // 12]
        for place, site in enumerate(SITES):
            for item, peak in PEAKS.items():
                quantity = peak * share * (10 + place) * chance.randint(90, 110) // (100 * 10 * 100)
                yield _event(account, item, quantity, moment, site, f"{item}-{slot}")
            stored = STORED + number * 2 * 10**9 + chance.randint(0, 10**9)
            yield _event(account, "storage.standard", stored, moment, site, f"store-{slot}")
    for channel in range(CHANNELS):
        yield _event(
            account, "device.gb28181", 1, start + timedelta(hours=7), SITES[0], f"ch-{channel}", f"3402{channel:04}"
        )


def _owe(account: Account, day: date, now: datetime) -> None:
    """A day of the customer that falls into arrears in the last night."""
    opened = day_of(account.opened_at)
    if day == opened:
        paid = (ARREARS_DAYS * 24 - 12) * 100
        moment = account.opened_at + timedelta(hours=1)
        record_top_up(account_id=account.pk, amount=paid, reference=f"demo-{account.pk}", now=moment)
    moment = start_of(day) + timedelta(hours=12)
    if moment <= now:
        _report([_event(account, "ai.plate", 240, moment, "/edge/gate", "plates")], moment)


def _event(
    account: Account, item: str, quantity: int, moment: datetime, source: str, id: str, resource: str = ""
) -> Event:
    return Event(
        specversion="1.0",
        type="iss.usage",
        id=f"{account.pk}-{moment:%Y%m%d}-{id}",
        source=source,
        subject=str(account.pk),
        time=moment,
        data=Data(item=item, quantity=quantity, resource=resource or "gate"),
    )


def _report(events: list[Event], moment: datetime) -> None:
    if events:
        meter(events, moment)
