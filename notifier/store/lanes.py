"""Lanes and their wake-up times: `next_due_at` is never later than the earliest due row of the lane."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, case, func, or_, select

from notifier.core.ids import LaneId
from notifier.core.model import NotificationStatus
from notifier.store.tables import lanes, notifications
from notifier.store.types import UtcTime


def wake_lanes(connection: Connection, due: Iterable[tuple[LaneId, datetime]]) -> None:
    """Rows became due in these lanes. Lanes are touched in sorted order, so that two transactions cannot deadlock."""
    earliest: dict[LaneId, datetime] = {}
    for lane, moment in due:
        earliest[lane] = min(moment, earliest.get(lane, moment))
    if not earliest:
        return
    offered = bindparam("moment", type_=UtcTime)
    sooner = or_(lanes.c.next_due_at.is_(None), lanes.c.next_due_at > offered)
    query = (
        lanes.update()
        .where(lanes.c.id == bindparam("lane"))
        .values(next_due_at=case((sooner, offered), else_=lanes.c.next_due_at))
    )
    connection.execute(query, [{"lane": lane, "moment": earliest[lane]} for lane in sorted(earliest)])


def refresh_lanes(connection: Connection, touched: Sequence[LaneId]) -> None:
    """Set the wake-up times anew from the rows; the caller holds these lanes' locks."""
    for lane in sorted(set(touched)):
        waiting = (notifications.c.lane_id == lane) & (notifications.c.status == NotificationStatus.DUE)
        earliest = select(func.min(notifications.c.due_at)).where(waiting).scalar_subquery()
        connection.execute(lanes.update().where(lanes.c.id == lane).values(next_due_at=earliest))
