"""Routing's middle step: gather what the decision needs, decide (notifier.core.routing), freeze the messages.

Reads through the open transaction, writes nothing itself except the number of an order's recipient, whose first
writer wins. Knows no driver and no channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from notifier.core import context, links, routing
from notifier.core.catalogue import Catalogue
from notifier.core.event_data import DATA_MODELS, AlertData
from notifier.core.ids import MessageId, NotificationId, OutletCode, new_id
from notifier.core.links import LinkSigner
from notifier.core.model import (
    ChannelName,
    Event,
    EventType,
    LaneKey,
    LinkPlan,
    Message,
    NewNotification,
    NotificationStatus,
)
from notifier.core.orders import NumberState
from notifier.core.policy import TenantPolicy
from notifier.core.rendering import Templates
from notifier.core.routing import Facts, Planned
from notifier.ports import PolicySource
from notifier.unit import Reader, Writer

PEOPLE = (ChannelName.EMAIL, ChannelName.SMS)
#: When this kind of event arrives, what is still waiting for people about the same subject is pointless.
OVERTAKES: Mapping[EventType, tuple[str, ...]] = {
    EventType.ALERT_CLOSED: ("alert_opened", "alert_updated"),
    EventType.ORDER_WITHDRAWN: ("order_recommended",),
    EventType.ORDER_DECIDED: ("order_recommended",),
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


@dataclass(frozen=True, slots=True)
class Planner:
    """From an event to its notifications."""

    policies: PolicySource
    catalogue: Catalogue
    templates: Templates
    signer: LinkSigner

    def plan(self, tx: Writer, event: Event, now: datetime) -> list[NewNotification]:
        """Return every notification of an event, the suppressed ones with their reason."""
        policy = self.policies.current().tenants.get(event.tenant)
        if policy is None:
            return []
        if kinds := OVERTAKES.get(event.type):
            tx.cancel_due(event.tenant, event.subject, kinds, PEOPLE, f"overtaken by {event.type.value}", now)
        facts = self.facts(tx, event)
        plan = routing.plan(facts, policy, now)
        return [self._notification(tx, planned, facts, policy, now) for planned in plan.notifications]

    def facts(self, tx: Reader, event: Event) -> Facts:
        """Read what the decision needs; `explain` uses the same."""
        data = DATA_MODELS[event.type].model_validate(event.data)
        codes = [event.outlet] if event.outlet else []
        opening = OPENING.get(event.type)
        return Facts(
            event=event,
            data=data,
            outlet=tx.outlets(event.tenant, codes).get(event.outlet) if event.outlet else None,
            contacts=_contacts(tx, event, codes),
            suppressed=tx.suppressed_addresses(event.tenant),
            told=tx.told_of(event.tenant, event.subject, opening) if opening else frozenset(),
            order=self._order(tx, event),
            entry=self.catalogue.entry(data.alert_type) if isinstance(data, AlertData) else None,
        )

    def _order(self, tx: Reader, event: Event):  # type: ignore[no-untyped-def]
        if not event.subject.startswith("order/"):
            return None
        number = event.subject.removeprefix("order/")
        return tx.orders_by_number(event.tenant, [number]).get(number)

    def _notification(
        self, tx: Writer, planned: Planned, facts: Facts, policy: TenantPolicy, now: datetime
    ) -> NewNotification:
        event = facts.event
        suppressed = planned.suppressed is not None
        made = {} if suppressed else links.plan_links(planned, facts, policy, self.signer, now, new_id)
        message = None if suppressed else self._message(tx, planned, facts, policy, made)
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
    ) -> Message:
        references = {name: links.reference(plan, self.signer.key_id) for name, plan in made.items()}
        frozen = context.build(planned, facts, policy, references)
        if planned.may_act and "order" in made and facts.order is not None:
            frozen["number"] = context.number_reference(self._number(tx, planned, facts, frozen))
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

    def _number(self, tx: Writer, planned: Planned, facts: Facts, frozen: Mapping[str, object]) -> NumberState:
        """One number per (order, recipient), unlike every other two-digit number in sight."""
        assert facts.order is not None
        order, key = facts.order, planned.recipient_key
        if (known := tx.number_state(order.tenant, order.id, key)) is not None:
            return known
        others = tx.open_numbers(order.tenant, key)
        forbidden = links.two_digit_numbers(frozen) | {
            self.signer.number(other.order_id, key, other.round, other.key_id) for other in others
        }
        round_, key_id = self.signer.choose_round(order.id, key, forbidden)
        state = NumberState(order.tenant, order.id, key, round_, key_id)
        tx.save_number_state(state)
        return tx.number_state(order.tenant, order.id, key) or state


def _contacts(tx: Reader, event: Event, codes: list[OutletCode]):  # type: ignore[no-untyped-def]
    return tuple(contact for found in tx.contacts(event.tenant, codes).values() for contact in found)
