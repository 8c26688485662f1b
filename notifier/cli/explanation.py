"""What `notifier explain` tells of one event, as plain data: rules, people told, people left out and why. Only reads.

What happened is what is stored. Which rules matched, and who was reached by another rule already, is not stored; that
is decided again with the rules and the directory as they are now, by the same code that routes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from notifier.bootstrap import System, utc_now
from notifier.cli.printing import fail
from notifier.core import acceptance, order_flow, routing
from notifier.core.addresses import mask
from notifier.core.decode import Limits, parse_json
from notifier.core.events import MOST_BODY, RawItem, Rejection, read
from notifier.core.ids import TenantId, new_id
from notifier.core.lanes import Condition, LaneState
from notifier.core.model import ChannelName, Credential, Event, NotificationStatus, Suppression
from notifier.core.policy import TenantPolicy
from notifier.core.reasons import WHY
from notifier.core.routing import Facts, Plan, Planned
from notifier.core.switches import SWITCHED_OFF, Switch, stopped_by
from notifier.errors import EventError
from notifier.planning import gather
from notifier.sources.coolr import adapt_record
from notifier.unit import Reader

MOST_BYTES = 10_000_000  #: of a file with events, as over HTTP
MOST_EVENTS = 1000
CHANGED = "the rules or the directory have changed since: they would tell somebody else today"


def of_stored(system: System, reference: str, tenant: TenantId | None) -> dict[str, Any]:
    """Explain an event that was accepted: what is stored of it, and what the rules say of it."""
    with system.store.read() as tx:
        event = find(tx, reference, tenant)
        rows, _ = tx.list_rows("events", event.tenant, start=0, limit=1, filters={"id": event.id})
        stored = tx.timeline(event.tenant, event.id)
        off, lanes = tx.switches(), tx.lanes_waited_for(event.tenant, event.id)
        facts = gather(tx, event, system.catalogue)
    about = _event(facts) | {"routed_at": rows[0]["routed_at"]}
    policy = system.policies.current().tenants.get(event.tenant)
    # As of its arrival: else everything old would be "too late" and hide the reason of the day.
    plan = routing.plan(facts, policy, event.received_at) if policy else Plan((), ())
    if rows[0]["routed_at"] is None:
        notes = ["not routed yet: this is what the rules say now"]
        return _told(system, about, plan, [_planned(item) for item in plan.notifications], notes, stored=False)
    seen = [_happened(row, off, event.tenant, lanes.get(row["id"])) for row in stored]
    notes = [] if policy else ["the tenant is not in the configuration any more"]
    return _told(system, about, plan, seen, notes + _changes(seen, plan, policy), stored=True)


def of_item(system: System, item: RawItem, policy: TenantPolicy) -> dict[str, Any]:
    """Explain an event that was not sent: what would happen if it came now from a key that may do everything."""
    now = utc_now()
    credential = Credential("explain", policy.id, _sources(system, policy.id), ("*",), may_address=True)
    reading = read(item, credential, now, adapt_record)
    if isinstance(reading, Rejection):
        return _refused(reading.code, reading.field, reading.reason)
    with system.store.read() as tx:
        chunk: Sequence[acceptance.Numbered] = [(0, reading, item)]
        known = tx.known_events(policy.id, acceptance.keys_of(chunk))
        subjects = tx.subject_states(policy.id, acceptance.subjects_of(chunk))
        verdict = acceptance.judge(chunk, known, subjects, credential, now, new_id)
        if not verdict.events:
            return _unaccepted(verdict.answers[0])
        facts = _with_order(gather(tx, verdict.events[0], system.catalogue), policy, now)
    plan = routing.plan(facts, policy, now)
    return _told(system, _event(facts), plan, [_planned(item) for item in plan.notifications], [], stored=False)


def _sources(system: System, tenant: TenantId) -> tuple[str, ...]:
    """Any source; for Coolr's records, which name none, the one of the tenant's first key as when they are sent."""
    with system.store.read() as tx:
        keys = [key for key in tx.api_keys(tenant) if key.disabled_at is None]
    return (*(source for key in keys for source in key.sources), "*")


def items_of(path: Path) -> list[RawItem]:
    """Read the events of a file, as over HTTP: one, a list, or {"records": [...]}. Leaves with a sentence."""
    try:
        if path.stat().st_size > MOST_BYTES:
            fail(f"{path}: larger than {MOST_BYTES:,} bytes")
        value = parse_json(path.read_bytes(), Limits(items=MOST_EVENTS * 500))
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    except EventError as error:
        fail(f"{path}: {error}")
    if isinstance(value, dict) and isinstance(value.get("records"), list):
        value = value["records"]
    values = value if isinstance(value, list) else [value]
    if not 0 < len(values) <= MOST_EVENTS:
        fail(f"{path}: {len(values):,} events; from 1 to {MOST_EVENTS:,} can be explained at once")
    return [RawItem(one, json.dumps(one, default=str)[:MOST_BODY]) for one in values]


def find(tx: Reader, reference: str, tenant: TenantId | None) -> Event:
    """The stored event of that id, ours or the sender's. Leaves with a sentence when there is none."""
    event = tx.find_event(reference, tenant)
    if event is None:
        where = f" of {tenant}" if tenant else ""
        fail(f"no event{where} has the id {reference}; was it accepted? see `notifier quarantine list`")
    return event


def _with_order(facts: Facts, policy: TenantPolicy, now: datetime) -> Facts:
    """An order that is recommended for the first time is not stored yet; its deadline matters all the same."""
    if not order_flow.concerns_order(facts.event):
        return facts
    change = order_flow.apply_event(facts.event, facts.order, policy, now, new_id)
    return replace(facts, order=change.order or facts.order)


def _unaccepted(answer: acceptance.Answer) -> dict[str, Any]:
    reasons = {
        acceptance.AnswerStatus.DUPLICATE: f"it is here already, as event {answer.id}; explain that one",
        acceptance.AnswerStatus.UNCHANGED: "it changes neither the status nor the value of its alert",
    }
    return _refused(answer.code or answer.status.value, answer.field, answer.reason or reasons.get(answer.status, ""))


def _refused(code: str, field: str | None, reason: str) -> dict[str, Any]:
    return {"rejected": {"code": code, "field": field, "reason": reason}}


def _told(
    system: System,
    event: Mapping[str, Any],
    plan: Plan,
    people: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
    *,
    stored: bool,
) -> dict[str, Any]:
    told = [person for person in people if person["status"] != NotificationStatus.SUPPRESSED]
    refused = [person for person in people if person["status"] == NotificationStatus.SUPPRESSED]
    return {
        "event": event,
        "stored": stored,
        "configuration": system.policies.current().version,
        "rules": {"matched": list(plan.matched), "not_matched": dict(plan.failing)},
        "told": told,
        "left_out": [*refused, *(_planned(item) for item in plan.left_out)],
        "notes": list(notes),
        "reason": Suppression.NO_RULE.value if not people and not plan.matched else None,
        "summary": _summary(told, refused, plan),
    }


def _summary(told: Sequence[object], refused: Sequence[object], plan: Plan) -> str:
    if told:
        return f"{len(told)} told, {len(refused) + len(plan.left_out)} left out"
    if not plan.matched and not refused:
        return f"nobody: {WHY[Suppression.NO_RULE]}"
    return "nobody: everybody whom the rules name was left out, see above"


def _changes(people: Sequence[Mapping[str, Any]], plan: Plan, policy: TenantPolicy | None) -> list[str]:
    then = {(person["channel"], person["address"]) for person in people}
    now = {(item.channel.value, _shown(item)) for item in plan.notifications}
    return [CHANGED] if policy is not None and then != now else []


def _event(facts: Facts) -> dict[str, Any]:
    event = facts.event
    name = facts.outlet.name if facts.outlet else "not in the directory"
    return {
        "id": event.id,
        "tenant": event.tenant,
        "type": event.type.value,
        "subject": event.subject,
        "source": event.source,
        "source_id": event.source_id,
        "outlet": f"{event.outlet} ({name})" if event.outlet else "",
        "time": event.time.isoformat(),
        "received_at": event.received_at.isoformat(),
        "sequence": event.sequence,
        "routed_at": None,
    }


def _happened(
    row: Mapping[str, Any], off: Sequence[Switch], tenant: TenantId, lane: LaneState | None
) -> dict[str, Any]:
    """A stored notification: what became of it, and why."""
    return {
        **{name: row[name] for name in ("rule", "role", "channel", "status", "reason")},
        "address": _visible(row["address"]),
        "why": _why_stopped(row, off, tenant) if row["reason"] == SWITCHED_OFF else _why(row, _why_lane(lane)),
        "id": row["id"],
        "sent_at": row["sent_at"],
        "attempts": row["attempts"],
    }


def _why(row: Mapping[str, Any], waits: str) -> str:
    reason = row["reason"] or ""
    if row["status"] == NotificationStatus.SUPPRESSED:
        return WHY.get(Suppression(reason), reason) if reason in list(Suppression) else reason
    last = row["attempts"][-1] if row["attempts"] else {}
    details = [reason, last.get("detail") or "", f"at {row['sent_at']}" if row["sent_at"] else "", waits]
    return ", ".join(dict.fromkeys(detail for detail in details if detail))


def _why_lane(lane: LaneState | None) -> str:
    """What the lane of a waiting notification has to do with its waiting."""
    now = utc_now()
    if lane is not None and lane.rest_until is not None and lane.rests(now):
        return f"its lane rests until {lane.rest_until.isoformat(timespec='seconds')}: {lane.rest_reason}"
    if lane is not None and lane.condition(now) is Condition.PROBES:
        return "the breaker of its lane is open: one delivery at a time goes, until one arrives"
    return ""


def _why_stopped(row: Mapping[str, Any], off: Sequence[Switch], tenant: TenantId) -> str:
    if row["status"] not in (NotificationStatus.DUE, NotificationStatus.HELD):
        return "what it is about was switched off until its useful life had ended"
    switch = stopped_by(off, tenant, ChannelName(row["channel"]), row["kind"], row["address"])
    if switch is None:
        return "its event type was switched off; on its way again"
    return f"switched off by {switch.actor} at {switch.at.isoformat(timespec='seconds')} ({switch}): {switch.reason}"


def _planned(item: Planned) -> dict[str, Any]:
    """Somebody as decided now."""
    status = NotificationStatus.SUPPRESSED if item.suppressed else NotificationStatus.DUE
    return {
        "rule": item.rule,
        "role": item.role,
        "channel": item.channel.value,
        "address": _shown(item),
        "status": status.value,
        "reason": item.suppressed.value if item.suppressed else None,
        "why": WHY[item.suppressed] if item.suppressed else "",
    }


def _shown(item: Planned) -> str:
    return _visible(mask(item.address))


def _visible(address: str) -> str:
    """Nothing for somebody without an address, who is kept under the person or the role."""
    return "" if address.startswith(("person:", "role:")) else address
