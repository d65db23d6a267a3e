"""Those who play the scripts, over HTTP and through commands, each step until it is answered."""

import json
import threading
from typing import Any

from tests.torture.cluster import Away
from tests.torture.script import Step
from tests.torture.stage import BATCH, Stage, Unexpected


class Actor(threading.Thread):
    """Plays one script."""

    def __init__(self, stage: Stage, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.stage, self.cluster = stage, stage.cluster
        self.packs: dict[str, list[str]] = {}
        """The ids of what was bought, by key, in drawing order."""

    def run(self) -> None:
        """Every day, once it has begun."""
        try:
            for number, steps in enumerate(self.stage.plan.scripts[self.name]):
                if not self.stage.wait(lambda: self.stage.day >= number, f"day {number} to begin"):  # noqa: B023
                    return
                for step in steps:
                    if not self._gate(step, number):
                        return
                    outcome = self.stage.until_answered(lambda: getattr(self, f"_{step.act}")(step))  # noqa: B023
                    if outcome is None:
                        return
                    self.stage.outcomes[self.name].append(f"day {number} {step.act}: {outcome}")
                self.stage.say(played=self.stage.played | {(self.name, number)})
        except Exception as error:
            self.stage.fail(f"{self.name}: {type(error).__name__}: {error}")

    def _gate(self, step: Step, number: int) -> bool:
        before = number - 1
        if before < 0 or not step.gate:
            return True
        if step.gate == "billed":
            return self.stage.wait(
                lambda: (self.name, before) in self.stage.billed, f"{self.name}'s day {before} billed"
            )
        return self.stage.wait(lambda: self.stage.night >= before, f"the night of day {before}")

    # ── acts: the outcome in a word, or None when there was no answer ────────────────────────────────

    def _events(self, step: Step) -> list[dict[str, Any]]:
        return [event | {"subject": str(self.stage.ids[event["subject"]])} for event in step.body["events"]]

    def _usage(self, step: Step) -> str | None:
        events = self._events(step)
        answer = self.stage.platform.call("POST", "usage/", events, step.at, Content_Type=BATCH)
        return None if answer is None else self._accepted(events, *answer)

    def _import(self, step: Step) -> str | None:
        events = self._events(step)
        path = self.cluster.place.folder("import") / f"{threading.get_ident()}.jsonl"
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        answer = self._command("import_usage", str(path), "--now", step.at.isoformat())
        return None if answer is None else self._accepted(events, 200, answer)

    def _accepted(self, events: list[dict[str, Any]], status: int, answer: dict[str, Any]) -> str:
        if status != 200 or answer["rejected"] or answer["accepted"] + answer["duplicates"] != len(events):
            raise Unexpected(f"usage was answered with {status} {answer}")
        self.stage.acknowledge(events)
        return "accepted"

    def _command(self, *arguments: str) -> dict[str, Any] | None:
        try:
            outcome = self.cluster.command(*arguments)
        except Away:
            return None
        if outcome["code"]:
            raise Unexpected(f"{arguments} ended with {outcome}")
        return outcome["answer"] if outcome["code"] == 0 else None

    def _top_up(self, step: Step) -> str | None:
        body = step.body
        answer = self._command(
            "top_up", str(self.stage.ids[self.name]), body["amount"], "--reference", body["reference"],
            "--now", step.at.isoformat(),
        )  # fmt: skip
        return "received" if answer else None

    def _order(self, step: Step) -> str | None:
        client, body = self.stage.clients[self.name], {"lines": step.body["lines"]}
        answer = client.call("POST", "orders/", body, step.at, Idempotency_Key=step.body["key"])
        if answer is None:
            return None
        status, shown = answer
        if status in (200, 201):
            self.packs[step.body["key"]] = [pack["pack_id"] for pack in shown["packs"]]
            return "bought"
        return self._refused(step, status, shown, "insufficient_balance", "account_in_arrears")

    def _refund(self, step: Step) -> str | None:
        packs = self.packs.get(step.body["key"])
        if not packs:
            return "nothing was bought"
        path = f"packs/{packs[step.body['pack']]}/refund/"
        answer = self.stage.clients[self.name].call("POST", path, None, step.at)
        if answer is None:
            return None
        status, shown = answer
        if (
            status == 200 or shown["code"] == "already_refunded"
        ):  # by an attempt whose answer was lost, or a step before
            return "refunded"
        return self._refused(step, status, shown, "pack_used", "refund_window_over")

    def _mode(self, step: Step) -> str | None:
        answer = self.stage.clients[self.name].call("PUT", "account/billing-mode/", step.body, step.at)
        if answer is None:
            return None
        status, shown = answer
        return "switched" if status == 200 else self._refused(step, status, shown, "account_in_arrears")

    def _refused(self, step: Step, status: int, shown: dict[str, Any], *codes: str) -> str:
        if shown.get("code") not in codes:
            raise Unexpected(f"{self.name}: {step.act} was answered with {status} {shown}")
        return str(shown["code"])
