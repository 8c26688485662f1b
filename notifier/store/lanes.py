"""Lanes and their wake-up times: `next_due_at` is never later than the earliest due row of the lane."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def refresh_lanes(connection: Connection, touched: Sequence[LaneId], now: datetime) -> None:
    """They had their turn: set the wake-up times anew from the rows. The caller holds these lanes' locks."""
    waiting = (notifications.c.lane_id == lanes.c.id) & (notifications.c.status == NotificationStatus.DUE)
    earliest = select(func.min(notifications.c.due_at)).where(waiting).correlate(lanes).scalar_subquery()
    query = lanes.update().where(lanes.c.id == bindparam("lane")).values(next_due_at=earliest, claimed_at=now)
    if touched:
        connection.execute(query, [{"lane": lane} for lane in touched])


def pause_lanes(connection: Connection, pauses: Mapping[LaneId, tuple[datetime | None, str | None]]) -> None:
    """Nothing is claimed from these lanes until then; None ends the pause."""
    for lane in sorted(pauses):
        until, reason = pauses[lane]
        query = lanes.update().where(lanes.c.id == lane)
        connection.execute(query.values(paused_until=until, pause_reason=reason))
