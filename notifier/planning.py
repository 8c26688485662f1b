"""Routing's middle step: gather what the decision needs, decide (notifier.core.routing), freeze the messages.

Reads through the open transaction, writes nothing itself except the number of an order's recipient, whose first
writer wins. Knows no driver and no channel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from notifier.core import context, links, routing
from notifier.core.catalogue import Catalogue
from notifier.core.event_data import DATA_MODELS, AlertData
from notifier.core.ids import DecisionId, MessageId, NotificationId, OutletCode, TenantId, new_id
from notifier.core.links import LinkSigner
from notifier.core.model import (
    ChannelName,
    Contact,
    Event,
    EventType,
    LaneKey,
    LinkPlan,
    Message,
    NewNotification,
    NotificationStatus,
    Outlet,
)
from notifier.core.orders import NumberState, Order
from notifier.core.policy import TenantPolicy
from notifier.core.rendering import Templates
from notifier.core.routing import Facts, Planned
from notifier.ports import PolicySource
from notifier.unit import Reader, Writer

log = structlog.get_logger(__name__)

COUNTRIES_FRESH = 60.0  #: seconds that the countries of a tenant's outlets are believed
PEOPLE = (ChannelName.EMAIL, ChannelName.SMS)
#: When this kind of event arrives, what is still waiting for people about the same subject is pointless.
OVERTAKES: Mapping[EventType, tuple[str, ...]] = {
    EventType.ALERT_CLOSED: ("alert_opened", "alert_updated"),
    EventType.ORDER_WITHDRAWN: ("order_recommended", "decision_undone"),
    EventType.ORDER_DECIDED: ("order_recommended", "decision_undone"),
    EventType.DECISION_RECORDED: ("decision_undone",),
    EventType.DECISION_UNDONE: ("decision_recorded",),
}
#: The kind whose recipients are told of a later event about the same subject.
OPENING: Mapping[EventType, str] = {
    EventType.ALERT_UPDATED: "alert_opened",
    EventType.ALERT_CLOSED: "alert_opened",
    EventType.ORDER_WITHDRAWN: "order_recommended",
    EventType.ORDER_DECIDED: "order_recommended",
    EventType.DECISION_RECORDED: "order_recommended",
    EventType.DECISION_UNDONE: "order_recommended",
}


class KnownCountries:
    """The countries of each tenant's outlets, kept for a minute: every event asks and they hardly ever change."""

    def __init__(self) -> None:
        self._known: dict[TenantId, tuple[float, frozenset[str]]] = {}

    def of(self, tx: Reader, tenant: TenantId) -> frozenset[str]:
        """Return them, read anew when what is known is a minute old."""
        read_at, found = self._known.get(tenant, (float("-inf"), frozenset[str]()))
        if time.monotonic() - read_at > COUNTRIES_FRESH:
            found = tx.outlet_countries(tenant)
            self._known[tenant] = (time.monotonic(), found)
        return found


@dataclass(frozen=True, slots=True)
class Directory:
    """What the directory says of the outlets of some events: read for all of them at once, since every event asks."""

    outlets: Mapping[tuple[TenantId, OutletCode], Outlet]
    contacts: Mapping[tuple[TenantId, OutletCode], Sequence[Contact]]
    suppressed: Mapping[TenantId, frozenset[tuple[ChannelName, str]]]

    @classmethod
    def read(
        cls, tx: Reader, events: Sequence[Event], asks_people: Callable[[Event], bool] = lambda _: True
    ) -> Directory:
        """Read it in the transaction that plans these events; contacts only for those that ask for people."""
        tenants = {event.tenant for event in events}
        placed = [(event.tenant, event.outlet, event) for event in events if event.outlet]
        codes = {tenant: list({code for of, code, _ in placed if of == tenant}) for tenant in tenants}
        peopled = {
            tenant: list({code for of, code, event in placed if of == tenant and asks_people(event)})
            for tenant in tenants
        }
        return cls(
            outlets={(of, code): found for of in tenants for code, found in tx.outlets(of, codes[of]).items()},
            contacts={(of, code): found for of in tenants for code, found in tx.contacts(of, peopled[of]).items()},
            suppressed={tenant: tx.suppressed_addresses(tenant) for tenant in tenants},
        )


def gather(
    tx: Reader,
    event: Event,
    catalogue: Catalogue,
    countries: KnownCountries | None = None,
    directory: Directory | None = None,
) -> Facts:
    """Read what the decision needs; `explain` and `preview` use the same."""
    data = DATA_MODELS[event.type].model_validate(event.data)
    opening = OPENING.get(event.type)
    directory = directory or Directory.read(tx, [event])
    place = (event.tenant, event.outlet or OutletCode(""))
    return Facts(
        event=event,
        data=data,
        outlet=directory.outlets.get(place),
        contacts=tuple(directory.contacts.get(place, ())),
        suppressed=directory.suppressed[event.tenant],
        told=tx.told_of(event.tenant, event.subject, opening) if opening else frozenset(),
        order=_order(tx, event),
        entry=catalogue.entry(data.alert_type) if isinstance(data, AlertData) else None,
        countries=(countries or KnownCountries()).of(tx, event.tenant),
        undone=_decision_undone(tx, event),
    )


def _decision_undone(tx: Reader, event: Event) -> bool:
    if event.type is EventType.DECISION_UNDONE:
        return True
    if event.type is not EventType.DECISION_RECORDED:
        return False
    decision = tx.decision(event.tenant, DecisionId(event.data["decision_id"]))
    return decision is not None and decision.undone_at is not None


def _hold_order(tx: Writer, event: Event) -> None:
    """An undo comes before this event is planned or after: it must find what waits for receivers of final decisions."""
    decision = tx.decision(event.tenant, DecisionId(event.data["decision_id"]))
    if decision is not None:
        tx.lock_order(event.tenant, decision.order_id)


def _order(tx: Reader, event: Event) -> Order | None:
    if not event.subject.startswith("order/"):
        return None
    number = event.subject.removeprefix("order/")
    return tx.orders_by_number(event.tenant, [number]).get(number)


def _in_flight_limit(planned: Planned, policy: TenantPolicy) -> int | None:
    """Of a lane: callbacks as configured, people's channels without."""
    return next((item.in_flight for item in policy.endpoints if item.name == planned.endpoint), None)


@dataclass(frozen=True, slots=True)
class Planner:
    """From an event to its notifications."""

    policies: PolicySource
    catalogue: Catalogue
    templates: Templates
    signer: LinkSigner
    countries: KnownCountries = field(default_factory=KnownCountries)
    directory: Directory | None = None  #: read for the events of this transaction

    def reading(self, tx: Reader, events: Sequence[Event]) -> Planner:
        """Return a planner for these events, good for this transaction alone."""
        tenants = self.policies.current().tenants
        directory = Directory.read(tx, events, lambda event: routing.asks_people(event.type, tenants[event.tenant]))
        return replace(self, directory=directory)

    def plan(self, tx: Writer, event: Event, now: datetime) -> list[NewNotification]:
        """Return every notification of an event of a configured tenant, the suppressed ones with their reason."""
        policy = self.policies.current().tenants[event.tenant]
        if kinds := OVERTAKES.get(event.type):
            tx.cancel_due(event.tenant, event.subject, kinds, PEOPLE, f"overtaken by {event.type.value}", now)
        if event.type is EventType.DECISION_RECORDED:
            _hold_order(tx, event)
        facts = gather(tx, event, self.catalogue, self.countries, self.directory)
        plan = routing.plan(facts, policy, now)
        if not plan.notifications:  # a hole in the rules: `explain` says which condition of each did not hold
            log.info("no rule matched: nobody is told", action="no_rule", tenant=event.tenant, event_id=event.id)
        return [self._notification(tx, planned, facts, policy, now) for planned in plan.notifications]

    def _notification(
        self, tx: Writer, planned: Planned, facts: Facts, policy: TenantPolicy, now: datetime
    ) -> NewNotification:
        event = facts.event
        suppressed = planned.suppressed is not None
        made = {} if suppressed else links.plan_links(planned, facts, policy, self.signer, now, new_id)
        message = None if suppressed else self._message(tx, planned, facts, policy, made, now)
        return NewNotification(
            id=NotificationId(new_id()),
            tenant=event.tenant,
            event_id=event.id,
            channel=planned.channel,
            purpose=planned.purpose,
            address=planned.address,
            recipient_key=planned.recipient_key,
            recipient_id=planned.recipient_id,
            rule=planned.rule,
            role=planned.role,
            kind=event.type.kind,
            lane=LaneKey(event.tenant, planned.channel, planned.priority, planned.endpoint or planned.channel.value),
            status=NotificationStatus.SUPPRESSED if suppressed else NotificationStatus.DUE,
            due_at=planned.due_at,
            expires_at=planned.expires_at,
            in_flight_limit=_in_flight_limit(planned, policy),
            reason=planned.suppressed.value if planned.suppressed else None,
            subject=event.subject,
            message=message,
            links=tuple(made.values()),
        )

    def _message(
        self,
        tx: Writer,
        planned: Planned,
        facts: Facts,
        policy: TenantPolicy,
        made: Mapping[str, LinkPlan],
        now: datetime,
    ) -> Message:
        references = {name: links.reference(plan, self.signer.key_id) for name, plan in made.items()}
        frozen = context.build(planned, facts, policy, references)
        if planned.may_act and "order" in made and facts.order is not None:
            frozen["number"] = context.number_reference(self._number(tx, planned, facts, frozen, now))
        kind = facts.event.type.kind
        return Message(
            id=MessageId(new_id()),
            tenant=policy.id,
            kind=kind,
            channel=planned.channel,
            locale=str(frozen.get("recipient", {}).get("locale", policy.language)),
            template_hash=self.templates.hash(kind, planned.channel),
            context=frozen,
        )

    def _number(
        self, tx: Writer, planned: Planned, facts: Facts, frozen: Mapping[str, object], now: datetime
    ) -> NumberState:
        """One number per (order, recipient), unlike the other two-digit numbers in sight."""
        assert facts.order is not None
        order, key = facts.order, planned.recipient_key
        if (known := tx.number_state(order.tenant, order.id, key)) is not None:
            return known
        others = {
            self.signer.number(other.order_id, key, other.round, other.key_id)
            for other in tx.open_numbers(order.tenant, key, now)
        }
        # The page also shows what the message leaves out: limits of a line, lines further down.
        in_sight = links.two_digit_numbers(frozen) | links.two_digit_numbers(order.data.model_dump(mode="json"))
        round_, key_id = self.signer.choose_round(order.id, key, links.kept_apart(in_sight, others))
        state = NumberState(order.tenant, order.id, key, round_, key_id)
        tx.save_number_state(state)
        return tx.number_state(order.tenant, order.id, key) or state
