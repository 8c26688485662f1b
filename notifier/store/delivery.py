"""attempt, settle: the hot path. Bulk statements; conditions in SQL fence out sessions that lost their rows.

Locks on PostgreSQL, so that no two of these can wait for each other in a circle: claim never waits (SKIP LOCKED);
everybody else takes notifications first, then attempts, and lanes last, in sorted order and in one go.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, or_, select

from notifier.core.ids import (
    AttemptId,
    LaneId,
)
from notifier.core.model import (
    AttemptOutcome,
    NewAttempt,
    NotificationStatus,
    Settlement,
)
from notifier.store.base import chunks
from notifier.store.lanes import pause_lanes, wake_lanes
from notifier.store.receipts import ReceiptWrites
from notifier.store.tables import attempts, lanes, notifications, suppressions
from notifier.store.types import UtcTime

HANDED_OVER = (NotificationStatus.SENT, NotificationStatus.DELIVERED)
MAY_BE_REPORTED = (NotificationStatus.SENT, NotificationStatus.UNKNOWN)  #: a provider may have told more already


class DeliveryWrites(ReceiptWrites):
    """What becomes of claimed rows."""

    # -- attempt ------------------------------------------------------------------------------------------------------

    def save_attempts(self, new: Sequence[NewAttempt]) -> frozenset[AttemptId]:
        """Insert attempt rows for notifications still claimed by their session; returns those that may be sent.

        Doing it again is harmless: when the answer to a commit got lost, the rows are there already.
        """
        table = notifications
        mine: dict[tuple[str, str], str | None] = {}
        for some in chunks([attempt.notification_id for attempt in new]):
            query = (
                select(table.c.id, table.c.claimed_by, table.c.attempt_id)
                .where(table.c.id.in_(some), table.c.status == NotificationStatus.CLAIMED)
                .order_by(table.c.id)
            )
            mine.update(
                ((row.id, row.claimed_by), row.attempt_id) for row in self.connection.execute(self.locked(query))
            )
        may_go = [attempt for attempt in new if (attempt.notification_id, attempt.session) in mine]
        begun = [attempt for attempt in may_go if mine[attempt.notification_id, attempt.session] != attempt.id]
        if begun:
            self.connection.execute(attempts.insert(), [_attempt_row(attempt) for attempt in begun])
            update = (
                table.update()
                .where(table.c.id == bindparam("notification"))
                .values(attempt_id=bindparam("attempt"), tries=bindparam("number"))
            )
            rows = [{"notification": a.notification_id, "attempt": a.id, "number": a.number} for a in begun]
            self.connection.execute(update, rows)
        return frozenset(attempt.id for attempt in may_go)

    # -- settle -------------------------------------------------------------------------------------------------------

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Close attempts and move notifications. A late outcome updates its own attempt only."""
        if not settlements:
            return
        in_order = sorted(settlements, key=lambda item: item.notification_id)
        self.connection.execute(_MOVE, [_moving(item) for item in in_order])
        self.connection.execute(_CLOSE_ATTEMPT, [_closing(item) for item in in_order])
        self._disable([item for item in in_order if item.disable_target])
        self.catch_up([item.attempt_id for item in in_order if item.status in MAY_BE_REPORTED])
        self._move_lanes(in_order)

    def _move_lanes(self, settlements: Sequence[Settlement]) -> None:
        due = [
            (item.lane_id, item.due_at) for item in settlements if item.status is NotificationStatus.DUE and item.due_at
        ]
        paused = [item for item in settlements if item.pause_lane_until is not None]
        if paused:  # both below touch lanes: locked together, first, in order
            lock = select(lanes.c.id).where(
                lanes.c.id.in_({lane for lane, _ in due} | {item.lane_id for item in paused})
            )
            self.connection.execute(self.locked(lock.order_by(lanes.c.id)))
        wake_lanes(self.connection, due)
        pause_lanes(self.connection, {item.lane_id: (item.pause_lane_until, item.reason) for item in paused})

    def pause_lane(self, lane: LaneId, until: datetime | None, reason: str | None) -> None:
        """Nothing is claimed from the lane until then; None ends the pause."""
        pause_lanes(self.connection, {lane: (until, reason)})

    def _disable(self, refused: Sequence[Settlement]) -> None:
        columns = (notifications.c.tenant, notifications.c.channel, notifications.c.address)
        for item in refused:
            row = self.connection.execute(select(*columns).where(notifications.c.id == item.notification_id)).one()
            values = {"reason": item.reason or "refused", "created_at": item.finished_at}
            self.insert_new(suppressions, [dict(row._mapping) | values])

    def next_due(self, now: datetime) -> datetime | None:
        """When the earliest waiting row becomes due, over lanes that are not paused."""
        query = select(func.min(lanes.c.next_due_at)).where(
            or_(lanes.c.paused_until.is_(None), lanes.c.paused_until <= now)
        )
        return self.connection.execute(query).scalar_one_or_none()


_CLOSE_ATTEMPT = (
    attempts.update()
    .where(
        attempts.c.id == bindparam("attempt"),
        # No IN list: it cannot be executed for many rows at once.
        or_(attempts.c.outcome == AttemptOutcome.OPEN.value, attempts.c.outcome == AttemptOutcome.UNKNOWN.value),
    )
    .values(
        finished_at=bindparam("finished", type_=UtcTime),
        outcome=bindparam("became"),
        reason=bindparam("why"),
        detail=bindparam("told"),
        provider_code=func.coalesce(bindparam("code"), attempts.c.provider_code),
        provider_id=bindparam("provider"),
    )
)
_MOVE = (
    notifications.update()
    .where(
        notifications.c.id == bindparam("notification"),
        notifications.c.claimed_by == bindparam("session"),
        notifications.c.attempt_id == bindparam("attempt"),
        notifications.c.status == NotificationStatus.CLAIMED.value,
    )
    .values(
        status=bindparam("becomes"),
        reason=bindparam("why"),
        due_at=func.coalesce(bindparam("due", type_=UtcTime), notifications.c.due_at),
        sent_at=func.coalesce(bindparam("sent", type_=UtcTime), notifications.c.sent_at),
        claimed_by=None,
        last_outcome=bindparam("became"),
    )
)


def _attempt_row(attempt: NewAttempt) -> dict[str, Any]:
    return {
        "id": attempt.id,
        "tenant": attempt.tenant,
        "notification_id": attempt.notification_id,
        "session": attempt.session,
        "number": attempt.number,
        "started_at": attempt.started_at,
        "outcome": AttemptOutcome.OPEN.value,
    }


def _closing(item: Settlement) -> dict[str, Any]:
    return {
        "attempt": item.attempt_id,
        "finished": item.finished_at,
        "became": item.outcome.value,
        "why": item.reason,
        "told": item.detail,
        "code": item.provider_code,
        "provider": item.provider_id,
    }


def _moving(item: Settlement) -> dict[str, Any]:
    return {
        "notification": item.notification_id,
        "session": item.session,
        "attempt": item.attempt_id,
        "becomes": item.status.value,
        "why": item.reason,
        "due": item.due_at,
        "sent": item.finished_at if item.status in HANDED_OVER else None,
        "became": item.outcome.value,
    }
