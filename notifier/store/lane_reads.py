"""Lanes as people look at them: who rests and why, what waits there, and what a waiting notification waits for."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, literal_column, or_, select

from notifier.core.ids import EventId, NotificationId, TenantId
from notifier.core.lanes import LaneState
from notifier.core.model import ChannelName, NotificationStatus, Priority
from notifier.core.records import LaneCounts, LaneView
from notifier.store.base import Base
from notifier.store.lanes import DUE, OPEN, lane_from, state_of
from notifier.store.tables import lanes, notifications
from notifier.store.types import Word

CLAIMED = literal_column(f"'{NotificationStatus.CLAIMED}'", Word())  #: written out as DUE is
IS_OPEN = lanes.c.breaker == OPEN
#: After its rest an open breaker is trouble only for what has to be sent: where nothing is, it stays so for days.
IN_USE = lanes.c.next_due_at.is_not(None)


class LaneReads(Base):
    """How the lanes are."""

    def lane_views(self, now: datetime, tenant: TenantId | None, limit: int) -> list[LaneView]:
        """Lanes, those that rest or have an open breaker first; of one tenant or of all."""
        trouble = case((and_(_rests(now), IS_OPEN), 0), (_rests(now), 1), (and_(IS_OPEN, IN_USE), 2), else_=3)
        urgency = case((lanes.c.priority == Priority.HIGH, 0), (lanes.c.priority == Priority.NORMAL, 1), else_=2)
        order = (trouble, lanes.c.tenant, lanes.c.channel, lanes.c.target, urgency)
        place = func.row_number().over(order_by=order).label("place")
        # Counted only in the lanes that are shown.
        first = _of(select(lanes, place), tenant).order_by(*order).limit(limit).subquery()
        mine = notifications.c.lane_id == first.c.id
        waits = and_(mine, notifications.c.status == DUE, notifications.c.due_at <= now)
        held = and_(mine, notifications.c.status == CLAIMED)
        counts = (
            select(func.count()).select_from(notifications).where(which).correlate(first).scalar_subquery()
            for which in (held, waits)
        )
        rows = self.connection.execute(select(first, *counts).order_by(first.c.place))
        return [LaneView(lane_from(row), *row[-2:]) for row in rows]

    def lane_counts(self, now: datetime, tenant: TenantId | None = None) -> list[LaneCounts]:
        """By channel, how many lanes there are and how many of them are in trouble; of one tenant or of all."""

        def number(which: ColumnElement[bool]) -> ColumnElement[int]:
            return func.coalesce(func.sum(case((which, 1), else_=0)), 0)

        columns = (lanes.c.channel, func.count(), number(_rests(now)), number(and_(IS_OPEN, or_(_rests(now), IN_USE))))
        query = _of(select(*columns), tenant).group_by(lanes.c.channel).order_by(lanes.c.channel)
        return [LaneCounts(ChannelName(row[0]), *row[1:]) for row in self.connection.execute(query)]

    def lanes_waited_for(self, tenant: TenantId, event_id: EventId) -> dict[NotificationId, LaneState]:
        """Of an event's notifications that wait, how their lanes are."""
        waits = (
            notifications.c.tenant == tenant,
            notifications.c.event_id == event_id,
            notifications.c.status == DUE,
        )
        query = select(notifications.c.id.label("notification"), lanes).where(*waits)
        rows = self.connection.execute(query.join(lanes, lanes.c.id == notifications.c.lane_id))
        return {NotificationId(row.notification): state_of(row) for row in rows}


def _rests(now: datetime) -> ColumnElement[bool]:
    return and_(lanes.c.paused_until.is_not(None), lanes.c.paused_until > now)


def _of(query: Select[Any], tenant: TenantId | None) -> Select[Any]:
    return query if tenant is None else query.where(lanes.c.tenant == tenant)
