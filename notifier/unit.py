"""The store's questions, as Protocols: what can be asked inside a reading or writing transaction.

Methods are the pipeline's questions, not CRUD. Every method made for a credential takes the tenant and filters by it in
SQL (P11); the listed exceptions are claim, sweep and link look-up. No transaction spans I/O, rendering or more than
500 rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from notifier.core.ids import (
    AttemptId,
    DecisionId,
    EventId,
    LaneId,
    LinkId,
    NotificationId,
    OrderId,
    OutletCode,
    RecipientKey,
    SessionId,
    TenantId,
)
from notifier.core.lanes import Lane, LaneChange, LaneState
from notifier.core.limits import LimitKey, Limits
from notifier.core.model import (
    ChannelName,
    ClaimRequest,
    Claims,
    Contact,
    Event,
    Message,
    NewAttempt,
    NewNotification,
    NotificationStatus,
    Outlet,
    Settlement,
)
from notifier.core.orders import Decision, NumberState, Order
from notifier.core.records import (
    ApiKey,
    AuditEntry,
    LaneCounts,
    LaneStats,
    LaneView,
    LinkRow,
    QuarantineEntry,
    SubjectState,
    Swept,
    UnknownAttempt,
    WorkerSession,
)
from notifier.core.switches import Switch


class CommitPoint(StrEnum):
    """Which transaction this is: the places where a kill leaves either all of a step or nothing of it.

    Every `store.write(...)` names one. A test kills the process just before and just after each and looks at the
    promises after a restart; a new member without such a test fails.
    """

    ACCEPT = "accept"  #: events, subjects, orders, quarantine
    ROUTE = "route"  #: notifications with messages and links; the events are routed
    SET_ASIDE = "set_aside"  #: an event that cannot be routed is kept with the reason
    SESSION_START = "session_start"
    HEARTBEAT = "heartbeat"
    SESSION_END = "session_end"  #: what a session held is due again
    FREE_UNHELD = "free_unheld"  #: what a living session claimed without knowing is due again
    CLAIM = "claim"  #: due rows belong to a session
    ATTEMPT = "attempt"  #: attempt rows, just before the sends
    SETTLE = "settle"  #: outcomes, and what follows
    SWEEP = "sweep"  #: rows of dead sessions are freed, late ones expire
    LOOK_UP = "look_up"  #: lost answers that are asked about now
    RESOLVE = "resolve"  #: what asking brought
    REPORT = "report"  #: a provider's call-back
    DECIDE = "decide"  #: decision, order, audit and event; or a wrong number counted
    UNDO = "undo"  #: a decision taken back: order, audit and event
    ADMIN = "admin"  #: configuration, directory, keys, quarantine, by an operator's command


class DirectoryReader(Protocol):
    """Outlets and the people of them."""

    def outlets(self, tenant: TenantId, codes: Sequence[OutletCode]) -> dict[OutletCode, Outlet]: ...
    def contacts(self, tenant: TenantId, codes: Sequence[OutletCode]) -> dict[OutletCode, list[Contact]]: ...
    def suppressed_addresses(self, tenant: TenantId) -> frozenset[tuple[ChannelName, str]]:
        """Addresses that must not be written to any more (STOP, hard bounce, 410 for endpoints)."""

    def outlet_countries(self, tenant: TenantId) -> frozenset[str]:
        """The countries of the tenant's outlets."""

    def roles(self, tenant: TenantId) -> frozenset[str]:
        """Every role that somebody has at some outlet of the tenant."""


class OrderReader(Protocol):
    """Orders, links and decisions."""

    def order(self, tenant: TenantId, order_id: OrderId) -> Order | None: ...
    def orders_by_number(self, tenant: TenantId, numbers: Sequence[str]) -> dict[str, Order]:
        """Newest order of each number."""

    def order_version(self, tenant: TenantId, order_id: OrderId, version: int) -> Mapping[str, Any] | None:
        """The order's data as it was in that version."""

    def decision(self, tenant: TenantId, decision_id: DecisionId) -> Decision | None: ...
    def last_decision(self, tenant: TenantId, order_id: OrderId) -> Decision | None:
        """The order's newest decision, in force or undone."""

    def times_undone(self, tenant: TenantId, order_id: OrderId) -> int: ...
    def link(self, link_id: LinkId) -> LinkRow | None:
        """Look a link up by id; the token's signature was verified before (listed exception to the tenant rule)."""

    def link_by_code(self, code_hash: str) -> LinkRow | None: ...
    def number_state(self, tenant: TenantId, order_id: OrderId, key: RecipientKey) -> NumberState | None: ...
    def open_numbers(self, tenant: TenantId, key: RecipientKey, now: datetime) -> list[NumberState]:
        """Numbers of this person's orders that can be answered, or whose answer can be undone."""


class EventReader(Protocol):
    """Events and what became of them, for people entitled to see."""

    def event(self, tenant: TenantId, event_id: EventId) -> Event | None: ...
    def told_of(self, tenant: TenantId, subject: str, kind: str) -> frozenset[tuple[ChannelName, str]]:
        """(channel, address) of notifications of that kind about that subject which were not suppressed."""

    def known_events(
        self, tenant: TenantId, keys: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], tuple[EventId, str]]:
        """(source, source id) → (event id, content hash) of what was accepted before."""

    def subject_states(self, tenant: TenantId, subjects: Sequence[str]) -> dict[str, SubjectState]:
        """Last state and sequence of these subjects, not locked; missing ones are absent from the answer."""

    def frozen_messages(self, tenant: TenantId, event_id: EventId) -> list[tuple[Mapping[str, Any], Message]]:
        """Notifications of an event, as people see them, each with its frozen message; suppressed ones have none."""

    def find_event(self, reference: str, tenant: TenantId | None = None) -> Event | None:
        """By our id, or by the sender's id (newest)."""

    def list_rows(
        self, table: str, tenant: TenantId, *, start: int, limit: int, filters: Mapping[str, Any]
    ) -> tuple[list[Mapping[str, Any]], int]:
        """Rows of a listed table (events, notifications, attempts, orders ...) and their total."""

    def timeline(self, tenant: TenantId, event_id: EventId) -> list[Mapping[str, Any]]:
        """Notifications of an event with attempts, statuses, reasons."""

    def lanes_waited_for(self, tenant: TenantId, event_id: EventId) -> Mapping[NotificationId, LaneState]:
        """Of an event's notifications that wait, how their lanes are."""

    def notification(self, tenant: TenantId, notification_id: NotificationId) -> Mapping[str, Any] | None: ...
    def quarantined(self, tenant: TenantId, entry_id: str) -> QuarantineEntry | None: ...


class AdminReader(Protocol):
    """Configuration, keys, health."""

    def policy_version(self) -> int: ...
    def policy_text(self) -> tuple[int, str] | None:
        """Newest applied notifier.toml and its number."""

    def api_key(self, secret_hash: str) -> ApiKey | None: ...
    def api_keys(self, tenant: TenantId | None = None) -> list[ApiKey]: ...
    def lane_stats(self, now: datetime) -> list[LaneStats]: ...
    def lane_views(self, now: datetime, tenant: TenantId | None, limit: int) -> list[LaneView]:
        """Lanes, those that rest or have an open breaker first; of one tenant or of all."""

    def lane_counts(self, now: datetime, tenant: TenantId | None = None) -> list[LaneCounts]:
        """By channel, how many lanes there are, rest, have an open breaker; of one tenant or of all."""

    def latencies(self, since: datetime) -> list[tuple[ChannelName, str, float]]:
        """(channel, priority, seconds from acceptance to hand-over) of first tries that succeeded since."""

    def count_unrouted(self) -> int:
        """How many accepted events wait for routing."""

    def provider_ids(self, address: str, since: datetime) -> frozenset[str]:
        """The provider's names of what other attempts handed over to that address since (not by tenant: the account
        at the provider is one for all)."""

    def unrouted_since(self) -> datetime | None:
        """When the first of them was received; None = nothing waits."""

    def what_is_left(self, request: ClaimRequest, now: datetime) -> Claims:
        """What a claim says that brings nothing: whether another one would, or a free slot, and until when not."""

    def switches(self) -> list[Switch]:
        """Everything that is off, the oldest first."""

    def anything_held(self) -> bool: ...
    def waiting_in(self, limits: Limits, most: int, now: datetime) -> Mapping[LimitKey, int]:
        """Due rows by rate limit, of lanes that may be claimed from; no lane is counted further than `most`."""

    def schema_version(self) -> str | None: ...
    def sessions(self) -> list[WorkerSession]: ...


class Reader(DirectoryReader, OrderReader, EventReader, AdminReader, Protocol):
    """Everything that can be asked in a reading transaction."""


class IntakeWriter(Protocol):
    """accept: identity, subjects, sequence, quarantine."""

    def lock_subjects(self, tenant: TenantId, subjects: Sequence[str]) -> dict[str, SubjectState]:
        """Lock these subjects in sorted order (creating nothing); missing ones are absent from the answer.

        On PostgreSQL two writers creating the same new subject are serialised too (advisory lock or insert-first).
        """

    def save_subjects(self, states: Sequence[SubjectState]) -> None: ...
    def save_events(self, events: Sequence[Event]) -> None: ...
    def save_quarantine(self, entries: Sequence[QuarantineEntry]) -> None: ...
    def mark_released(self, tenant: TenantId, entry_id: str, event_id: EventId, now: datetime) -> bool: ...
    def lock_order(self, tenant: TenantId, order_id: OrderId) -> Order | None:
        """Read an order for change (row lock on PostgreSQL; SQLite's write transaction already is one)."""

    def save_order(self, order: Order) -> None:
        """Insert or update by id; keeps the data of each version."""


class RoutingWriter(Protocol):
    """route: take unrouted events, store all notifications in one transaction."""

    def take_unrouted(self, limit: int, now: datetime, *, shared: int | None = None) -> list[Event]:
        """Unrouted events, locked (SKIP LOCKED on PostgreSQL): tenants take turns, of each the oldest come first.

        At most `limit`, `shared` where several tenants wait; of each subject only the first in line.
        """

    def set_aside(self, event_ids: Sequence[EventId], problem: str, now: datetime) -> None:
        """Routing cannot handle them: kept with the reason (P12), routed again when a configuration is applied."""

    def save_notifications(self, notifications: Sequence[NewNotification], now: datetime) -> int:
        """Insert with messages, links and lanes; what exists (P2) is left alone. Returns how many are new and due."""

    def mark_routed(self, event_ids: Sequence[EventId], now: datetime) -> None: ...
    def cancel_due(
        self,
        tenant: TenantId,
        subject: str,
        kinds: Sequence[str],
        channels: Sequence[ChannelName],
        reason: str,
        now: datetime,
    ) -> int:
        """Cancel what is still due about a subject on these channels (withdrawn, superseded, alert closed before it
        went out). Receivers of callbacks hear every event, so callers name people's channels only."""

    def take_back(self, tenant: TenantId, event_id: EventId, endpoints: Sequence[str], reason: str) -> bool:
        """Cancel what waits for these endpoints about an event, all of it or, when some was handed over, nothing.
        Returns whether it was cancelled."""

    def save_number_state(self, state: NumberState) -> None:
        """Insert if absent (first writer wins)."""

    def revoke_links(self, tenant: TenantId, object: str, now: datetime) -> int: ...


class DeliveryWriter(Protocol):
    """claim, attempt, settle, sweep."""

    def start_session(self, session: WorkerSession) -> None: ...
    def beat_session(self, session: SessionId, now: datetime) -> bool:
        """Move the heartbeat; False when the session was declared dead meanwhile (fencing)."""

    def end_session(self, session: SessionId, now: datetime) -> int:
        """Return claimed rows without attempt to due and remove the session. Returns how many."""

    def claim(self, request: ClaimRequest, now: datetime) -> Claims:
        """Take due rows: ready lanes round-robin by tenant, then at most `per_lane` from each (SKIP LOCKED)."""

    def save_attempts(self, attempts: Sequence[NewAttempt]) -> frozenset[AttemptId]:
        """Commit attempt rows for notifications still claimed by the session; returns those that may be sent."""

    def settle(self, settlements: Sequence[Settlement]) -> list[LaneChange]:
        """Close attempts and move notifications, in bulk. A late outcome updates its own attempt, never a notification
        that has moved on. Returns the lanes that came to rest by that, or are back."""

    def sweep(self, now: datetime, dead: Sequence[WorkerSession]) -> Swept:
        """Bury these sessions unless they have beaten since, free the rows of buried ones, expire what is past its
        life."""

    def free_unheld(self, session: SessionId, held: Collection[NotificationId], now: datetime) -> int:
        """Free what the session claimed and does not hold. Returns how many."""

    def release_held(self, now: datetime) -> int:
        """End held rows past their life and make due those that nothing stops any more, some of them; how many."""

    def limit_lanes(self, limits: Mapping[tuple[TenantId, str], int]) -> None:
        """Callbacks to an endpoint (tenant, name): so many may be under way at once, in each of its lanes."""

    def advance(self, attempt: AttemptId, status: NotificationStatus, code: str | None, now: datetime) -> bool:
        """A provider call-back moves the attempt's notification forward only."""

    def resolve_unknown(
        self,
        attempt: AttemptId,
        status: NotificationStatus,
        due_at: datetime | None,
        provider_id: str | None,
        reason: str | None,
        now: datetime,
    ) -> bool:
        """Move a notification out of `unknown` after a look-up (to sent, due, failed or expired), if it still is."""

    def open_unknowns(self, channel: ChannelName, now: datetime, limit: int) -> list[UnknownAttempt]:
        """Attempts of unknown outcome whose time to be looked up has come; moves that time on, so that two workers
        do not ask about the same one at once."""


class ActWriter(Protocol):
    """act: what people do by link."""

    def save_decision(self, decision: Decision) -> bool:
        """Insert; False when that form (nonce) was already used for this order."""

    def decision_by_nonce(self, tenant: TenantId, order_id: OrderId, nonce: str) -> Decision | None: ...
    def decision_by_undo_nonce(self, tenant: TenantId, order_id: OrderId, nonce: str) -> Decision | None: ...
    def save_undo(self, decision: Decision) -> None:
        """Who took the decision back, when and by which form."""

    def count_wrong_number(self, tenant: TenantId, order_id: OrderId, key: RecipientKey, nonce: str, limit: int) -> int:
        """One conditional UPDATE: add a wrong try unless this nonce was the last counted or the limit is reached.
        Returns the tries counted so far."""

    def save_audit(self, entries: Sequence[AuditEntry]) -> None: ...


class AdminWriter(Protocol):
    """Configuration, directory, keys."""

    def switch_off(self, switch: Switch) -> bool:
        """Turn it off; False when the same is off already."""

    def start_gently(self, switch: Switch, after: LaneId | None) -> LaneId | None:
        """Before it is on again: lanes it stopped begin with one delivery under way. Some at a time, by id; returns
        the last one changed, None when none is left."""

    def release_lanes(self, tenant: TenantId, channel: ChannelName, target: str | None, now: datetime) -> list[Lane]:
        """End the rest of a receiver's lanes (None: of every receiver), some of them; they come back gently. Returns
        them as they rested; none when none is left."""

    def switch_on(self, switch_id: str) -> bool:
        """Turn it on again; False when no such switch is off."""

    def save_policy(self, text: str, applied_by: str, now: datetime) -> int:
        """Store as the next numbered version; returns the number. Events set aside are routed again under it."""

    def save_tenants(self, names: Mapping[TenantId, str]) -> None: ...
    def save_outlets(self, outlets: Sequence[Outlet]) -> tuple[int, int]:
        """Upsert by (tenant, code); returns (created, changed)."""

    def save_contacts(self, contacts: Sequence[Contact]) -> tuple[int, int]:
        """Upsert recipients by (tenant, normalised email or phone) and their role at the outlet; (created, changed)."""

    def save_api_key(self, key: ApiKey) -> None: ...
    def disable_api_key(self, key_id: str, now: datetime) -> bool: ...
    def suppress_address(
        self, tenant: TenantId, channel: ChannelName, address: str, reason: str, now: datetime
    ) -> None: ...


class Writer(Reader, IntakeWriter, RoutingWriter, DeliveryWriter, ActWriter, AdminWriter, Protocol):
    """Everything that can be done in a writing transaction."""
