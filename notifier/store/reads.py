"""What entitled people may see: lists with Coolr's paging, timelines. Addresses masked, no secrets (P10, P11)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Column, ColumnElement, RowMapping, Select, Table, bindparam, func, or_, select

from notifier.core.acceptance import storable
from notifier.core.addresses import mask
from notifier.core.ids import EventId, NotificationId, TenantId
from notifier.core.model import ChannelName, Event, Message, NotificationStatus
from notifier.core.records import QuarantineEntry, SubjectState
from notifier.core.switches import SWITCHED_OFF, Switch, stopped_by
from notifier.store.base import each_of
from notifier.store.routing import about
from notifier.store.rows import event_from, message_from
from notifier.store.switches import SwitchReads
from notifier.store.tables import (
    attempts,
    decisions,
    events,
    messages,
    notifications,
    orders,
    outlets,
    quarantine,
    subjects,
)
from notifier.store.types import JsonText, UtcTime

#: What may be listed: the columns shown, and the one that orders (newest first).
LISTED: dict[str, tuple[Table, tuple[str, ...], str]] = {
    "events": (
        events,
        (
            "id",
            "source",
            "source_id",
            "type",
            "subject",
            "time",
            "received_at",
            "sequence",
            "outlet",
            "routed_at",
            "routing_problem",
        ),
        "id",
    ),
    "notifications": (
        notifications,
        (
            "id",
            "event_id",
            "subject",
            "kind",
            "channel",
            "purpose",
            "address",
            "rule",
            "role",
            "status",
            "reason",
            "due_at",
            "expires_at",
            "created_at",
            "sent_at",
            "tries",
            "last_outcome",
        ),
        "id",
    ),
    "attempts": (
        attempts,
        (
            "id",
            "notification_id",
            "number",
            "started_at",
            "finished_at",
            "outcome",
            "reason",
            "detail",
            "provider_code",
            "provider_id",
            "provider_status",
            "reported_at",
        ),
        "id",
    ),
    "orders": (
        orders,
        ("id", "number", "outlet", "status", "version", "deadline", "answer_by", "created_at", "decided_elsewhere"),
        "id",
    ),
    "decisions": (
        decisions,
        (
            "id",
            "order_id",
            "order_version",
            "action",
            "quantities",
            "reason",
            "decided_at",
            "final_at",
            "decided_by",
            "via",
        ),
        "id",
    ),
    "outlets": (
        outlets,
        (
            "code",
            "name",
            "city",
            "country",
            "timezone",
            "market",
            "channel",
            "classification",
            "active",
            "ordering_paused",
        ),
        "code",
    ),
    "quarantine": (
        quarantine,
        ("id", "received_at", "code", "field", "reason", "source", "source_id", "released_at", "released_event_id"),
        "received_at",
    ),
}
NOT_TOLD = (NotificationStatus.SUPPRESSED, NotificationStatus.CANCELLED, NotificationStatus.EXPIRED)
WORDS: dict[type[object], str] = {str: "a text", int: "a whole number", bool: "true or false"}
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


@cache
def _known(on_postgresql: bool) -> Select[Any]:
    mine = (events.c.tenant == bindparam("owner"), events.c.source == bindparam("origin"))
    query = select(events.c.source_id, events.c.id, events.c.content_hash).where(*mine)
    return each_of(query, events.c.source_id, "names", on_postgresql=on_postgresql)


@cache
def _subjects(on_postgresql: bool) -> Select[Any]:
    query = select(subjects).where(subjects.c.tenant == bindparam("owner"))
    return each_of(query, subjects.c.subject, "names", on_postgresql=on_postgresql)


class EventReads(SwitchReads):
    """Events and what became of them."""

    def event(self, tenant: TenantId, event_id: EventId) -> Event | None:
        """One event of a tenant."""
        query = select(events).where(events.c.tenant == tenant, events.c.id == event_id)
        row = self.connection.execute(query).mappings().one_or_none()
        return None if row is None else event_from(row)

    def told_of(self, tenant: TenantId, subject: str, kind: str) -> frozenset[tuple[ChannelName, str]]:
        """Whom notifications of that kind about that subject were made for, the suppressed ones left out."""
        query = select(notifications.c.channel, notifications.c.address).where(
            about(tenant, subject),
            notifications.c.kind == kind,
            notifications.c.status.not_in(NOT_TOLD),
        )
        return frozenset((ChannelName(channel), address) for channel, address in self.connection.execute(query))

    def known_events(
        self, tenant: TenantId, keys: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], tuple[EventId, str]]:
        """(source, source id) → (event id, content hash) of what was accepted before."""
        found: dict[tuple[str, str], tuple[EventId, str]] = {}
        by_source: dict[str, dict[str, None]] = {}
        for source, source_id in keys:
            by_source.setdefault(source, {})[source_id] = None
        for source, ids in by_source.items():
            wanted = {"owner": tenant, "origin": source, "names": self._many(list(ids))}
            for source_id, event_id, content_hash in self.connection.execute(_known(self.on_postgresql), wanted):
                found[source, source_id] = (EventId(event_id), content_hash)
        return found

    def subject_states(self, tenant: TenantId, names: Sequence[str]) -> dict[str, SubjectState]:
        """Last state and sequence of these subjects."""
        query = _subjects(self.on_postgresql)
        return {
            row.subject: SubjectState(tenant, row.subject, row.source, row.sequence, row.state)
            for row in self.connection.execute(query, {"owner": tenant, "names": self._many(names)})
        }

    def find_event(self, reference: str, tenant: TenantId | None = None) -> Event | None:
        """For the operator: by our id, or the newest with the sender's id."""
        query = select(events).where(or_(events.c.id == reference, events.c.source_id == reference))
        if tenant is not None:
            query = query.where(events.c.tenant == tenant)
        row = self.connection.execute(query.order_by(events.c.id.desc()).limit(1)).mappings().one_or_none()
        return None if row is None else event_from(row)

    def list_rows(
        self, table: str, tenant: TenantId, *, start: int, limit: int, filters: Mapping[str, Any]
    ) -> tuple[list[Mapping[str, Any]], int]:
        """Rows and their total. Raises ValueError for a filter that does not exist, naming it."""
        listed, names, order = LISTED[table]
        conditions = [listed.c.tenant == tenant, *(_condition(listed, names, *item) for item in filters.items())]
        total = self.connection.execute(select(func.count()).select_from(listed).where(*conditions)).scalar_one()
        query = select(*(listed.c[name] for name in names)).where(*conditions)
        key = "code" if listed is outlets else "id"  # makes the order whole, so that pages do not overlap
        query = query.order_by(listed.c[order].desc(), listed.c[key].desc()).offset(start).limit(limit)
        rows: list[Mapping[str, Any]] = [shown(row) for row in self.connection.execute(query).mappings()]
        return self._with_stops(tenant, rows) if listed is notifications else rows, int(total)

    def timeline(self, tenant: TenantId, event_id: EventId) -> list[Mapping[str, Any]]:
        """Notifications of an event with their attempts."""
        query = select(*(notifications.c[name] for name in LISTED["notifications"][1])).where(
            notifications.c.tenant == tenant, notifications.c.event_id == event_id
        )
        rows = [shown(row) for row in self.connection.execute(query.order_by(notifications.c.id)).mappings()]
        return [{**row, "attempts": self._attempts(tenant, row["id"])} for row in self._with_stops(tenant, rows)]

    def _with_stops(self, tenant: TenantId, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """What waits because of a switch says so: a lane that is off does not change its rows."""
        off = self.switches()
        return [{**row, "reason": SWITCHED_OFF} if _is_stopped(off, tenant, row) else row for row in rows]

    def frozen_messages(self, tenant: TenantId, event_id: EventId) -> list[tuple[Mapping[str, Any], Message]]:
        """Notifications of an event, each with its frozen message."""
        names = LISTED["notifications"][1]
        query = (
            select(
                *(notifications.c[name] for name in (*names, "tenant", "message_id")),
                *(messages.c[name] for name in ("locale", "template_hash", "context")),
            )
            .join(messages, messages.c.id == notifications.c.message_id)
            .where(notifications.c.tenant == tenant, notifications.c.event_id == event_id)
        )
        rows = self.connection.execute(query.order_by(notifications.c.id)).mappings().all()
        return [({name: seen[name] for name in names}, message_from(row)) for row in rows for seen in [shown(row)]]

    def _attempts(self, tenant: TenantId, notification_id: str) -> list[Mapping[str, Any]]:
        query = select(*(attempts.c[name] for name in LISTED["attempts"][1])).where(
            attempts.c.tenant == tenant, attempts.c.notification_id == notification_id
        )
        return [shown(row) for row in self.connection.execute(query.order_by(attempts.c.number)).mappings()]

    def notification(self, tenant: TenantId, notification_id: NotificationId) -> Mapping[str, Any] | None:
        """One notification."""
        query = select(*(notifications.c[name] for name in LISTED["notifications"][1])).where(
            notifications.c.tenant == tenant, notifications.c.id == notification_id
        )
        row = self.connection.execute(query).mappings().one_or_none()
        return None if row is None else shown(row)

    def quarantined(self, tenant: TenantId, entry_id: str) -> QuarantineEntry | None:
        """One entry with its body."""
        query = select(quarantine).where(quarantine.c.tenant == tenant, quarantine.c.id == entry_id)
        row = self.connection.execute(query).mappings().one_or_none()
        return None if row is None else QuarantineEntry(**row)


def _is_stopped(off: Sequence[Switch], tenant: TenantId, row: Mapping[str, Any]) -> bool:
    waits = row["status"] == NotificationStatus.DUE
    return waits and stopped_by(off, tenant, ChannelName(row["channel"]), row["kind"], row["address"]) is not None


def shown(row: RowMapping) -> dict[str, Any]:
    """A row as people see it: times as ISO 8601, addresses masked."""
    seen = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
    if "address" in seen and seen.get("channel") != "callback":
        seen["address"] = mask(seen["address"])
    return seen


def _condition(table: Table, names: tuple[str, ...], field: str, wanted: Any) -> ColumnElement[bool]:
    if field not in names or field == "address" or isinstance(table.c[field].type, JsonText):
        raise ValueError(f"there is no field {field!r} to filter by")
    column: Column[Any] = table.c[field]
    symbol, value = (wanted.get("operator", "="), wanted.get("value")) if isinstance(wanted, dict) else ("=", wanted)
    if symbol == "in" and isinstance(value, list) and len(value) <= 100:
        return column.in_([_value(column, field, item) for item in value])
    if value is None and symbol in ("=", "!="):
        return OPERATORS[symbol](column, None)  # type: ignore[no-any-return]  # IS NULL, IS NOT NULL
    if not isinstance(symbol, str) or symbol not in OPERATORS:
        raise ValueError(f"{field}: operator must be one of {', '.join(OPERATORS)} or in (with a list of at most 100)")
    if isinstance(value, bool) and symbol not in ("=", "!="):
        raise ValueError(f"{field}: true and false have no order; the operator must be = or !=")
    return OPERATORS[symbol](column, _value(column, field, value))  # type: ignore[no-any-return]


def _value(column: Column[Any], field: str, value: Any) -> Any:
    if isinstance(column.type, UtcTime):
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            raise ValueError(f"{field}: not an ISO 8601 time") from None
        if moment.tzinfo is None:
            raise ValueError(f"{field}: the time needs an offset, e.g. 2026-11-23T10:00:00Z")
        return moment
    kind: type[object] = column.type.python_type
    if type(value) is not kind:
        raise ValueError(f"{field}: value must be {WORDS[kind]}")
    if isinstance(value, str) and storable(value) != value:
        raise ValueError(f"{field}: value has a character that is never stored")
    if isinstance(value, int) and abs(value) >= 2**31:
        raise ValueError(f"{field}: the number is out of range")
    return value
