"""claim, attempt, settle: the hot path. Bulk statements; conditions in SQL fence out sessions that lost their rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Any

from sqlalchemy import RowMapping, and_, bindparam, case, func, or_, select

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
from notifier.store.base import Base, chunks
from notifier.store.lanes import refresh_lanes, wake_lanes
from notifier.store.tables import attempts, lanes, messages, notifications, suppressions
from notifier.store.types import UtcTime

READY_LANES = 500  #: lanes looked at by one claim
RANK = case((lanes.c.priority == Priority.HIGH, 0), (lanes.c.priority == Priority.NORMAL, 1), else_=2)
HANDED_OVER = (NotificationStatus.SENT, NotificationStatus.DELIVERED)


class DeliveryWrites(Base):
    """What the engine does with due rows."""

    # -- claim ------------------------------------------------------------------------------------------------------

    def claim(self, request: ClaimRequest, now: datetime) -> list[Claimed]:
        """Take due rows: ready lanes round-robin by tenant, at most `per_lane` from each, the oldest first."""
        ready = self._ready_lanes(request, now)
        taken: list[NotificationId] = []
        for position, lane in enumerate(ready):
            room = request.slots - len(taken)
            if room <= 0:
                break
            fair = max(1, -(-room // (len(ready) - position)))
            taken += self._due_in(lane, min(fair, request.per_lane), now)
        if taken:
            self._mark_claimed(taken, request.session)
        refresh_lanes(self.connection, ready)
        return self._claimed(taken, request.session)

    def _ready_lanes(self, request: ClaimRequest, now: datetime) -> list[LaneId]:
        """Locked on PostgreSQL, those another claim holds left out; urgent first, tenants taking turns."""
        awake = or_(lanes.c.paused_until.is_(None), lanes.c.paused_until <= now)
        query = (
            select(lanes.c.id, lanes.c.tenant)
            .where(lanes.c.next_due_at <= now, awake, lanes.c.channel.in_([name.value for name in request.channels]))
            .order_by(RANK, lanes.c.next_due_at)
            .limit(READY_LANES)
        )
        by_tenant: dict[str, list[LaneId]] = {}
        for lane, tenant in self.connection.execute(self.locked(query, skip=True)):
            by_tenant.setdefault(tenant, []).append(LaneId(lane))
        return [lane for turn in zip_longest(*by_tenant.values()) for lane in turn if lane is not None]

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
                .join(messages, messages.c.id == notifications.c.message_id)
                .where(notifications.c.id.in_(some))
            )
            for row in self.connection.execute(query).mappings():
                found[row["id"]] = claimed_from(row, session)
        return [found[notification] for notification in taken]

    def release(self, session: SessionId, ids: Sequence[NotificationId], now: datetime) -> None:
        """Give claimed rows without an attempt back, untouched."""
        table, touched = notifications, []
        for some in chunks(list(ids)):
            mine = and_(
                table.c.id.in_(some), table.c.claimed_by == session, table.c.status == NotificationStatus.CLAIMED
            )
            rows = self.connection.execute(select(table.c.lane_id, table.c.due_at).where(mine)).all()
            self.connection.execute(table.update().where(mine).values(status=NotificationStatus.DUE, claimed_by=None))
            touched += [(LaneId(lane), due) for lane, due in rows]
        wake_lanes(self.connection, touched)

    # -- attempt ------------------------------------------------------------------------------------------------------

    def save_attempts(self, new: Sequence[NewAttempt]) -> frozenset[AttemptId]:
        """Insert attempt rows for notifications still claimed by their session; returns those that may be sent."""
        table = notifications
        mine: set[tuple[str, str]] = set()
        for some in chunks([attempt.notification_id for attempt in new]):
            query = select(table.c.id, table.c.claimed_by).where(
                table.c.id.in_(some), table.c.status == NotificationStatus.CLAIMED
            )
            mine.update((found, session) for found, session in self.connection.execute(self.locked(query)))
        begun = [attempt for attempt in new if (attempt.notification_id, attempt.session) in mine]
        if begun:
            self.connection.execute(attempts.insert(), [_attempt_row(attempt) for attempt in begun])
            update = (
                table.update()
                .where(table.c.id == bindparam("notification"))
                .values(attempt_id=bindparam("attempt"), tries=bindparam("number"))
            )
            rows = [{"notification": a.notification_id, "attempt": a.id, "number": a.number} for a in begun]
            self.connection.execute(update, rows)
        return frozenset(attempt.id for attempt in begun)

    # -- settle -------------------------------------------------------------------------------------------------------

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Close attempts and move notifications. A late outcome updates its own attempt only."""
        if not settlements:
            return
        self.connection.execute(_CLOSE_ATTEMPT, [_closing(item) for item in settlements])
        self.connection.execute(_MOVE, [_moving(item) for item in settlements])
        again = [(item.lane_id, item.due_at) for item in settlements if item.status is NotificationStatus.DUE]
        wake_lanes(self.connection, [(lane, due) for lane, due in again if due is not None])
        for item in settlements:
            if item.pause_lane_until is not None:
                self.pause_lane(item.lane_id, item.pause_lane_until, item.reason)
        self._disable([item for item in settlements if item.disable_target])
        self._catch_up([item.attempt_id for item in settlements if item.status is NotificationStatus.SENT])

    def pause_lane(self, lane: LaneId, until: datetime | None, reason: str | None) -> None:
        """Nothing is claimed from the lane until then; None ends the pause."""
        query = lanes.update().where(lanes.c.id == lane)
        self.connection.execute(query.values(paused_until=until, pause_reason=reason))

    def _disable(self, refused: Sequence[Settlement]) -> None:
        for some in chunks([item.notification_id for item in refused]):
            columns = (notifications.c.tenant, notifications.c.channel, notifications.c.address)
            for row in self.connection.execute(select(*columns).where(notifications.c.id.in_(some))):
                item = refused[0]
                values = {"reason": item.reason or "refused", "created_at": item.finished_at}
                self.insert_new(suppressions, [dict(row._mapping) | values])

    # -- provider call-backs ------------------------------------------------------------------------------------------

    def advance(self, attempt: AttemptId, status: NotificationStatus, code: str | None, now: datetime) -> bool:
        """Move the attempt's notification forward; a call-back before our own settling is kept for then."""
        found = self.connection.execute(
            select(attempts.c.notification_id, attempts.c.provider_status).where(attempts.c.id == attempt)
        ).one_or_none()
        if found is None or found.provider_status in (NotificationStatus.DELIVERED, NotificationStatus.FAILED):
            return False
        self.connection.execute(
            attempts.update().where(attempts.c.id == attempt).values(provider_status=status, provider_code=code)
        )
        return self._forward(NotificationId(found.notification_id), attempt, status, code)

    def _forward(
        self, notification: NotificationId, attempt: AttemptId, status: NotificationStatus, code: str | None
    ) -> bool:
        table = notifications
        before = {
            NotificationStatus.SENT: (NotificationStatus.UNKNOWN,),
            NotificationStatus.DELIVERED: (NotificationStatus.UNKNOWN, NotificationStatus.SENT),
            NotificationStatus.FAILED: (NotificationStatus.UNKNOWN, NotificationStatus.SENT),
        }.get(status, ())
        query = table.update().where(
            table.c.id == notification, table.c.attempt_id == attempt, table.c.status.in_(before)
        )
        reason = f"provider reported {code or 'failure'}" if status is NotificationStatus.FAILED else None
        return self.connection.execute(query.values(status=status, reason=reason)).rowcount == 1

    def _catch_up(self, settled: Sequence[AttemptId]) -> None:
        """Call-backs that came before the settling."""
        for some in chunks(settled):
            query = select(attempts).where(attempts.c.id.in_(some), attempts.c.provider_status.is_not(None))
            for row in self.connection.execute(query).all():
                status = NotificationStatus(row.provider_status)
                self._forward(NotificationId(row.notification_id), AttemptId(row.id), status, row.provider_code)

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
        attempts.c.outcome.in_([AttemptOutcome.OPEN.value, AttemptOutcome.UNKNOWN.value]),
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
