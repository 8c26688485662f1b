"""Orders and what may be decided about them: pure answers, no storage.

An order is pending until somebody decides, it is withdrawn, or it lapses. A decision names the version it saw; the
first wins (P6). Quantities are whole cases, money integer minor units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from notifier.core.event_data import OrderData
from notifier.core.ids import DecisionId, EventId, OrderId, OutletCode, RecipientId, RecipientKey, TenantId


class OrderStatus(StrEnum):
    """Where an order stands."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    MODIFIED = "modified"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Action(StrEnum):
    """What a person can do. Coolr's words: accept = schedule, modify = edit then schedule, cancel = ignore."""

    ACCEPT = "accept"
    MODIFY = "modify"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Order:
    """An order as stored; `data` is the newest recommended version, `version` counts every change."""

    id: OrderId
    tenant: TenantId
    number: str  #: what people read
    outlet: OutletCode
    status: OrderStatus
    version: int
    data: OrderData
    event_id: EventId  #: the recommendation it came from
    deadline: datetime | None  #: real cut-off
    answer_by: datetime | None  #: shown to people: cut-off minus the tenant's margin
    created_at: datetime
    decision_id: DecisionId | None = None
    decided_elsewhere: bool = False  #: closed by coolr.order.decided
    previous: OrderId | None = None  #: the decided order this one follows


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision as stored. `quantities` are final cases by SKU."""

    id: DecisionId
    tenant: TenantId
    order_id: OrderId
    order_version: int
    action: Action
    quantities: Mapping[str, int]
    reason: str
    decided_at: datetime
    final_at: datetime
    nonce: str  #: of the form; the same form again gets the same receipt
    recipient_key: RecipientKey | None
    recipient_id: RecipientId | None
    decided_by: str  #: given name or role, never an address
    via: str
    undone_at: datetime | None = None
    undone_by: str | None = None
    undone_via: str | None = None
    undo_nonce: str | None = None  #: of the form that took it back; the same form again gets the same answer


@dataclass(frozen=True, slots=True)
class NumberState:
    """The two-digit number of one (order, recipient): how to derive it, and how often it was got wrong."""

    tenant: TenantId
    order_id: OrderId
    recipient_key: RecipientKey
    round: int  #: chosen so that the number differs from others in sight; the number itself is never stored
    key_id: str  #: fingerprint of the link key it derives from
    wrong: int = 0
    last_nonce: str = ""  #: a doubled wrong number counts once
