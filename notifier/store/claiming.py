"""claim: due rows become a session's, fair by tenant. Never waits for a lock (SKIP LOCKED on PostgreSQL)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

from sqlalchemy import Row, case, or_, select

from notifier.core.ids import LaneId, NotificationId, SessionId
from notifier.core.model import (
    Claimed,
    ClaimRequest,
    NotificationStatus,
    Priority,
)
from notifier.store.base import Base, chunks
from notifier.store.lanes import refresh_lanes
from notifier.store.rows import claimed_from
from notifier.store.tables import lanes, messages, notifications, workers

READY_LANES = 500  #: lanes looked at by one claim
RANK = case((lanes.c.priority == Priority.HIGH, 0), (lanes.c.priority == Priority.NORMAL, 1), else_=2)
NEVER = datetime.min.replace(tzinfo=UTC)


class ClaimWrites(Base):
    """Who is next."""

    def claim(self, request: ClaimRequest, now: datetime) -> list[Claimed]:
        """Take due rows: ready lanes round-robin by tenant, at most `per_lane` from each, the oldest first.

        A session that was buried gets nothing.
        """
        if self.connection.execute(select(workers.c.id).where(workers.c.id == request.session)).one_or_none() is None:
            return []
        ready = self._ready_lanes(request, now)
        taken: list[NotificationId] = []
        asked: list[LaneId] = []
        for position, lane in enumerate(ready):
            room = request.slots - len(taken)
            if room <= 0:
                break
            fair = max(1, -(-room // (len(ready) - position)))
            taken += self._due_in(lane, min(fair, request.per_lane), now)
            asked.append(lane)
        if taken:
            self._mark_claimed(taken, request.session)
        refresh_lanes(self.connection, asked, now)
        return self._claimed(taken, request.session)

    def _ready_lanes(self, request: ClaimRequest, now: datetime) -> list[LaneId]:
        """Locked on PostgreSQL, those another claim holds left out. Tenants take turns, who waited longest first.

        Of a tenant's lanes the urgent come first, equals in turn. The turns are kept in the lanes themselves: a
        claim is often for one free slot, and a flood with the oldest rows must not win every one of them.
        """
        awake = or_(lanes.c.paused_until.is_(None), lanes.c.paused_until <= now)
        query = (
            select(lanes.c.id, lanes.c.tenant, RANK.label("rank"), lanes.c.claimed_at, lanes.c.next_due_at)
            .where(lanes.c.next_due_at <= now, awake, lanes.c.channel.in_([name.value for name in request.channels]))
            .order_by(lanes.c.claimed_at.nulls_first(), RANK, lanes.c.next_due_at)
            .limit(READY_LANES)
        )
        by_tenant: dict[str, list[Row[Any]]] = {}
        for lane in self.connection.execute(self.locked(query, skip=True)):
            by_tenant.setdefault(lane.tenant, []).append(lane)
        waited = sorted(by_tenant.values(), key=lambda its: max(lane.claimed_at or NEVER for lane in its))
        turns = zip_longest(*(sorted(its, key=_urgency) for its in waited))
        return [LaneId(lane.id) for turn in turns for lane in turn if lane is not None]

    def _due_in(self, lane: LaneId, most: int, now: datetime) -> list[NotificationId]:
        table = notifications
        alive = or_(table.c.expires_at.is_(None), table.c.expires_at > now)
        query = (
            select(table.c.id)
            .where(table.c.lane_id == lane, table.c.status == NotificationStatus.DUE, table.c.due_at <= now, alive)
            .order_by(table.c.due_at)
            .limit(most)
        )
        return [NotificationId(found) for found in self.connection.execute(self.locked(query, skip=True)).scalars()]

    def _mark_claimed(self, taken: Sequence[NotificationId], session: SessionId) -> None:
        for some in chunks(taken):
            query = notifications.update().where(notifications.c.id.in_(some))
            self.connection.execute(query.values(status=NotificationStatus.CLAIMED, claimed_by=session))

    def _claimed(self, taken: Sequence[NotificationId], session: SessionId) -> list[Claimed]:
        found: dict[str, Claimed] = {}
        for some in chunks(taken):
            query = (
                select(
                    notifications,
                    lanes.c.priority,
                    lanes.c.target,
                    messages.c.locale,
                    messages.c.template_hash,
                    messages.c.context,
                )
                .join(lanes, lanes.c.id == notifications.c.lane_id)
                .join(messages, messages.c.id == notifications.c.message_id, isouter=True)
                .where(notifications.c.id.in_(some))
            )
            for row in self.connection.execute(query).mappings():
                if row["context"] is not None:
                    found[row["id"]] = claimed_from(row, session)
        self._fail_without_message([lost for lost in taken if lost not in found])
        return [found[notification] for notification in taken if notification in found]

    def _fail_without_message(self, lost: Sequence[NotificationId]) -> None:
        """A row whose content is gone can never be sent: it ends here, and does not stop its neighbours."""
        for some in chunks(lost):
            values = {"status": NotificationStatus.FAILED, "reason": "no_message", "claimed_by": None}
            self.connection.execute(notifications.update().where(notifications.c.id.in_(some)).values(values))


def _urgency(lane: Row[Any]) -> tuple[int, datetime, datetime]:
    return lane.rank, lane.claimed_at or NEVER, lane.next_due_at
