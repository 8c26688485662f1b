"""Rows ↔ values of the core, where both directions are needed in several places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping

from notifier.core.event_data import OrderData
from notifier.core.ids import (
    DecisionId,
    EventId,
    LaneId,
    LinkId,
    MessageId,
    NotificationId,
    OrderId,
    OutletCode,
    RecipientId,
    RecipientKey,
    SessionId,
    TenantId,
)
from notifier.core.model import (
    AttemptOutcome,
    CarriedRecipient,
    ChannelName,
    Claimed,
    Event,
    EventType,
    LaneKey,
    Message,
    Priority,
    Purpose,
    Trust,
)
from notifier.core.orders import Action, Decision, Order, OrderStatus
from notifier.core.records import LinkRow


def event_row(event: Event) -> dict[str, Any]:
    """To the events table."""
    people = [
        {"channel": person.channel.value, "address": person.address, "name": person.name, "language": person.language}
        for person in event.recipients
    ]
    return {
        "id": event.id,
        "tenant": event.tenant,
        "source": event.source,
        "source_id": event.source_id,
        "type": event.type.value,
        "subject": event.subject,
        "time": event.time,
        "received_at": event.received_at,
        "sequence": event.sequence,
        "content_hash": event.content_hash,
        "outlet": event.outlet,
        "data": dict(event.data),
        "recipients": people,
        "key_id": event.key_id,
    }


def event_from(row: RowMapping) -> Event:
    """From the events table."""
    people = tuple(
        CarriedRecipient(ChannelName(person["channel"]), person["address"], person["name"], person["language"])
        for person in row["recipients"]
    )
    return Event(
        id=EventId(row["id"]),
        tenant=TenantId(row["tenant"]),
        source=row["source"],
        source_id=row["source_id"],
        type=EventType(row["type"]),
        subject=row["subject"],
        time=row["time"],
        received_at=row["received_at"],
        sequence=row["sequence"],
        content_hash=row["content_hash"],
        data=row["data"],
        outlet=OutletCode(row["outlet"]) if row["outlet"] else None,
        recipients=people,
        key_id=row["key_id"],
    )


def order_from(row: RowMapping, data: Mapping[str, Any]) -> Order:
    """From the orders table and the data of its version."""
    return Order(
        id=OrderId(row["id"]),
        tenant=TenantId(row["tenant"]),
        number=row["number"],
        outlet=OutletCode(row["outlet"]),
        status=OrderStatus(row["status"]),
        version=row["version"],
        data=OrderData.model_validate(data),
        event_id=EventId(row["event_id"]),
        deadline=row["deadline"],
        answer_by=row["answer_by"],
        created_at=row["created_at"],
        decision_id=DecisionId(row["decision_id"]) if row["decision_id"] else None,
        decided_elsewhere=row["decided_elsewhere"],
        previous=OrderId(row["previous"]) if row["previous"] else None,
    )


def order_row(order: Order) -> dict[str, Any]:
    """To the orders table; its data goes to order_versions."""
    return {
        "id": order.id,
        "tenant": order.tenant,
        "number": order.number,
        "outlet": order.outlet,
        "status": order.status.value,
        "version": order.version,
        "event_id": order.event_id,
        "deadline": order.deadline,
        "answer_by": order.answer_by,
        "created_at": order.created_at,
        "decision_id": order.decision_id,
        "decided_elsewhere": order.decided_elsewhere,
        "previous": order.previous,
    }


def decision_from(row: RowMapping) -> Decision:
    """From the decisions table."""
    return Decision(
        id=DecisionId(row["id"]),
        tenant=TenantId(row["tenant"]),
        order_id=OrderId(row["order_id"]),
        order_version=row["order_version"],
        action=Action(row["action"]),
        quantities=row["quantities"],
        reason=row["reason"],
        decided_at=row["decided_at"],
        final_at=row["final_at"],
        nonce=row["nonce"],
        recipient_key=RecipientKey(row["recipient_key"]) if row["recipient_key"] else None,
        recipient_id=RecipientId(row["recipient_id"]) if row["recipient_id"] else None,
        decided_by=row["decided_by"],
        via=row["via"],
        undone_at=row["undone_at"],
        undone_by=row["undone_by"],
        undone_via=row["undone_via"],
        undo_nonce=row["undo_nonce"],
    )


def link_from(row: RowMapping) -> LinkRow:
    """From the links table."""
    return LinkRow(
        id=LinkId(row["id"]),
        tenant=TenantId(row["tenant"]),
        recipient_key=RecipientKey(row["recipient_key"]),
        recipient_id=RecipientId(row["recipient_id"]) if row["recipient_id"] else None,
        purpose=row["purpose"],
        object=row["object"],
        object_version=row["object_version"],
        expires_at=row["expires_at"],
        event_id=EventId(row["event_id"]),
        may_act=row["may_act"],
        revoked_at=row["revoked_at"],
        notification_id=row["notification_id"],
    )


def claimed_from(row: RowMapping, session: SessionId, trust: Trust = Trust.PROVEN) -> Claimed:
    """From a notification joined with its lane and message."""
    tenant, channel = TenantId(row["tenant"]), ChannelName(row["channel"])
    return Claimed(
        id=NotificationId(row["id"]),
        tenant=tenant,
        event_id=EventId(row["event_id"]),
        channel=channel,
        purpose=Purpose(row["purpose"]),
        address=row["address"],
        recipient_key=RecipientKey(row["recipient_key"]),
        lane_id=LaneId(row["lane_id"]),
        lane=LaneKey(tenant, channel, Priority(row["priority"]), row["target"]),
        tries=row["tries"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        message=message_from(row),
        session=session,
        last_outcome=AttemptOutcome(row["last_outcome"]) if row["last_outcome"] else None,
        waits=row["waits"],
        trust=trust,
    )


def message_from(row: RowMapping) -> Message:
    """From a notification joined with its message."""
    return Message(
        id=MessageId(row["message_id"]),
        tenant=TenantId(row["tenant"]),
        kind=row["kind"],
        channel=ChannelName(row["channel"]),
        locale=row["locale"],
        template_hash=row["template_hash"],
        context=row["context"],
    )
