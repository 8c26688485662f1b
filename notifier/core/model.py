"""The words of the product as frozen values: Event, Outlet, Recipient, Notification, Message, Lane, Attempt, Link.

One word for one thing, the same in code, tables, logs and docs (docs/glossary.md). Values only: no I/O, no clock.
Times are timezone-aware UTC datetimes with microseconds; money is integer minor units beside an ISO 4217 code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, overload

from notifier.core.ids import (
    AttemptId,
    EventId,
    LaneId,
    LinkId,
    MessageId,
    NotificationId,
    OutletCode,
    RecipientId,
    RecipientKey,
    SessionId,
    TenantId,
)

if TYPE_CHECKING:  # limits are made of the words below
    from notifier.core.limits import Allowances


class EventType(StrEnum):
    """CloudEvents `type` of everything we accept or produce."""

    ALERT_OPENED = "coolr.alert.opened"
    ALERT_UPDATED = "coolr.alert.updated"
    ALERT_CLOSED = "coolr.alert.closed"
    IMAGE_PROCESSED = "coolr.image.processed"
    ORDER_RECOMMENDED = "coolr.order.recommended"
    ORDER_WITHDRAWN = "coolr.order.withdrawn"
    ORDER_DECIDED = "coolr.order.decided"
    OPPORTUNITY_MISSED = "coolr.opportunity.missed"
    DECISION_RECORDED = "coolr.decision.recorded"  #: reserved: only a decision row makes one
    DECISION_UNDONE = "coolr.decision.undone"  #: reserved

    @property
    def kind(self) -> str:
        """Name of the template family: ``coolr.alert.opened`` -> ``alert_opened``."""
        return self.value.removeprefix("coolr.").replace(".", "_")

    @property
    def reserved(self) -> bool:
        """Whether only this product may produce it."""
        return self.value.startswith("coolr.decision.")


class ChannelName(StrEnum):
    """How a notification travels."""

    EMAIL = "email"
    SMS = "sms"
    CALLBACK = "callback"


class Priority(StrEnum):
    """How urgent; part of the lane, so that a flood of one never delays another."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Purpose(StrEnum):
    """Why a notification exists beside its event (part of P2's unique index)."""

    NOTICE = "notice"  #: tells about the event
    RECEIPT = "receipt"  #: confirms a decision to people


class NotificationStatus(StrEnum):
    """Where a notification stands (design: due → claimed → sent → delivered, or an end with a reason)."""

    DUE = "due"
    HELD = "held"  #: its event type is switched off
    CLAIMED = "claimed"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class AttemptOutcome(StrEnum):
    """What became of one try."""

    OPEN = "open"  #: row committed, answer not settled yet
    SENT = "sent"  #: the receiver took it
    NOT_SENT = "not_sent"  #: failed before the request was written
    REFUSED = "refused"  #: the receiver answered no
    UNKNOWN = "unknown"  #: written, no usable answer


class LaneSign(StrEnum):
    """What the end of an attempt says of its lane: of the receiver, not of one message."""

    WELL = "well"  #: it answers, be it with no to this message
    TROUBLE = "trouble"  #: it cannot be reached, does not answer, or breaks
    BUSY = "busy"  #: it, or a provider, wants to be left alone for a while
    NONE = "none"  #: nothing: the failure is ours


class Trust(Enum):
    """What is known of a lane's receiver. In doubt, which is all but PROVEN, a lane has one delivery under way."""

    PROVEN = 0  #: it had a success since it was new, unused for long, or at rest
    NEW = 1  #: nothing is known, or it comes back from a rest that was no failure
    FAILING = 2  #: its last word was a failure


class Suppression(StrEnum):
    """Why somebody was left out; `explain` prints these."""

    NOT_IN_PLAN = "not_in_plan"  #: SMS is an entitlement of the tenant
    NO_ADDRESS = "no_address"
    BAD_ADDRESS = "bad_address"
    COUNTRY_NOT_ALLOWED = "country_not_allowed"
    PREMIUM_NUMBER = "premium_number"
    OPTED_OUT = "opted_out"
    INACTIVE = "inactive"
    NOBODY_IN_ROLE = "nobody_in_role"
    UNKNOWN_OUTLET = "unknown_outlet"
    NOT_TOLD_OF_OPENING = "not_told_of_opening"
    UPDATES_NOT_WANTED = "updates_not_wanted"  #: people hear of updates only where a rule says so
    DUPLICATE_ADDRESS = "duplicate_address"  #: one person in two roles gets one message
    CHANNEL_NOT_WANTED = "channel_not_wanted"
    ENDPOINT_FILTER = "endpoint_filter"
    ENDPOINT_DISABLED = "endpoint_disabled"
    NO_RULE = "no_rule"
    TOO_LATE = "too_late"  #: past the event's or the order's useful life
    UNDONE = "undone"  #: the decision was taken back before this receiver was to hear of it


@dataclass(frozen=True, slots=True)
class Credential:
    """What an API key (or the trusted Celery sender) may do. Made from a row of api_keys, never from a request."""

    key_id: str
    tenant: TenantId
    sources: tuple[str, ...]  #: CloudEvents `source` patterns (fnmatch); the first is the default for Coolr records
    types: tuple[str, ...]  #: event type patterns (fnmatch)
    may_address: bool = False  #: whether its events may carry recipients
    may_read: bool = False  #: whether it may use the read API


@dataclass(frozen=True, slots=True)
class CarriedRecipient:
    """A recipient named inside an event; view links only unless the outlet's directory knows the address."""

    channel: ChannelName
    address: str
    name: str = ""
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """An accepted event. `data` has the shape of notifier.core.events for its type, already validated."""

    id: EventId
    tenant: TenantId
    source: str
    source_id: str  #: the sender's CloudEvents id; identity is (tenant, source, source_id)
    type: EventType
    subject: str  #: the object: "alert/81234", "image/9911", "order/1042", "opportunity/77"
    time: datetime  #: when it happened
    received_at: datetime
    sequence: int  #: per subject, our acceptance order
    content_hash: str
    data: Mapping[str, Any]
    outlet: OutletCode | None = None
    recipients: tuple[CarriedRecipient, ...] = ()
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class Outlet:
    """A store. Empty strings mean "not known"; pages and mails are complete without."""

    tenant: TenantId
    code: OutletCode
    name: str
    external_code: str = ""
    street: str = ""
    city: str = ""
    postal_code: str = ""
    country: str = ""  #: ISO 3166-1 alpha-2
    timezone: str = "UTC"  #: IANA
    language: str = ""  #: BCP 47; "" = the tenant's
    phone: str = ""
    market: str = ""
    channel: str = ""  #: Coolr's trade channel, not a delivery channel
    classification: str = ""
    active: bool = True
    ordering_paused: bool = False


@dataclass(frozen=True, slots=True)
class Recipient:
    """A person of the directory, with or without a Coolr account."""

    id: RecipientId
    tenant: TenantId
    name: str
    email: str = ""  #: normalised
    phone: str = ""  #: E.164
    language: str = ""
    timezone: str = ""  #: "" = the outlet's
    channels: tuple[ChannelName, ...] = ()  #: wanted channels; () = whatever the rule says
    active: bool = True


@dataclass(frozen=True, slots=True)
class Contact:
    """A recipient in a role at an outlet."""

    recipient: Recipient
    outlet: OutletCode
    role: str  #: slug, e.g. "owner", "sales_rep", "regional_manager"


@dataclass(frozen=True, slots=True)
class LaneKey:
    """What shares a limit: one row of `lanes`. `target` is the endpoint name, or the sender for email and SMS."""

    tenant: TenantId
    channel: ChannelName
    priority: Priority
    target: str


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """A link to be made with a notification. What it opens is bound here; the token is made at the socket (P7)."""

    id: LinkId
    tenant: TenantId
    recipient_key: RecipientKey
    recipient_id: RecipientId | None
    purpose: str  #: notifier.core.links.LinkPurpose
    object: str  #: subject of what it opens: "order/<our order id>", "image/9911", "opportunity/77"
    object_version: int | None
    expires_at: datetime
    event_id: EventId
    may_act: bool = False  #: only directory contacts whose role may decide
    code_hash: str | None = None  #: HMAC of the SMS code, when the link travels by SMS


@dataclass(frozen=True, slots=True)
class NewNotification:
    """What routing decided for one (event, address, channel, purpose): to be stored in the routing transaction."""

    id: NotificationId
    tenant: TenantId
    event_id: EventId
    channel: ChannelName
    purpose: Purpose
    address: str  #: normalised address, or endpoint name for callbacks
    recipient_key: RecipientKey
    recipient_id: RecipientId | None
    rule: str  #: name of the rule that asked for it
    role: str
    kind: str  #: template family
    lane: LaneKey
    status: NotificationStatus  #: DUE or SUPPRESSED
    due_at: datetime
    expires_at: datetime | None
    reason: str | None = None  #: a Suppression when suppressed
    subject: str = ""
    message: Message | None = None  #: None when suppressed
    links: tuple[LinkPlan, ...] = ()
    in_flight_limit: int | None = None  #: of the lane, as configured; None = any number


@dataclass(frozen=True, slots=True)
class Message:
    """Frozen content: rendering is a pure function of these (same bytes every try, except time and signature).

    `context` is plain JSON. It names links by id and expiry and the number by its derivation, never by value:
    live links, codes and numbers are filled in at the socket and are never stored (P10).
    """

    id: MessageId
    tenant: TenantId
    kind: str
    channel: ChannelName
    locale: str
    template_hash: str
    context: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Claimed:
    """A notification in the hands of a worker session, with everything needed to send it."""

    id: NotificationId
    tenant: TenantId
    event_id: EventId
    channel: ChannelName
    purpose: Purpose
    address: str
    recipient_key: RecipientKey
    lane_id: LaneId
    lane: LaneKey
    tries: int  #: attempts already made
    created_at: datetime
    expires_at: datetime | None
    message: Message
    session: SessionId
    last_outcome: AttemptOutcome | None = None
    waits: int = 0  #: how many of the attempts were told to wait: they count for no retry
    trust: Trust = Trust.PROVEN  #: in its lane


@dataclass(frozen=True, slots=True)
class NewAttempt:
    """The row committed just before a slot sends (P4)."""

    id: AttemptId
    notification_id: NotificationId
    tenant: TenantId
    session: SessionId
    number: int  #: 1 for the first try
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one attempt came to, and what follows for its notification."""

    attempt_id: AttemptId
    notification_id: NotificationId
    tenant: TenantId
    session: SessionId
    lane_id: LaneId
    outcome: AttemptOutcome
    status: NotificationStatus  #: next status: SENT, DUE, FAILED, UNKNOWN or EXPIRED
    finished_at: datetime
    due_at: datetime | None = None  #: when DUE again (or when an unknown is to be looked at)
    reason: str | None = None
    detail: str | None = None  #: a sentence for the operator; no secret, no full address
    provider_code: str | None = None
    provider_id: str | None = None  #: Twilio sid, SMTP queue id
    rest_lane_until: datetime | None = None
    disable_target: bool = False
    waited: bool = False  #: the refusal spoke of us or of the lane: the attempt counts for no retry
    lane_sign: LaneSign = LaneSign.NONE
    lane_reason: str | None = None  #: what the answer says of the lane; `reason` is the notification's
    chance: float = 0.5  #: uniform in [0, 1)


@dataclass(frozen=True, slots=True)
class DoubtfulSlots:
    """How many more slots lanes in doubt may have."""

    all: int
    failing: int  #: of them, lanes whose last word was a failure


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """How much a worker session can take now."""

    session: SessionId
    slots: int
    per_lane: int
    channels: tuple[ChannelName, ...] = field(default_factory=lambda: tuple(ChannelName))
    allowances: Allowances | None = None  #: tokens for lanes with a rate limit; None = no limit is in force
    doubtful: DoubtfulSlots | None = None  #: most rows from lanes in doubt; None = any number
    per_tenant: int | None = None  #: most rows of one tenant that the session may have under way; None = any number
    held: Mapping[TenantId, int] = field(default_factory=dict)  #: rows that it has under way

    def room_of(self, tenant: TenantId) -> int:
        """How many more rows of the tenant it may take."""
        return self.slots if self.per_tenant is None else max(0, self.per_tenant - self.held.get(tenant, 0))


@dataclass(frozen=True, slots=True)
class Claims(Sequence[Claimed]):
    """What a claim brought."""

    rows: tuple[Claimed, ...] = ()
    left: bool = False  #: lanes are ready, or may be: a slot that comes free is worth another look
    more: bool = False  #: and so is another look soon: some have room, or others hold them
    next_in: float | None = None  #: seconds until a lane wakes up; None = none will, or rows came and it was not asked

    @overload
    def __getitem__(self, index: int) -> Claimed: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Claimed]: ...
    def __getitem__(self, index: int | slice) -> Claimed | Sequence[Claimed]:
        """The rows are what it is about."""
        return self.rows[index]

    def __len__(self) -> int:
        """How many rows were claimed."""
        return len(self.rows)
