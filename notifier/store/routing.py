"""route: which events are next, and what becomes of them; what is waiting is called off."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache

from sqlalchemy import ColumnElement, Update, and_, bindparam, literal_column, select

from notifier.core.ids import EventId, TenantId
from notifier.core.model import AttemptOutcome, ChannelName, Event, NotificationStatus
from notifier.store.base import among, chunks
from notifier.store.routed import RoutedWrites
from notifier.store.rows import event_from
from notifier.store.tables import attempts, events, notifications
from notifier.store.types import UtcTime
from notifier.store.unrouted import UnroutedWrites

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


@cache
def _mark_routed(on_postgresql: bool) -> Update:
    these = among(events.c.id, "events", on_postgresql=on_postgresql)
    return events.update().where(these).values(routed_at=bindparam("moment", type_=UtcTime))


class RoutingWrites(RoutedWrites, UnroutedWrites):
    """The route transaction."""

    def take_unrouted(self, limit: int, now: datetime, *, shared: int | None = None) -> list[Event]:
        """Unrouted events, locked: of one tenant alone at most `limit`, of several at most `shared` (None: as many).

        Tenants take turns, and of each the oldest come first; of each subject only the first in line. So an object's
        events are routed in their order, one per transaction, however many routers there are: who is told of a closing
        depends on who was told of the opening. A row that cannot be read is set aside.
        """
        found = []
        for row in self.next_unrouted(limit, limit if shared is None else shared):
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
        if event_ids:
            parameters = {"events": self._many(event_ids), "moment": now}
            self.connection.execute(_mark_routed(self.on_postgresql), parameters)

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


def about(tenant: TenantId, subject: str) -> ColumnElement[bool]:
    """Notifications of events about that object."""
    sequenced = events.c.sequence > literal_column("0")  # as the index says it
    of = select(events.c.id).where(events.c.tenant == tenant, events.c.subject == subject, sequenced)
    return and_(notifications.c.tenant == tenant, notifications.c.event_id.in_(of))
