"""What the demo's hour should have led to, worked out a second time and on purpose without the product's code.

Reads only what a stranger could read: the ledger of what was sent (with the sender's answers), the rules in
notifier.toml, the outlets and contacts. Imports nothing from `notifier`; shares no function with it. The result is
compared with a reviewed table in the repository (expected.csv) and with the receivers' own logs (check.py).
"""

from __future__ import annotations

import csv
import fnmatch
import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MERCHANDISING = {"OutOfStock", "Stock", "PlanogramAlert", "StockAlertProductWise"}
RECORDS = ("alert", "image")  #: sent in the shape of Coolr's own lists
#: Who decides which store's order in the demo: (tenant, outlet) → what they do.
DECISIONS = {
    ("acme", "ES-1001"): "accept",
    ("acme", "PT-2001"): "modify",
    ("acme", "DE-4001"): "cancel",
    ("borealis", "US-1001"): "accept",
    ("borealis", "US-1005"): "cancel",
}


@dataclass(frozen=True, order=True)
class Row:
    """One message that must have arrived exactly once."""

    tenant: str
    type: str
    object: str
    channel: str
    address: str


@dataclass
class Fleet:
    """The directory and the rules."""

    tenants: dict[str, Any]
    outlets: dict[str, dict[str, str]]
    contacts: dict[str, list[dict[str, str]]]


@dataclass
class Expected:
    """Every message, every answer to the sender, and the orders people will decide."""

    rows: Counter[Row] = field(default_factory=Counter)
    answers: list[str] = field(default_factory=list)
    decide: dict[tuple[str, str], str] = field(default_factory=dict)
    events: int = 0


def load_fleet(config: Path, outlets: Path, contacts: Path) -> Fleet:
    """Read the three files people maintain."""
    people: dict[str, list[dict[str, str]]] = {}
    for row in _csv(contacts):
        people.setdefault(row["OutletCode"], []).append(row)
    tenants = tomllib.loads(config.read_text(encoding="utf-8"))["tenants"]
    return Fleet(tenants, {row["Code"]: row for row in _csv(outlets)}, people)


def load_ledger(path: Path) -> list[dict[str, Any]]:
    """Read what was sent, in the order in which it was sent."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def expect(fleet: Fleet, ledger: Iterable[dict[str, Any]]) -> Expected:
    """Work out everything from what was sent."""
    return _Reckoning(fleet).run(ledger)


class _Reckoning:
    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.expected = Expected()
        self.seen: dict[tuple[str, str, str], str] = {}
        self.alerts: dict[str, tuple[str, str]] = {}
        self.told: dict[tuple[str, str], set[tuple[str, str]]] = {}
        self.orders: dict[tuple[str, str], tuple[str, str]] = {}

    def run(self, ledger: Iterable[dict[str, Any]]) -> Expected:
        for line in ledger:
            event, answer = self.judge(line)
            self.expected.answers.append(answer)
            if event is not None:
                self.expected.events += 1
                self.deliver(event)
        self.people_decide()
        return self.expected

    # -- what the sender is told ----------------------------------------------------------------------------------

    def judge(self, line: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
        if line["how"] in RECORDS:
            return self.judge_record(line)
        body = line["body"]
        if body["type"].startswith("coolr.decision.") or body.get("tenant", line["tenant"]) != line["tenant"]:
            return None, "rejected"
        if body["type"] == "coolr.image.processed" and not {"taken_at", "image"} <= body["data"].keys():
            return None, "rejected"
        identity, content = (line["tenant"], body["source"], body["id"]), json.dumps(body, sort_keys=True)
        if identity in self.seen:
            return None, "duplicate" if self.seen[identity] == content else "conflict"
        self.seen[identity] = content
        return self.event(line["tenant"], body["type"], body["data"]), "accepted"

    def judge_record(self, line: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
        body, tenant = line["body"], line["tenant"]
        key = str(body.get("AlertId", body.get("AssetPurityId")))
        name = f"{line['how']} {key} {body.get('Status')} {body.get('LastUpdatedOn')}"
        identity, content = (tenant, name, key), json.dumps(body, sort_keys=True)
        if identity in self.seen:
            assert self.seen[identity] == content, "the simulator only repeats records unchanged"
            return None, "duplicate"
        data = {"outlet": {"code": body["LocationCode"]}}
        if line["how"] == "image":
            self.seen[identity] = content
            data |= {"image_id": key, "stock_percentage": body["StockPercentage"]}
            return self.event(tenant, "coolr.image.processed", data), "accepted"
        before, now = self.alerts.get((tenant, key)), (body["Status"], body["AlertText"])
        if before == now:
            return None, "unchanged"
        self.seen[identity] = content
        self.alerts[tenant, key] = now
        happened = "closed" if now[0] == "Closed" else "opened" if before is None else "updated"
        data |= {"alert_id": key, "alert_type": body["AlertType"]}
        return self.event(tenant, f"coolr.alert.{happened}", data), "accepted"

    def event(self, tenant: str, type_: str, data: dict[str, Any]) -> dict[str, Any]:
        names = {"alert": "alert_id", "image": "image_id", "order": "order_number", "opportunity": "opportunity_id"}
        family = type_.split(".")[1]
        object_ = f"{family}/{data[names[family]]}"
        outlet = data["outlet"]["code"]
        if type_ == "coolr.order.recommended":
            self.orders[tenant, object_] = (outlet, "pending")
        elif type_ in ("coolr.order.withdrawn", "coolr.order.decided"):
            self.orders[tenant, object_] = (outlet, "closed")
        return {"tenant": tenant, "type": type_, "object": object_, "outlet": outlet, "data": data}

    # -- who hears of it ------------------------------------------------------------------------------------------

    def deliver(self, event: dict[str, Any]) -> None:
        reached = set(self.addressed(event))
        for channel, address in reached:
            row = Row(event["tenant"], event["type"], event["object"], channel, address)
            self.expected.rows[row] += 1
        if event["type"] in ("coolr.alert.opened", "coolr.order.recommended"):
            people = {(channel, address) for channel, address in reached if channel != "callback"}
            self.told.setdefault((event["tenant"], event["object"]), set()).update(people)

    def addressed(self, event: dict[str, Any]) -> Iterator[tuple[str, str]]:
        tenant = self.fleet.tenants[event["tenant"]]
        matched = [rule for rule in tenant["rules"] if self.matches(rule.get("when", {}), event)]
        if tenant.get("match") == "first":
            matched = matched[:1]
        if not matched:
            matched = [{"send": tenant.get("default", [])}]
        told = self.told.get((event["tenant"], event["object"]), set())
        for rule in matched:
            for target in rule["send"]:
                for channel, address in self.resolve(target, event):
                    if channel == "callback" or self.person_hears(event, rule, (channel, address), told):
                        yield channel, address

    def person_hears(
        self, event: dict[str, Any], rule: dict[str, Any], person: tuple[str, str], told: set[tuple[str, str]]
    ) -> bool:
        if person[0] == "sms" and not self.fleet.tenants[event["tenant"]].get("sms"):
            return False
        if event["type"] == "coolr.alert.updated":
            return bool(rule.get("updates"))
        if event["type"] in ("coolr.alert.closed", "coolr.order.withdrawn", "coolr.order.decided"):
            return person in told
        return True

    def matches(self, when: dict[str, Any], event: dict[str, Any]) -> bool:
        outlet, data = self.fleet.outlets[event["outlet"]], event["data"]
        facts = {
            "type": event["type"],
            "alert_type": data.get("alert_type", ""),
            "category": "merchandising" if data.get("alert_type") in MERCHANDISING else "other",
            "channel": outlet["Channel"],
        }
        for name, patterns in when.items():
            if name in facts and not any(fnmatch.fnmatch(facts[name].lower(), p.lower()) for p in patterns):
                return False
        value = data.get("value", data.get("stock_percentage"))
        if "value_below" in when and (value is None or not value < when["value_below"]):
            return False
        return not ("value_above" in when and (value is None or not value > when["value_above"]))

    def resolve(self, target: dict[str, Any], event: dict[str, Any]) -> Iterator[tuple[str, str]]:
        kind, _, value = target["to"].partition(":")
        if kind == "endpoint":
            endpoint = next(e for e in self.fleet.tenants[event["tenant"]]["endpoints"] if e["name"] == value)
            if any(fnmatch.fnmatch(event["type"], pattern) for pattern in endpoint.get("types", ["coolr.*"])):
                yield "callback", value
        elif kind == "address":
            yield "email", value
        else:
            for contact in self.fleet.contacts.get(event["outlet"], []):
                if contact["Role"] == value:
                    yield from _ways(contact, target.get("by", ["email"]))

    # -- what people decide, and who hears of that ------------------------------------------------------------------

    def people_decide(self) -> None:
        for (tenant, outlet), action in DECISIONS.items():
            open_orders = sorted(
                object_
                for (owner, object_), (place, state) in self.orders.items()
                if (owner, place, state) == (tenant, outlet, "pending")
            )
            object_ = open_orders[0]
            self.expected.decide[tenant, object_] = action
            event = {
                "tenant": tenant,
                "type": "coolr.decision.recorded",
                "object": object_,
                "outlet": outlet,
                "data": {},
            }
            reached = {way for way in self.addressed(event) if way[0] == "callback"}
            reached |= self.told[tenant, object_]
            for channel, address in reached:
                self.expected.rows[Row(tenant, event["type"], object_, channel, address)] += 1


def _ways(contact: dict[str, str], by: list[str]) -> Iterator[tuple[str, str]]:
    wanted = contact["PreferredNotificationType"].lower()
    for channel in by:
        address = contact["Email"] if channel == "email" else contact["Phone"]
        if address and (not wanted or wanted == channel):
            yield channel, address


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
