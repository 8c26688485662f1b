"""Rows that are not messages: subjects, quarantine, links as stored, sessions, keys, audit. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from notifier.core.ids import AttemptId, EventId, LinkId, NotificationId, RecipientId, RecipientKey, SessionId, TenantId
from notifier.core.lanes import Lane
from notifier.core.model import ChannelName, Message


@dataclass(frozen=True, slots=True)
class SubjectState:
    """Last state and sequence of one object ("alert/81234"), locked while its events are accepted."""

    tenant: TenantId
    subject: str
    source: str  #: the source that owns it; another source's events are quarantined
    sequence: int
    state: Mapping[str, Any] = field(default_factory=dict)  #: alerts: status, value, updated_at


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """An invalid event of an authenticated sender, kept whole (P8). `body` is capped text, never interpreted."""

    id: str
    tenant: TenantId
    key_id: str
    received_at: datetime
    code: str  #: invalid, conflict, reserved_type, not_allowed ...
    field: str | None
    reason: str
    body: str
    source: str | None = None
    source_id: str | None = None
    released_at: datetime | None = None
    released_event_id: EventId | None = None


@dataclass(frozen=True, slots=True)
class LinkRow:
    """A link as stored; `notifier.core.model.LinkPlan` plus what happened to it."""

    id: LinkId
    tenant: TenantId
    recipient_key: RecipientKey
    recipient_id: RecipientId | None
    purpose: str
    object: str
    object_version: int | None
    expires_at: datetime
    event_id: EventId
    may_act: bool
    revoked_at: datetime | None = None
    notification_id: NotificationId | None = None


@dataclass(frozen=True, slots=True)
class WorkerSession:
    """A delivery worker process while it lives (design section 4)."""

    id: SessionId
    host: str
    pid: int
    started_at: datetime
    heartbeat_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as stored: only its SHA-256 is kept."""

    id: str
    tenant: TenantId
    name: str
    secret_hash: str
    sources: tuple[str, ...]
    types: tuple[str, ...]
    may_address: bool
    may_read: bool
    created_at: datetime
    disabled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what: decisions, link events, operator actions. Append-only."""

    id: str
    tenant: TenantId
    at: datetime
    actor: str  #: "link:<recipient key>", "operator:<name>", "key:<id>", "policy"
    action: str  #: decision.accept, link.wrong_number, config.apply ...
    object: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did."""

    dead_sessions: int = 0
    freed: int = 0  #: claimed rows without an attempt, due again
    unknown: int = 0  #: open attempts of dead sessions
    expired: int = 0
    released: int = 0  #: held rows that nothing stops any more, due again; or ended by their age


@dataclass(frozen=True, slots=True)
class UnknownAttempt:
    """An attempt whose answer was lost, with what a look-up at the provider needs (P4)."""

    attempt_id: AttemptId
    notification_id: NotificationId
    tenant: TenantId
    address: str
    started_at: datetime
    expires_at: datetime | None
    message: Message


@dataclass(frozen=True, slots=True)
class LaneStats:
    """One line of the operator's picture: per channel and priority."""

    channel: ChannelName
    priority: str
    due: int
    oldest_due_at: datetime | None
    claimed: int
    sent: int
    failed: int
    unknown: int
    held: int


@dataclass(frozen=True, slots=True)
class LaneView:
    """A lane with what is under way and what waits in it."""

    lane: Lane
    under_way: int
    due: int  #: waiting to be sent now


@dataclass(frozen=True, slots=True)
class LaneCounts:
    """How the lanes of a channel are, in numbers."""

    channel: ChannelName
    lanes: int
    resting: int  #: nothing is claimed from them now, whatever the reason
    open: int  #: their breaker is open, and they rest or have something to send
