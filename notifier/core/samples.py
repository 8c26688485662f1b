"""Sample events as facts: what `config check` renders every template with, and what `preview` shows without an event.

One imaginary tenant and store; every kind in a full form and in the barest form a sender may write. Values only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from notifier.core import context
from notifier.core.catalogue import Entry
from notifier.core.event_data import (
    DATA_MODELS,
    DecisionData,
    EventData,
    OrderData,
    OrderDecidedData,
    OrderWithdrawnData,
    subject_of,
)
from notifier.core.ids import EventId, MessageId, OrderId, OutletCode, RecipientId, RecipientKey, TenantId
from notifier.core.model import ChannelName, Event, EventType, Message, Outlet, Priority, Purpose
from notifier.core.orders import Order, OrderStatus
from notifier.core.policy import Help, TenantPolicy
from notifier.core.routing import Facts, Planned

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
TENANT = TenantId("acme")
POLICY = TenantPolicy(
    id=TENANT,
    name="Acme Beverages",
    timezone="Europe/Madrid",
    sms_enabled=True,
    help=Help("Acme store support", "+34 600 000 000", "help@acme.example"),
)
OUTLET = Outlet(
    tenant=TENANT,
    code=OutletCode("ES-1001"),
    name="Main St",
    street="Calle Mayor 5",
    city="Madrid",
    postal_code="28013",
    country="ES",
    timezone="Europe/Madrid",
    phone="+34 600 111 222",
)
_STORE = {"code": "ES-1001", "name": "Main St"}
_COOLER = {"serial": "CLR-20817", "type": "Vertical, two doors", "location": "Next to the till"}
_PICTURE = {"guid": "6f0b6c1e-5d0e-4a53-9b59-2f1f1f7f3c11"}
_COLA = {"sku": "5449000131805", "name": "Cola Zero 500 ml"}
_WATER = {"sku": "8411547001085", "name": "Spring Water 1.5 l"}
_LINES: list[dict[str, Any]] = [
    {**_COLA, "case_size": 24, "case_price": 1240, "suggested_cases": 12, "max_cases": 40},
    {**_WATER, "case_size": 6, "case_price": 890, "suggested_cases": 20},
    {"sku": "5000112611762", "name": "Orange 330 ml", "case_size": 24, "case_price": 1412, "suggested_cases": 6},
]
_DECISION: dict[str, Any] = {
    "decision_id": "0193585d-0000-7000-8000-000000000001",
    "order_number": "1042",
    "outlet": _STORE,
    "order_version": 2,
    "decided_at": "2026-11-23T09:32:00Z",
    "decided_by": "Alice",
    "via": "email",
    "total_cases": 36,
    "final": False,
    "final_at": "2026-11-23T09:42:00Z",
}


def _decided(action: str, coolr_action: str, cases: tuple[int, int, int], **more: Any) -> dict[str, Any]:
    lines = [
        {
            "sku": line["sku"],
            "name": line["name"],
            "suggested_cases": line["suggested_cases"],
            "cases": now,
            "case_price": line["case_price"],
            "case_size": line["case_size"],
        }
        for line, now in zip(_LINES, cases, strict=True)
    ]
    total = sum(line["case_price"] * line["cases"] for line in lines)
    priced = {"currency": "EUR", "total": total, "total_cases": sum(cases)}
    return {**_DECISION, "decision": action, "coolr_action": coolr_action, "lines": lines, **priced, **more}


_UNDONE = {"undone_at": "2026-11-23T09:38:00Z", "undone_by": "Bob", "undone_via": "sms"}
_ALERT: dict[str, Any] = {
    "alert_id": "81234",
    "alert_type": "OutOfStock",
    "status": "open",
    "outlet": _STORE,
    "text": "No facing left on the second shelf.",
    "value": 0,
    "threshold": 2,
    "opened_at": "2026-11-23T09:12:00Z",
    "asset": _COOLER,
    "product": _COLA,
    "image": _PICTURE,
}
_BARE_ALERT: dict[str, Any] = {"alert_id": "1", "alert_type": "SomethingNew", "status": "open", "outlet": {"code": "X"}}

#: Event type → the data of its samples, the full one first.
DATA: Mapping[EventType, tuple[dict[str, Any], ...]] = {
    EventType.ALERT_OPENED: (_ALERT, _BARE_ALERT),
    EventType.ALERT_UPDATED: (
        {**_ALERT, "status": "updated", "updated_at": "2026-11-23T09:40:00Z"},
        {**_BARE_ALERT, "status": "updated"},
    ),
    EventType.ALERT_CLOSED: (
        {**_ALERT, "status": "closed", "closed_at": "2026-11-23T09:55:00Z"},
        {**_BARE_ALERT, "status": "closed"},
    ),
    EventType.IMAGE_PROCESSED: (
        {
            "image_id": "9911",
            "outlet": _STORE,
            "taken_at": "2026-11-23T09:30:00Z",
            "image": _PICTURE,
            "asset": _COOLER,
            "stock_percentage": 62,
            "planogram_compliance": 81.5,
            "foreign_products": 2,
            "temperature": 4.2,
            "out_of_stock": [{**_COLA, "shelf": 2}, _WATER],
            "order_number": "1042",
        },
        {"image_id": "1", "outlet": {"code": "X"}, "taken_at": "2026-11-23T09:30:00Z", "image": {"guid": "0" * 8}},
    ),
    EventType.ORDER_RECOMMENDED: (
        {
            "order_number": "1042",
            "outlet": _STORE,
            "lines": _LINES,
            "currency": "EUR",
            "deadline": "2026-11-27T13:15:00Z",
            "reason": "Cola Zero is out of stock and the weekend sells twice as much.",
            "image": _PICTURE,
            "asset": _COOLER,
        },
        {"order_number": "7", "outlet": {"code": "X"}, "lines": [{"sku": "1", "name": "", "suggested_cases": 1}]},
        {"order_number": "1043", "outlet": _STORE, "lines": _LINES, "paused": True},
    ),
    EventType.ORDER_WITHDRAWN: (
        {"order_number": "1042", "outlet": _STORE, "reason": "The product is discontinued."},
        {"order_number": "7", "outlet": {"code": "X"}},
    ),
    EventType.ORDER_DECIDED: (
        {
            "order_number": "1042",
            "outlet": _STORE,
            "decision": "modified",
            "decided_at": "2026-11-23T09:50:00Z",
            "decided_by": "Bob",
        },
        {
            "order_number": "7",
            "outlet": {"code": "X"},
            "decision": "cancelled",
            "decided_at": "2026-11-23T09:50:00Z",
        },
    ),
    EventType.OPPORTUNITY_MISSED: (
        {
            "opportunity_id": "77",
            "outlet": _STORE,
            "period_start": "2026-11-16",
            "period_end": "2026-11-22",
            "currency": "EUR",
            "missed_revenue": 18400,
            "actual_revenue": 96150,
            "uplift_percentage": 19,
            "products": [
                {**_COLA, "days_out_of_stock": 4, "missed_revenue": 12300},
                {**_WATER, "days_out_of_stock": 1, "missed_revenue": 6100},
            ],
        },
        {"opportunity_id": "1", "outlet": {"code": "X"}, "period_start": "2026-11-16", "period_end": "2026-11-22"},
    ),
    EventType.DECISION_RECORDED: (
        _decided("modified", "edit_and_schedule", (10, 20, 6)),
        _decided("accepted", "schedule", (12, 20, 6), final=True, via="operator"),
        _decided("cancelled", "ignore", (0, 0, 0), reason="The store is closed for works.", via="sms"),
    ),
    EventType.DECISION_UNDONE: (_decided("accepted", "schedule", (12, 20, 6), final=False, **_UNDONE),),
}


def facts(type_: EventType) -> Iterator[Facts]:
    """Yield the samples of a type as routing would see them; the barest have no outlet in the directory."""
    for raw in DATA[type_]:
        data = DATA_MODELS[type_].model_validate(raw)
        known = raw["outlet"] is _STORE
        event = Event(
            id=EventId("01935850-0000-7000-8000-000000000000"),
            tenant=TENANT,
            source="sample",
            source_id="sample",
            type=type_,
            subject=subject_of(data),
            time=NOW,
            received_at=NOW,
            sequence=1,
            content_hash="",
            data=data.model_dump(mode="json"),
            outlet=OutletCode(raw["outlet"]["code"]),
        )
        made = Facts(event, data, OUTLET if known else None, order=_order(data, known=known))
        yield replace(made, entry=_ENTRY if known else None)


_ENTRY = Entry("OutOfStock", "Out of stock", "merchandising", priority=Priority.HIGH, advice="Fill up the shelf.")


def _order(data: EventData, *, known: bool) -> Order | None:
    """The order an event is about, as the accept step left it; an event may also close one that we never saw."""
    if isinstance(data, OrderData):
        recommended = data
    elif known and isinstance(data, (OrderWithdrawnData, OrderDecidedData, DecisionData)):
        recommended = OrderData.model_validate(DATA[EventType.ORDER_RECOMMENDED][0])
    else:
        return None
    deadline = recommended.deadline
    return Order(
        id=OrderId("01935851-0000-7000-8000-000000000000"),
        tenant=TENANT,
        number=recommended.order_number,
        outlet=OutletCode(recommended.outlet.code),
        status=OrderStatus.PENDING,
        version=1,
        data=recommended,
        event_id=EventId("01935850-0000-7000-8000-000000000000"),
        deadline=deadline,
        answer_by=deadline - timedelta(minutes=15) if deadline else None,
        created_at=NOW,
    )


def planned(channel: ChannelName, *, may_act: bool = True) -> Planned:
    """A recipient of the samples: Alice, who owns the store, or somebody who may only look."""
    return Planned(
        channel=channel,
        address="alice@example.com",
        purpose=Purpose.NOTICE,
        recipient_key=RecipientKey("alice"),
        recipient_id=RecipientId("alice"),
        name="Alice",
        language="en",
        role="owner" if may_act else "regional_manager",
        rule="orders to owners",
        links=True,
        priority=Priority.HIGH,
        may_act=may_act,
        due_at=NOW,
        expires_at=None,
    )


def messages() -> Iterator[Message]:
    """Yield every sample on every channel, with and without links: what all templates must be able to render."""
    for type_ in EventType:
        for sample in facts(type_):
            for channel in ChannelName:
                for links, may_act in ((True, True), (True, False), (False, False)):
                    yield message(sample, channel, links=links, may_act=may_act)


def message(sample: Facts, channel: ChannelName, *, links: bool = True, may_act: bool = True) -> Message:
    """Freeze one sample for one channel."""
    frozen = context.build(planned(channel, may_act=may_act), sample, POLICY, _links(sample, channel) if links else {})
    if may_act and sample.order is not None and "order" in frozen["links"]:
        frozen["number"] = {"order_id": sample.order.id, "recipient_key": "alice", "round": 0, "key_id": "sample"}
    kind = sample.event.type.kind
    return Message(MessageId("sample"), TENANT, kind, channel, "en", "sample", frozen)


def _links(sample: Facts, channel: ChannelName) -> dict[str, dict[str, Any]]:
    """The links that the kind can carry, as references; the most important first, and only that in an SMS."""
    short = channel is ChannelName.SMS
    names = _LINKS.get(sample.event.type.kind, ())[: 1 if short else None]
    return {name: {"id": "sample", "purpose": name, "expires": 1796000000, "short": short} for name in names}


_LINKS: Mapping[str, tuple[str, ...]] = {
    "alert_opened": ("image",),
    "alert_updated": ("image",),
    "image_processed": ("image",),
    "opportunity_missed": ("opportunity",),
    "order_recommended": ("order", "image"),
    "decision_recorded": ("order",),
    "decision_undone": ("order",),
}
