"""Worker sessions: heartbeat, death, and the sweep that frees what the dead held."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, select

from notifier.core.ids import AttemptId, LaneId, NotificationId, SessionId, TenantId
from notifier.core.model import AttemptOutcome, ChannelName, NotificationStatus
from notifier.core.records import Swept, UnknownAttempt, WorkerSession
from notifier.core.retrying import LOOK_UP_AFTER
from notifier.store.base import MOST_VALUES, chunks
from notifier.store.delivery import HANDED_OVER
from notifier.store.lanes import wake_lanes
from notifier.store.receipts import ReceiptWrites
from notifier.store.rows import message_from
from notifier.store.tables import attempts, messages, notifications, workers

SWEEP_ROWS = 400  #: rows one sweep moves at most
LOST = "worker_lost"  #: reason of attempts whose worker died before it told the outcome


class SessionWrites(ReceiptWrites):
    """Who works, and what becomes of the work of the dead."""

    def start_session(self, session: WorkerSession) -> None:
        """A worker begins."""
        row = {name: getattr(session, name) for name in [column.name for column in workers.c]}
        self.connection.execute(workers.insert().values(row))

    def beat_session(self, session: SessionId, now: datetime) -> bool:
        """Move the heartbeat; False when the session was buried meanwhile."""
        return (
            self.connection.execute(workers.update().where(workers.c.id == session).values(heartbeat_at=now)).rowcount
            == 1
        )

    def end_session(self, session: SessionId, now: datetime) -> int:
        """Free what it holds and remove it; returns how many rows became due again without a try."""
        freed, _ = self._free(notifications.c.claimed_by == session, now)
        self.connection.execute(workers.delete().where(workers.c.id == session))
        return freed

    def free_unheld(self, session: SessionId, held: Collection[NotificationId], now: datetime) -> int:
        """Free what the session claimed and does not know of (the answer to a claim got lost); returns how many."""
        mine = (notifications.c.status == NotificationStatus.CLAIMED, notifications.c.claimed_by == session)
        claimed = self.connection.execute(select(notifications.c.id).where(*mine)).scalars()
        freed = [self._free(notifications.c.id.in_(some), now) for some in chunks(sorted(set(claimed) - set(held)))]
        return sum(untouched + begun for untouched, begun in freed)

    def sweep(self, now: datetime, dead: Sequence[WorkerSession]) -> Swept:
        """Bury these sessions if their heartbeat still is the one given, free rows of buried ones, expire what is past
        its life. Bounded; two at once do no harm."""
        # Gone first: from here on its heartbeat fails and it sends nothing more.
        buried = sum(self._bury(session) for session in sorted(dead, key=lambda session: session.id))
        freed, unknown = self._free(notifications.c.claimed_by.in_(self._gone()), now)
        return Swept(buried, freed, unknown, self._expire(now))

    def _bury(self, session: WorkerSession) -> int:
        same = and_(workers.c.id == session.id, workers.c.heartbeat_at == session.heartbeat_at)
        return self.connection.execute(workers.delete().where(same)).rowcount

    def _gone(self) -> list[str]:
        """Buried sessions that still hold rows. Named, so that a row claimed anew meanwhile is never meant."""
        holders = select(notifications.c.claimed_by).where(notifications.c.status == NotificationStatus.CLAIMED)
        query = holders.where(notifications.c.claimed_by.not_in(select(workers.c.id))).distinct()
        return list(self.connection.execute(query.limit(MOST_VALUES)).scalars())

    def _free(self, whose: ColumnElement[bool], now: datetime) -> tuple[int, int]:
        table = notifications
        query = (
            select(table.c.id, table.c.lane_id, table.c.channel, table.c.due_at)
            .where(table.c.status == NotificationStatus.CLAIMED, whose)
            .order_by(table.c.id)
            .limit(SWEEP_ROWS)
        )
        rows = self.connection.execute(self.locked(query, skip=True)).all()
        tries = self._open_among([row.id for row in rows])
        begun = [row for row in rows if row.id in tries]
        untouched = [row for row in rows if row.id not in tries]
        self._close_open(list(tries.values()), now)
        again = [row for row in begun if row.channel != ChannelName.SMS]
        texts = [row for row in begun if row.channel == ChannelName.SMS]
        self._put_back(untouched)
        self._given_up([(row.id, tries[row.id]) for row in again], NotificationStatus.DUE, now)
        self._given_up([(row.id, tries[row.id]) for row in texts], NotificationStatus.UNKNOWN, now + LOOK_UP_AFTER)
        self.catch_up([tries[row.id] for row in texts])
        due = [(LaneId(row.lane_id), row.due_at) for row in untouched] + [(LaneId(row.lane_id), now) for row in again]
        wake_lanes(self.connection, due)  # all at once: lanes are locked in sorted order
        return len(untouched), len(begun)

    def _open_among(self, ids: Sequence[str]) -> dict[str, AttemptId]:
        """Notification → its open attempt. Asked when the rows are locked and their session is gone: none is begun
        after that (P4)."""
        found: dict[str, AttemptId] = {}
        for some in chunks(ids):
            query = select(attempts.c.notification_id, attempts.c.id)
            query = query.where(attempts.c.notification_id.in_(some), attempts.c.outcome == AttemptOutcome.OPEN)
            found.update((row.notification_id, AttemptId(row.id)) for row in self.connection.execute(query))
        return found

    def _put_back(self, rows: Sequence[Any]) -> None:
        """Nothing was begun: as it was."""
        for some in chunks(rows):
            query = notifications.update().where(notifications.c.id.in_([row.id for row in some]))
            self.connection.execute(query.values(status=NotificationStatus.DUE, claimed_by=None))

    def _given_up(self, begun: Sequence[tuple[str, AttemptId]], status: NotificationStatus, due: datetime) -> None:
        """The try that was begun came to nothing we know."""
        values = {"status": status, "due_at": due, "last_outcome": AttemptOutcome.UNKNOWN, "reason": LOST}
        query = notifications.update().where(notifications.c.id == bindparam("row")).values(values)
        query = query.values(claimed_by=None, attempt_id=bindparam("try"), tries=notifications.c.tries + 1)
        if begun:
            self.connection.execute(query, [{"row": row, "try": attempt} for row, attempt in begun])

    def _close_open(self, ids: Sequence[AttemptId], now: datetime) -> None:
        for some in chunks(ids):
            query = attempts.update().where(attempts.c.id.in_(some), attempts.c.outcome == AttemptOutcome.OPEN)
            values = {"outcome": AttemptOutcome.UNKNOWN, "reason": LOST, "finished_at": now}
            self.connection.execute(query.values(values))

    def _expire(self, now: datetime) -> int:
        table = notifications
        query = (
            select(table.c.id)
            .where(table.c.status == NotificationStatus.DUE, table.c.expires_at <= now)
            .limit(SWEEP_ROWS)
        )
        late = self.connection.execute(self.locked(query, skip=True)).scalars().all()
        for some in chunks(late):
            values = {"status": NotificationStatus.EXPIRED, "reason": "too_late"}
            self.connection.execute(table.update().where(table.c.id.in_(some)).values(values))
        return len(late)

    # -- lost answers -------------------------------------------------------------------------------------------------

    def open_unknowns(self, channel: ChannelName, now: datetime, limit: int) -> list[UnknownAttempt]:
        """What is to be looked up now; each is put off, so that another worker does not ask about it too."""
        table = notifications
        query = (
            select(
                table,
                attempts.c.started_at,
                messages.c.locale,
                messages.c.template_hash,
                messages.c.context,
            )
            .join(attempts, attempts.c.id == table.c.attempt_id)
            .join(messages, messages.c.id == table.c.message_id)
            .where(table.c.status == NotificationStatus.UNKNOWN, table.c.channel == channel, table.c.due_at <= now)
            .order_by(table.c.due_at)
            .limit(limit)
        )
        if self.on_postgresql:
            query = query.with_for_update(of=table, skip_locked=True, key_share=True)
        rows = self.connection.execute(query).mappings().all()
        for some in chunks([row["id"] for row in rows]):
            self.connection.execute(table.update().where(table.c.id.in_(some)).values(due_at=now + LOOK_UP_AFTER))
        return [
            UnknownAttempt(
                attempt_id=AttemptId(row["attempt_id"]),
                notification_id=NotificationId(row["id"]),
                tenant=TenantId(row["tenant"]),
                address=row["address"],
                started_at=row["started_at"],
                expires_at=row["expires_at"],
                message=message_from(row),
            )
            for row in rows
        ]

    def resolve_unknown(
        self,
        attempt: AttemptId,
        status: NotificationStatus,
        due_at: datetime | None,
        provider_id: str | None,
        reason: str | None,
        now: datetime,
    ) -> bool:
        """Move a notification out of `unknown`, if it still is there."""
        table = notifications
        mine = and_(table.c.attempt_id == attempt, table.c.status == NotificationStatus.UNKNOWN)
        row = self.connection.execute(select(table.c.lane_id, table.c.due_at).where(mine)).one_or_none()
        values: dict[str, Any] = {"status": status, "reason": reason} | ({"due_at": due_at} if due_at else {})
        if status in HANDED_OVER:
            values["sent_at"] = now
        if row is None or self.connection.execute(table.update().where(mine).values(values)).rowcount != 1:
            return False
        if provider_id:
            found = attempts.update().where(attempts.c.id == attempt)
            self.connection.execute(found.values(provider_id=provider_id, outcome=AttemptOutcome.SENT))
        if status is NotificationStatus.SENT:
            self.catch_up([attempt])
        if status is NotificationStatus.DUE:
            wake_lanes(self.connection, [(LaneId(row.lane_id), due_at or row.due_at)])
        return True
