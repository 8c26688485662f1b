"""route: unrouted events, the people told before, and all notifications of a chunk in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, select

from notifier.core.ids import EventId, LaneId, TenantId, new_id
from notifier.core.lanes import NEW_WINDOW
from notifier.core.model import AttemptOutcome, ChannelName, Event, LaneKey, NewNotification, NotificationStatus
from notifier.store.base import Base, chunks
from notifier.store.lanes import wake_lanes
from notifier.store.rows import event_from
from notifier.store.tables import attempts, events, lanes, links, messages, notifications

#: Where a notification stands that its receiver may have; what waits for a retry tells by its attempts.
MAY_HAVE_ARRIVED = frozenset(
    {
        NotificationStatus.CLAIMED,
        NotificationStatus.SENT,
        NotificationStatus.DELIVERED,
        NotificationStatus.UNKNOWN,
    }
)
WAITING = (NotificationStatus.DUE, NotificationStatus.HELD)


class RoutingWrites(Base):
    """The route transaction."""

    def take_unrouted(self, limit: int, now: datetime) -> list[Event]:
        """Oldest unrouted events, locked; other routers skip them. Of each subject only the first in line.

        So an object's events are routed in their order, one per transaction, however many routers there are: who
        is told of a closing depends on who was told of the opening. A row that cannot be read is set aside.
        """
        before = events.alias("before")
        first = ~exists().where(
            before.c.tenant == events.c.tenant,
            before.c.subject == events.c.subject,
            before.c.routed_at.is_(None),
            before.c.sequence < events.c.sequence,
        )
        query = select(events).where(events.c.routed_at.is_(None), first).order_by(events.c.id).limit(limit)
        found = []
        for row in self.connection.execute(self.locked(query, skip=True)).mappings().all():
            try:
                found.append(event_from(row))
            except (ValueError, KeyError, TypeError) as error:
                self.set_aside([EventId(row["id"])], f"cannot be read: {type(error).__name__}", now)
        return found

    def set_aside(self, event_ids: Sequence[EventId], problem: str, now: datetime) -> None:
        """Routing cannot handle them: kept with the reason, tried again when a configuration is applied."""
        for some in chunks(list(event_ids)):
            query = events.update().where(events.c.id.in_(some), events.c.routed_at.is_(None))
            self.connection.execute(query.values(routed_at=now, routing_problem=problem))

    def mark_routed(self, event_ids: Sequence[EventId], now: datetime) -> None:
        """They have all their notifications."""
        for some in chunks(list(event_ids)):
            self.connection.execute(events.update().where(events.c.id.in_(some)).values(routed_at=now))

    def cancel_due(
        self,
        tenant: TenantId,
        subject: str,
        kinds: Sequence[str],
        channels: Sequence[ChannelName],
        reason: str,
        now: datetime,
    ) -> int:
        """Cancel what is still due about a subject on these channels."""
        query = notifications.update().where(
            about(tenant, subject),
            notifications.c.kind.in_(kinds),
            notifications.c.channel.in_([channel.value for channel in channels]),
            notifications.c.status.in_(WAITING),
        )
        return self.connection.execute(query.values(status=NotificationStatus.CANCELLED, reason=reason)).rowcount

    def take_back(self, tenant: TenantId, event_id: EventId, endpoints: Sequence[str], reason: str) -> bool:
        """Cancel what waits for these endpoints; False, with nothing changed, when one of them may have something."""
        table = notifications
        mine = (
            table.c.tenant == tenant,
            table.c.event_id == event_id,
            table.c.channel == ChannelName.CALLBACK.value,
            table.c.address.in_(endpoints),
        )
        query = select(table.c.id, table.c.status).where(*mine).order_by(table.c.id)
        rows = self.connection.execute(self.locked(query)).all()
        if any(row.status in MAY_HAVE_ARRIVED for row in rows) or self._in_doubt([row.id for row in rows]):
            return False
        due = table.update().where(*mine, table.c.status.in_(WAITING))
        self.connection.execute(due.values(status=NotificationStatus.CANCELLED, reason=reason))
        return True

    def _in_doubt(self, ids: Sequence[str]) -> bool:
        """Whether a try of one of these was written and never answered."""
        unknown = (attempts.c.notification_id.in_(ids), attempts.c.outcome == AttemptOutcome.UNKNOWN)
        return self.connection.execute(select(attempts.c.id).where(*unknown).limit(1)).first() is not None

    def save_notifications(self, new: Sequence[NewNotification], now: datetime) -> int:
        """Insert with messages, links and lanes; what exists already (P2) is left alone. Returns the new due ones."""
        fresh = self._fresh(new)
        if not fresh:
            return 0
        lane_ids = self._lanes({item.lane: item.in_flight_limit for item in fresh})
        self._save_messages(fresh)
        self._insert(notifications, [_row(item, lane_ids[item.lane], created=now) for item in fresh])
        self._save_links(fresh)
        due = [item for item in fresh if item.status is NotificationStatus.DUE]
        wake_lanes(self.connection, [(lane_ids[item.lane], item.due_at) for item in due])
        return len(due)

    def _fresh(self, new: Sequence[NewNotification]) -> list[NewNotification]:
        table = notifications
        known: set[tuple[str, str, str, str]] = set()
        for some in chunks(sorted({item.event_id for item in new})):
            query = select(table.c.event_id, table.c.channel, table.c.address, table.c.purpose)
            known.update(tuple(row) for row in self.connection.execute(query.where(table.c.event_id.in_(some))))
        fresh = []
        for item in new:
            key = (item.event_id, item.channel.value, item.address, item.purpose.value)
            if key not in known:
                known.add(key)
                fresh.append(item)
        return fresh

    def _lanes(self, limits: Mapping[LaneKey, int | None]) -> dict[LaneKey, LaneId]:
        wanted = sorted(limits, key=lambda key: (key.tenant, key.channel, key.priority, key.target))
        rows = [_lane_row(key) for key in wanted]
        found = {key: lane for key in wanted if (lane := self._lane(key))}
        new = [
            {**row, "id": new_id(), "in_flight_limit": limits[key], "in_flight_window": NEW_WINDOW}
            for key, row in zip(wanted, rows, strict=True)
            if key not in found
        ]
        self.insert_new(lanes, new)
        return found | {key: lane for key in wanted if key not in found and (lane := self._lane(key))}

    def _lane(self, key: LaneKey) -> LaneId | None:
        query = select(lanes.c.id).where(*(lanes.c[name] == value for name, value in _lane_row(key).items()))
        found = self.connection.execute(query).scalar_one_or_none()
        return LaneId(found) if found else None

    def _save_messages(self, fresh: Sequence[NewNotification]) -> None:
        rows = [
            {
                "id": message.id,
                "tenant": message.tenant,
                "kind": message.kind,
                "channel": message.channel.value,
                "locale": message.locale,
                "template_hash": message.template_hash,
                "context": dict(message.context),
            }
            for item in fresh
            if (message := item.message) is not None
        ]
        self._insert(messages, rows)

    def _save_links(self, fresh: Sequence[NewNotification]) -> None:
        rows = [
            {
                "id": link.id,
                "tenant": link.tenant,
                "recipient_key": link.recipient_key,
                "recipient_id": link.recipient_id,
                "purpose": link.purpose,
                "object": link.object,
                "object_version": link.object_version,
                "expires_at": link.expires_at,
                "event_id": link.event_id,
                "notification_id": item.id,
                "may_act": link.may_act,
                "code_hash": link.code_hash,
            }
            for item in fresh
            for link in item.links
        ]
        self._insert(links, rows)


def about(tenant: TenantId, subject: str) -> ColumnElement[bool]:
    """Notifications of events about that object."""
    of = select(events.c.id).where(events.c.tenant == tenant, events.c.subject == subject)
    return and_(notifications.c.tenant == tenant, notifications.c.event_id.in_(of))


def _lane_row(key: LaneKey) -> dict[str, str]:
    return {
        "tenant": key.tenant,
        "channel": key.channel.value,
        "priority": key.priority.value,
        "target": key.target,
    }


def _row(item: NewNotification, lane: LaneId, created: datetime) -> dict[str, Any]:
    return {
        "id": item.id,
        "tenant": item.tenant,
        "event_id": item.event_id,
        "subject": item.subject,
        "kind": item.kind,
        "channel": item.channel.value,
        "purpose": item.purpose.value,
        "address": item.address,
        "recipient_key": item.recipient_key,
        "recipient_id": item.recipient_id,
        "rule": item.rule,
        "role": item.role,
        "lane_id": lane,
        "message_id": item.message.id if item.message else None,
        "status": item.status.value,
        "reason": item.reason,
        "due_at": item.due_at,
        "expires_at": item.expires_at,
        "created_at": created,
    }
