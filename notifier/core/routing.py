"""Who hears of an event, how, and who does not and why. Pure: the facts in, a plan out; `explain` prints the same plan.

Order of thought: matching rules (all, or the first; else the default route) → their targets as addresses → for each
address the reasons against it. Everybody left out stays in the plan with the reason (P12); one normalised address
appears once per channel and purpose (P2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from notifier.core.addresses import AddressError, normalise_email, normalise_phone
from notifier.core.catalogue import Entry
from notifier.core.event_data import DecisionData, EventData
from notifier.core.ids import RecipientId, RecipientKey, TenantId
from notifier.core.matching import failing, like
from notifier.core.model import (
    ChannelName,
    Contact,
    Event,
    EventType,
    Outlet,
    Priority,
    Purpose,
    Suppression,
)
from notifier.core.orders import Order
from notifier.core.policy import Condition, Endpoint, Rule, Target, TargetKind, TenantPolicy, When

_ALWAYS = Condition()
ROLE_OF_ADDRESS = "address"  #: of somebody whom a rule names by address
DEFAULT_RULE = "(default route)"
TOLD_RULE = "(told before)"
#: How long it is worth telling people: an older event is kept, but nobody is told so late.
LIFE = {
    EventType.ALERT_OPENED: timedelta(hours=24),
    EventType.ALERT_UPDATED: timedelta(hours=24),
    EventType.ALERT_CLOSED: timedelta(hours=24),
    EventType.IMAGE_PROCESSED: timedelta(hours=24),
    EventType.OPPORTUNITY_MISSED: timedelta(days=7),
}
OTHER_LIFE = timedelta(days=3)
CALLBACK_LIFE = timedelta(hours=76)  #: Standard Webhooks: retries over about 76 hours
#: Events of these types concern only people who were told of what came before.
ONLY_TOLD = {EventType.ALERT_CLOSED, EventType.ORDER_WITHDRAWN, EventType.ORDER_DECIDED}
DECISIONS = {EventType.DECISION_RECORDED, EventType.DECISION_UNDONE}
ORDERS = {EventType.ORDER_RECOMMENDED, EventType.ORDER_WITHDRAWN, EventType.ORDER_DECIDED, *DECISIONS}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the decision needs to know."""

    event: Event
    data: EventData
    outlet: Outlet | None = None
    contacts: tuple[Contact, ...] = ()
    suppressed: frozenset[tuple[ChannelName, str]] = frozenset()
    told: frozenset[tuple[ChannelName, str]] = frozenset()
    order: Order | None = None
    entry: Entry | None = None  #: alerts: their catalogue entry
    countries: frozenset[str] = frozenset()  #: of all the tenant's outlets
    undone: bool = False  #: decisions: it was taken back


@dataclass(frozen=True, slots=True)
class Planned:
    """One notification as decided, sent or suppressed."""

    channel: ChannelName
    address: str  #: normalised; endpoint name for callbacks; "role:..." or "person:..." when there is none
    purpose: Purpose
    recipient_key: RecipientKey
    recipient_id: RecipientId | None
    name: str
    language: str
    role: str
    rule: str
    links: bool
    priority: Priority
    may_act: bool
    due_at: datetime
    expires_at: datetime | None
    endpoint: str | None = None
    suppressed: Suppression | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What routing decided about an event."""

    matched: tuple[str, ...]
    notifications: tuple[Planned, ...]  #: to be stored, the suppressed ones with their reason
    left_out: tuple[Planned, ...] = ()  #: not stored: the same person again; for `explain`
    failing: dict[str, str] = field(default_factory=dict)  #: rule → the condition that did not hold


def plan(facts: Facts, policy: TenantPolicy, now: datetime) -> Plan:
    """Return who hears of the event."""
    rules, why_not = matching_rules(facts, policy)
    candidates = [item for rule in rules for item in _targets(rule, facts, policy, now)]
    if facts.event.type in DECISIONS:
        candidates += _told_before(facts, policy, now)
    judged = [_judge(item, facts, policy, now) for item in candidates]
    kept, left_out = _once_each(judged)
    return Plan(tuple(rule.name for rule in rules), tuple(kept), tuple(left_out), why_not)


def matching_rules(facts: Facts, policy: TenantPolicy) -> tuple[list[Rule], dict[str, str]]:
    """Rules that apply (else the default route), and for each other rule the condition that did not hold."""
    matched: list[Rule] = []
    why_not: dict[str, str] = {}
    for rule in policy.rules:
        reason = failing(rule.when, facts.event, facts.data, facts.outlet, facts.entry)
        if reason is None and matched and not policy.match_all:
            reason = f"rule {matched[0].name!r} matched first"
        if reason is None:
            matched.append(rule)
        else:
            why_not[rule.name] = reason
    if not matched and policy.default:
        matched = [Rule(DEFAULT_RULE, _ALWAYS, policy.default)]
    return matched, why_not


def asks_people(type_: EventType, policy: TenantPolicy) -> bool:
    """Whether the contacts of the outlet can matter for events of this type."""
    if type_ in DECISIONS:  # who was told before is looked for among them
        return True
    targets = [target for rule in policy.rules if _may_match(rule.when, type_) for target in rule.send]
    return any(target.kind in (TargetKind.ROLE, TargetKind.CARRIED) for target in (*targets, *policy.default))


def _may_match(when: Condition, type_: EventType) -> bool:
    return not when.types or any(like(type_.value, pattern) for pattern in when.types)


def recipient_key(tenant: TenantId, recipient_id: RecipientId | None, address: str) -> RecipientKey:
    """The stable name of a person or address; never reveals the address."""
    if recipient_id is not None:
        return RecipientKey(recipient_id)
    digest = hashlib.blake2b(f"{tenant}\0{address}".encode(), digest_size=15).hexdigest()
    return RecipientKey(f"addr:{digest}")


# -- targets → candidates ------------------------------------------------------------------------------------------


def _targets(rule: Rule, facts: Facts, policy: TenantPolicy, now: datetime) -> Iterator[Planned]:
    for target in rule.send:
        match target.kind:
            case TargetKind.ENDPOINT:
                yield from _endpoint(rule, target, facts, policy, now)
            case TargetKind.ROLE:
                yield from _role(rule, target, facts, policy, now)
            case TargetKind.ADDRESS:
                yield from _address(rule, target, facts, policy, now)
            case TargetKind.CARRIED:
                yield from _carried(rule, facts, policy, now)


def _role(rule: Rule, target: Target, facts: Facts, policy: TenantPolicy, now: datetime) -> Iterator[Planned]:
    people = [contact for contact in facts.contacts if contact.role == target.value]
    if not people:
        reason = Suppression.UNKNOWN_OUTLET if facts.outlet is None else Suppression.NOBODY_IN_ROLE
        for channel in target.channels:
            yield replace(_planned(rule, channel, "", facts, policy, now, role=target.value), suppressed=reason)
    for contact in people:
        for channel in target.channels:
            yield _to_contact(rule, channel, contact, facts, policy, now)


def _to_contact(
    rule: Rule, channel: ChannelName, contact: Contact, facts: Facts, policy: TenantPolicy, now: datetime
) -> Planned:
    person = contact.recipient
    address = person.email if channel is ChannelName.EMAIL else person.phone
    may_act = contact.role in policy.orders.decide_roles
    made = _planned(
        rule,
        channel,
        address,
        facts,
        policy,
        now,
        role=contact.role,
        recipient_id=person.id,
        name=person.name,
        language=person.language,
        may_act=may_act,
    )
    if not person.active:
        return replace(made, suppressed=Suppression.INACTIVE)
    if person.channels and channel not in person.channels:
        return replace(made, suppressed=Suppression.CHANNEL_NOT_WANTED)
    return made


def _address(rule: Rule, target: Target, facts: Facts, policy: TenantPolicy, now: datetime) -> Iterator[Planned]:
    channel = ChannelName.EMAIL if "@" in target.value else ChannelName.SMS
    yield _planned(rule, channel, target.value, facts, policy, now, role=ROLE_OF_ADDRESS)


def _carried(rule: Rule, facts: Facts, policy: TenantPolicy, now: datetime) -> Iterator[Planned]:
    """Recipients inside the event get view links; somebody of the directory gets what the directory allows."""
    for person in facts.event.recipients:
        known = next((c for c in facts.contacts if person.address in (c.recipient.email, c.recipient.phone)), None)
        if known is not None:
            yield _to_contact(rule, person.channel, known, facts, policy, now)
        else:
            name, language = person.name, person.language or ""
            yield _planned(
                rule, person.channel, person.address, facts, policy, now, role="carried", name=name, language=language
            )


def _endpoint(rule: Rule, target: Target, facts: Facts, policy: TenantPolicy, now: datetime) -> Iterator[Planned]:
    endpoint = next((item for item in policy.endpoints if item.name == target.value), None)
    made = _planned(rule, ChannelName.CALLBACK, target.value, facts, policy, now, role="endpoint")
    made = replace(made, endpoint=target.value, expires_at=facts.event.received_at + CALLBACK_LIFE)
    if endpoint is None:
        yield replace(made, suppressed=Suppression.ENDPOINT_DISABLED)
    elif not wants(endpoint, facts.event.type):
        yield replace(made, suppressed=Suppression.ENDPOINT_FILTER)
    elif facts.undone and endpoint.when is When.FINAL:
        yield replace(made, suppressed=Suppression.UNDONE)
    else:
        yield replace(made, due_at=_hears_at(endpoint, facts, now))


def wants(endpoint: Endpoint, type_: EventType) -> bool:
    """Whether the endpoint subscribed to this type."""
    return any(fnmatchcase(type_.value, pattern) for pattern in endpoint.types)


def _hears_at(endpoint: Endpoint, facts: Facts, now: datetime) -> datetime:
    """Receivers that place real orders hear of a decision when it is final."""
    if endpoint.when is When.FINAL and isinstance(facts.data, DecisionData):
        return max(now, facts.data.final_at)
    return now


def _told_before(facts: Facts, policy: TenantPolicy, now: datetime) -> Iterator[Planned]:
    """Everybody who got the order gets the receipt of the decision, the one who took it included."""
    rule = Rule(TOLD_RULE, _ALWAYS, ())
    for channel, address in sorted(facts.told):
        if channel is ChannelName.CALLBACK:
            continue
        known = next((c for c in facts.contacts if address in (c.recipient.email, c.recipient.phone)), None)
        if known is not None:
            yield _to_contact(rule, channel, known, facts, policy, now)
        else:
            yield _planned(rule, channel, address, facts, policy, now, role="told")


def _planned(
    rule: Rule,
    channel: ChannelName,
    address: str,
    facts: Facts,
    policy: TenantPolicy,
    now: datetime,
    *,
    role: str,
    recipient_id: RecipientId | None = None,
    name: str = "",
    language: str = "",
    may_act: bool = False,
) -> Planned:
    decision = facts.event.type in DECISIONS and channel is not ChannelName.CALLBACK
    return Planned(
        channel=channel,
        address=address,
        purpose=Purpose.RECEIPT if decision else Purpose.NOTICE,
        recipient_key=recipient_key(policy.id, recipient_id, address),
        recipient_id=recipient_id,
        name=name,
        language=language or (facts.outlet.language if facts.outlet else "") or policy.language,
        role=role,
        rule=rule.name,
        links=rule.links,
        priority=rule.priority or usual_priority(facts),
        may_act=may_act and rule.links,
        due_at=now,
        expires_at=_end_of_life(facts),
    )


def usual_priority(facts: Facts) -> Priority:
    """Orders and urgent alerts overtake everything else."""
    if facts.event.type in ORDERS:
        return Priority.HIGH
    if facts.entry is not None:
        return facts.entry.priority
    return Priority.LOW if facts.event.type is EventType.OPPORTUNITY_MISSED else Priority.NORMAL


def _end_of_life(facts: Facts) -> datetime:
    if facts.event.type is EventType.ORDER_RECOMMENDED and facts.order is not None and facts.order.answer_by:
        return facts.order.answer_by
    # From acceptance for what was decided just now; from the event's own time for what was observed.
    begin = facts.event.time if facts.event.type in LIFE else facts.event.received_at
    return begin + LIFE.get(facts.event.type, OTHER_LIFE)


# -- candidates → verdicts -----------------------------------------------------------------------------------------


def _judge(item: Planned, facts: Facts, policy: TenantPolicy, now: datetime) -> Planned:
    """Normalise the address and look for a reason against sending."""
    if item.suppressed is not None:
        return item
    if item.channel is not ChannelName.CALLBACK:
        try:
            item = replace(item, address=_normal(item, facts, policy))
        except AddressError as error:
            return replace(item, suppressed=error.reason)
    return replace(item, suppressed=_reason_against(item, facts, policy, now))


def _normal(item: Planned, facts: Facts, policy: TenantPolicy) -> str:
    if not item.address:
        raise AddressError(Suppression.NO_ADDRESS, "no address")
    if item.channel is ChannelName.EMAIL:
        return normalise_email(item.address)
    region = facts.outlet.country if facts.outlet else None
    return normalise_phone(item.address, region, _allowed(item, facts, policy))


def _allowed(item: Planned, facts: Facts, policy: TenantPolicy) -> Collection[str] | None:
    """Countries whose numbers may be written to: the tenant's list, else where its outlets are.

    A number that stands in the rules was put there by whoever may change the list.
    """
    if policy.countries:
        return policy.countries
    if item.role == ROLE_OF_ADDRESS:
        return None
    here = facts.outlet.country if facts.outlet else ""
    return facts.countries | ({here} if here else set())


def _reason_against(item: Planned, facts: Facts, policy: TenantPolicy, now: datetime) -> Suppression | None:
    type_, person = facts.event.type, item.channel is not ChannelName.CALLBACK
    if item.channel is ChannelName.SMS and not policy.sms_enabled:
        return Suppression.NOT_IN_PLAN
    if (item.channel, item.address) in facts.suppressed:
        return Suppression.OPTED_OUT if person else Suppression.ENDPOINT_DISABLED
    if person and type_ is EventType.ALERT_UPDATED and not _wants_updates(item, policy):
        return Suppression.UPDATES_NOT_WANTED
    if person and type_ in ONLY_TOLD and (item.channel, item.address) not in facts.told:
        return Suppression.NOT_TOLD_OF_OPENING
    if item.expires_at is not None and item.expires_at <= now:
        return Suppression.TOO_LATE
    return None


def _wants_updates(item: Planned, policy: TenantPolicy) -> bool:
    return any(rule.updates for rule in policy.rules if rule.name == item.rule)


def _once_each(items: Iterable[Planned]) -> tuple[list[Planned], list[Planned]]:
    """One notification per channel, address and purpose: the first that may be sent, else the first refusal."""
    kept: dict[tuple[ChannelName, str, Purpose], Planned] = {}
    left_out: list[Planned] = []
    for item in map(_placed, items):
        key = (item.channel, item.address, item.purpose)
        before = kept.get(key)
        if before is None:
            kept[key] = item
        elif before.suppressed is not None and item.suppressed is None:
            kept[key] = item
            left_out.append(before)
        else:
            kept[key] = _both(before, item)
            left_out.append(replace(item, suppressed=item.suppressed or Suppression.DUPLICATE_ADDRESS))
    return list(kept.values()), left_out


def _placed(item: Planned) -> Planned:
    """Somebody without an address is kept under the person or the role: the reason is to be seen later too (P12)."""
    if item.address:
        return item
    return replace(item, address=f"person:{item.recipient_id}" if item.recipient_id else f"role:{item.role}")


def _both(before: Planned, again: Planned) -> Planned:
    """One person in two roles gets one message: with the rights of both, as urgent as the more urgent of them."""
    if again.suppressed is not None:
        return before
    first = again if _standing(again) > _standing(before) else before
    urgent = min(before.priority, again.priority, key=list(Priority).index)
    return replace(first, links=before.links or again.links, priority=urgent)


def _standing(item: Planned) -> tuple[bool, bool]:
    """Who may decide comes first; then somebody whom the directory knows, before a bare address."""
    return item.may_act, item.recipient_id is not None
