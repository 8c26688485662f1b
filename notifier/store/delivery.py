"""claim, attempt, settle: the hot path. Bulk statements; conditions in SQL fence out sessions that lost their rows.

Locks on PostgreSQL, so that no two of these can wait for each other in a circle: claim never waits (SKIP LOCKED);
everybody else takes notifications first, then attempts, and lanes last, in sorted order and in one go.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

from sqlalchemy import Row, RowMapping, bindparam, case, func, or_, select

from notifier.core.ids import (
    AttemptId,
    EventId,
    LaneId,
    MessageId,
    NotificationId,
    RecipientKey,
    SessionId,
    TenantId,
)
from notifier.core.model import (
    AttemptOutcome,
    ChannelName,
    Claimed,
    ClaimRequest,
    LaneKey,
    Message,
    NewAttempt,
    NotificationStatus,
    Priority,
    Purpose,
    Settlement,
)
from notifier.store.base import chunks
from notifier.store.lanes import pause_lanes, refresh_lanes, wake_lanes
from notifier.store.receipts import ReceiptWrites
from notifier.store.tables import attempts, lanes, messages, notifications, suppressions, workers
from notifier.store.types import UtcTime

READY_LANES = 500  #: lanes looked at by one claim
RANK = case((lanes.c.priority == Priority.HIGH, 0), (lanes.c.priority == Priority.NORMAL, 1), else_=2)
HANDED_OVER = (NotificationStatus.SENT, NotificationStatus.DELIVERED)
MAY_BE_REPORTED = (NotificationStatus.SENT, NotificationStatus.UNKNOWN)  #: a provider may have told more already
NEVER = datetime.min.replace(tzinfo=UTC)


class DeliveryWrites(ReceiptWrites):
    """What the engine does with due rows."""

    # -- claim ------------------------------------------------------------------------------------------------------

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


def _urgency(lane: Row[Any]) -> tuple[int, datetime, datetime]:
    return lane.rank, lane.claimed_at or NEVER, lane.next_due_at


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


def claimed_from(row: RowMapping, session: SessionId) -> Claimed:
    """From a notification joined with its lane and message."""
    tenant, channel = TenantId(row["tenant"]), ChannelName(row["channel"])
    return Claimed(
        id=NotificationId(row["id"]),
        tenant=tenant,
        event_id=EventId(row["event_id"]),
        channel=channel,
        purpose=Purpose(row["purpose"]),
        address=row["address"],
        recipient_key=RecipientKey(row["recipient_key"]),
        lane_id=LaneId(row["lane_id"]),
        lane=LaneKey(tenant, channel, Priority(row["priority"]), row["target"]),
        tries=row["tries"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        message=message_from(row),
        session=session,
        last_outcome=AttemptOutcome(row["last_outcome"]) if row["last_outcome"] else None,
    )


def message_from(row: RowMapping) -> Message:
    """From a notification joined with its message."""
    return Message(
        id=MessageId(row["message_id"]),
        tenant=TenantId(row["tenant"]),
        kind=row["kind"],
        channel=ChannelName(row["channel"]),
        locale=row["locale"],
        template_hash=row["template_hash"],
        context=row["context"],
    )
