"""The fixed inputs of a round: what each account does, day by day, at which time of its own clock, under which keys.

A step may wait for a gate. `billed`: the account's own day before is billed, while other accounts' may not be yet.
`night`: the whole night is over and the sweep has been. Steps without one race the night. So the order of what moves
an account's money, and with it every figure, is fixed, and everything else is not:

* strict accounts move money once they are billed, report usage and switch modes during the night;
* loose ones have money to spare and wait for nothing: only their running balances depend on who came first;
* debtors fall into arrears, are suspended and pay; they move money when the night is over;
* the edge reports usage of all of them, a part by `import_usage`.
"""

import random
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from iss_billing.days import start_of

FIRST = date(2026, 3, 2)
STRICT, LOOSE, DEBTOR, EDGE, BRAWLER = "strict", "loose", "debtor", "edge", "brawler"
MONEY = {STRICT: "60000.00", LOOSE: "900000.00", DEBTOR: "80.00", BRAWLER: "600.00"}
SKUS = ("pet-100k", "vehicle-100k", "face-100k", "body-100k")
ITEMS = ("ai.pet", "ai.vehicle", "ai.face", "ai.body")
SIZE = {STRICT: 40_000, LOOSE: 40_000, DEBTOR: 9_000}
"""The largest quantity of one event of calls."""


@dataclass(frozen=True)
class Step:
    """One input; `act` is usage, import, top_up, order, refund or mode."""

    act: str
    at: datetime
    gate: str = ""
    body: dict[str, Any] = field(default_factory=dict)


Days = list[list[Step]]
"""The steps of one script, in the order of their days."""


@dataclass(frozen=True)
class Round:
    """All scripts by account name, and the kind of each account."""

    kinds: dict[str, str]
    scripts: dict[str, Days]
    days: int

    def day(self, number: int) -> date:
        """The billing day of a day's number."""
        return FIRST + timedelta(days=number)

    @property
    def accounts(self) -> list[str]:
        """Whose inputs are scripted."""
        return [name for name, kind in self.kinds.items() if kind in MONEY and kind != BRAWLER]


def write(seed: int, days: int) -> Round:
    """The scripts of a seed."""
    names = [*(STRICT,) * 7, *(LOOSE,) * 4, *(DEBTOR,) * 4, *(BRAWLER,) * 2]
    kinds = {f"{kind}-{number}": kind for number, kind in enumerate(names)}
    writers = {
        name: _Writer(random.Random(f"{seed} {name}"), name, kind) for name, kind in kinds.items() if kind != BRAWLER
    }
    scripts = {name: [writer.day(number) for number in range(days)] for name, writer in writers.items()}
    scripted = list(scripts)
    edge = _Writer(random.Random(f"{seed} edge"), EDGE, EDGE)
    scripts[EDGE] = [edge.edge_day(number, scripted) for number in range(days)]
    return Round(kinds | {EDGE: EDGE}, scripts, days)


class _Writer:
    """Writes one script."""

    def __init__(self, rng: random.Random, name: str, kind: str) -> None:
        self.rng, self.name, self.kind = rng, name, kind
        self.count = 0
        self.orders: list[tuple[int, str, int]] = []  # day, key, packs

    def day(self, number: int) -> list[Step]:
        """A day: usage and modes first, which race the night before, then money, usage again, and what came late."""
        rng, steps = self.rng, list[Step]()
        events = [self._event(number, calls=True), *(self._event(number) for _ in range(rng.randint(1, 4)))]
        batches = [events, self._again(events, number)]
        money = [self._money(number) for _ in range(rng.randint(1, 3))]
        if number == 0:
            money.insert(0, self._top_up(number, MONEY[self.kind]))
        mode = [self._step("mode", number, "night" if self.kind == DEBTOR else "", mode=self._mode())]
        first, *others = [self._step("usage", number, events=batch) for batch in batches]
        steps = [first, *(mode if rng.random() < 0.4 else ()), *money, *others]
        if number and rng.random() < 0.7:
            late = [self._event(number - rng.randint(1, min(number, 2))) for _ in range(rng.randint(1, 3))]
            steps.append(self._step("usage", number, "night", events=[*late, *rng.sample(late, 1)]))
        # its own clock goes forward; the night and the sweep of the day have earlier ones
        clock = start_of(FIRST + timedelta(days=number)) + timedelta(hours=20)
        return [
            Step(step.act, clock + timedelta(seconds=60 * place), step.gate, step.body)
            for place, step in enumerate(steps)
        ]

    def edge_day(self, number: int, names: list[str]) -> list[Step]:
        """What the platform reports for everybody: batches with repetitions, and a file."""
        steps = []
        for act in ("usage", "usage", "import"):
            events = [self._event(number, name) for name in self.rng.choices(names, k=12)]
            steps.append(self._step(act, number, events=[*events, *self.rng.sample(events, 2)]))
        return steps

    def _step(self, act: str, number: int, gate: str = "", **body: Any) -> Step:
        return Step(act, start_of(FIRST + timedelta(days=number)) + timedelta(hours=21), gate, body)

    def _again(self, events: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
        """Some new events and some that were sent before."""
        return [self._event(number), *self.rng.sample(events, self.rng.randint(0, 2))]

    def _mode(self) -> str:
        return self.rng.choice(("traffic", "traffic", "bandwidth"))

    def _money(self, number: int) -> Step:
        """A top-up, an order, or a refund of an order before."""
        rng = self.rng
        act = rng.choice(("top_up", "order", "order", "refund"))
        # a loose account does not wait for its bill, so it refunds only what that bill cannot draw from
        mine = [(key, packs) for day, key, packs in self.orders if self.kind != LOOSE or day == number]
        if act == "refund" and mine:
            key, packs = rng.choice(mine)
            return self._step("refund", number, self._money_gate(), key=key, pack=rng.randrange(packs))
        if act == "top_up":
            return self._top_up(number, f"{rng.randint(1, 120)}.{rng.randint(0, 99):02}")
        self.count += 1
        lines: list[dict[str, Any]] = [
            {"sku": rng.choice(SKUS), "quantity": rng.choice((1, 1, 2))} for _ in range(rng.choice((1, 1, 2)))
        ]
        key = f"{self.name} order {self.count}"
        self.orders.append((number, key, sum(line["quantity"] for line in lines)))
        return self._step("order", number, self._money_gate(), key=key, lines=lines)

    def _top_up(self, number: int, amount: str) -> Step:
        self.count += 1
        reference = f"{self.name} payment {self.count}"
        return self._step("top_up", number, self._money_gate(), amount=amount, reference=reference)

    def _money_gate(self) -> str:
        return {STRICT: "billed", LOOSE: "", DEBTOR: "night"}[self.kind]

    def _event(self, number: int, name: str | None = None, *, calls: bool = False) -> dict[str, Any]:
        """One report of a day; with `calls` it makes a bill in either mode."""
        rng = self.rng
        self.count += 1
        name = name or self.name
        kind = name.partition("-")[0]
        data: dict[str, Any] = {"item": rng.choice(ITEMS), "quantity": rng.randint(1000, SIZE[kind])}
        other = 1 if calls else rng.random()
        if other < 0.15:
            data = {"item": "device.gb28181", "resource": f"camera-{rng.randint(1, 4)}"}
        elif other < 0.3 and kind != DEBTOR:
            item, size = rng.choice((("traffic.down", 10**11), ("bandwidth.down", 10**8), ("storage.standard", 10**12)))
            data = {"item": item, "quantity": rng.randint(1, size), "resource": f"camera-{rng.randint(1, 2)}"}
        moment = start_of(FIRST + timedelta(days=number)) + timedelta(seconds=rng.randrange(72_000))
        return {
            "specversion": "1.0",
            "type": "iss.usage",
            "id": f"{self.name}-{self.count}",
            "source": f"/edge/{self.name}",
            "subject": name,  # an account's id, once it is known
            "time": moment.isoformat(),
            "data": data,
        }
