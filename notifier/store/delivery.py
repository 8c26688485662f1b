"""attempt, settle: the hot path. Bulk statements; conditions in SQL fence out sessions that lost their rows.

Locks on PostgreSQL, so that no two of these can wait for each other in a circle: claim never waits (SKIP LOCKED);
everybody else takes notifications first, then attempts, and lanes last, in sorted order and in one go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Integer,
    Text,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    or_,
    select,
)

from notifier.core.ids import AttemptId, SessionId
from notifier.core.lanes import LaneChange
from notifier.core.model import AttemptOutcome, NewAttempt, NotificationStatus, Settlement
from notifier.store.base import chunks
from notifier.store.bulk import Bulk, Source
from notifier.store.lanes import LaneWrites
from notifier.store.receipts import ReceiptWrites
from notifier.store.tables import attempts, notifications, suppressions, workers
from notifier.store.types import Id, UtcTime, Word

HANDED_OVER = (NotificationStatus.SENT, NotificationStatus.DELIVERED)
MAY_BE_REPORTED = (NotificationStatus.SENT, NotificationStatus.UNKNOWN)  #: a provider may have told more already


class DeliveryWrites(ReceiptWrites, LaneWrites):
    """What becomes of claimed rows."""

    # -- attempt ------------------------------------------------------------------------------------------------------

    def save_attempts(self, new: Sequence[NewAttempt]) -> frozenset[AttemptId]:
        """Insert attempt rows for notifications still claimed by their session; returns those that may be sent.

        Doing it again is harmless: when the answer to a commit got lost, the rows are there already.
        """
        alive = {session for session in sorted({attempt.session for attempt in new}) if self._hold(session)}
        in_order = sorted(new, key=lambda attempt: attempt.notification_id)
        rows = [_attempt_row(attempt) for attempt in in_order if attempt.session in alive]
        told = _INSERT_ATTEMPT.execute(self.connection, rows)
        mine = set() if told is None else {AttemptId(row.id) for row in told}
        if len(mine) < len(rows):
            mine |= self._begun([row["attempt"] for row in rows if row["attempt"] not in mine])
        return frozenset(mine)

    def _hold(self, session: SessionId) -> bool:
        """Whether it lives, as it now does until the commit."""
        return self.connection.execute(_HOLD_SESSION, {"session": session}).first() is not None

    def _begun(self, ids: Sequence[AttemptId]) -> set[AttemptId]:
        """Which of these stand open already."""
        found: set[AttemptId] = set()
        for some in chunks(ids):
            query = select(attempts.c.id).where(attempts.c.id.in_(some), attempts.c.outcome == AttemptOutcome.OPEN)
            found.update(AttemptId(row.id) for row in self.connection.execute(query))
        return found

    # -- settle -------------------------------------------------------------------------------------------------------

    def settle(self, settlements: Sequence[Settlement]) -> list[LaneChange]:
        """Close attempts and move notifications. A late outcome never moves one that was tried again."""
        if not settlements:
            return []
        in_order = sorted(settlements, key=lambda item: item.notification_id)
        _MOVE.execute(self.connection, [_moving(item) for item in in_order])
        _CLOSE_ATTEMPT.execute(self.connection, [_closing(item) for item in in_order])
        self._disable([item for item in in_order if item.disable_target])
        self.catch_up([item.attempt_id for item in in_order if item.status in MAY_BE_REPORTED])
        return self.move_lanes(in_order)

    def _disable(self, refused: Sequence[Settlement]) -> None:
        columns = (notifications.c.tenant, notifications.c.channel, notifications.c.address)
        for item in refused:
            row = self.connection.execute(select(*columns).where(notifications.c.id == item.notification_id)).one()
            values = {"reason": item.reason or "refused", "created_at": item.finished_at}
            self.insert_new(suppressions, [dict(row._mapping) | values])


def _ids_on_postgresql(given: Source) -> list[ColumnElement[Any]]:
    """SQLite returns nothing for many rows at once: there the rows are asked afterwards."""
    return [] if isinstance(given["attempt"], BindParameter) else [attempts.c.id]


#: Nobody buries this session before the commit: who does deletes the row first, and frees its notifications after that.
#: One lock for a whole batch, where the notifications would need one each.
_HOLD_SESSION = (
    select(workers.c.id)
    .where(workers.c.id == bindparam("session", type_=Id()))
    .with_for_update(read=True, key_share=True)
)
_INSERT_ATTEMPT = Bulk(
    {
        "attempt": Id(),
        "owner": Word(),
        "notification": Id(),
        "holder": Id(),
        "nth": Integer(),
        "started": UtcTime(),
    },
    lambda given: (
        attempts.insert()
        .from_select(
            ["id", "tenant", "notification_id", "session", "number", "started_at", "outcome"],
            select(
                *(given[name] for name in ("attempt", "owner", "notification", "holder", "nth", "started")),
                literal(AttemptOutcome.OPEN.value),
            ).where(
                given.finds(notifications.c.id, "notification"),
                notifications.c.claimed_by == given["holder"],
                notifications.c.status == NotificationStatus.CLAIMED.value,
                ~exists().where(attempts.c.id == given["attempt"]),
            ),
        )
        .returning(*_ids_on_postgresql(given))
    ),
)
_CLOSE_ATTEMPT = Bulk(
    {
        "attempt": Id(),
        "finished": UtcTime(),
        "became": Word(),
        "why": Text(),
        "told": Text(),
        "code": Word(),
        "provider": Text(),
    },
    lambda given: (
        attempts.update()
        .where(
            given.finds(attempts.c.id, "attempt"),
            # No IN list: it cannot be executed for many rows at once.
            or_(attempts.c.outcome == AttemptOutcome.OPEN.value, attempts.c.outcome == AttemptOutcome.UNKNOWN.value),
        )
        .values(
            finished_at=given["finished"],
            outcome=given["became"],
            # One that was unknown for a while says so for good: another try may have begun meanwhile.
            reason=func.coalesce(given["why"], attempts.c.reason),
            detail=given["told"],
            provider_code=func.coalesce(given["code"], attempts.c.provider_code),
            provider_id=given["provider"],
        )
    ),
)
#: Freed from a session that was taken for dead, and perhaps in other hands: a success that is told late still counts
#: while no other try has begun. To send it once more would be a duplicate that nobody is in doubt of (P4).
_NOT_TRIED_AGAIN = or_(
    *(
        notifications.c.status == status.value
        for status in (NotificationStatus.DUE, NotificationStatus.HELD, NotificationStatus.UNKNOWN)
    ),
    and_(
        notifications.c.status == NotificationStatus.CLAIMED.value,
        ~exists().where(
            attempts.c.notification_id == notifications.c.id, attempts.c.number == notifications.c.tries + 1
        ),
    ),
)
_MOVE = Bulk(
    {
        "notification": Id(),
        "holder": Id(),
        "attempt": Id(),
        "becomes": Word(),
        "why": Text(),
        "due": UtcTime(),
        "sent": UtcTime(),
        "became": Word(),
        "waited": Integer(),
    },
    lambda given: (
        notifications.update()
        .where(
            given.finds(notifications.c.id, "notification"),
            or_(
                and_(
                    notifications.c.claimed_by == given["holder"],
                    notifications.c.status == NotificationStatus.CLAIMED.value,
                ),
                and_(given["sent"].is_not(None), notifications.c.attempt_id == given["attempt"], _NOT_TRIED_AGAIN),
            ),
        )
        .values(
            status=given["becomes"],
            reason=given["why"],
            due_at=func.coalesce(given["due"], notifications.c.due_at),
            sent_at=func.coalesce(given["sent"], notifications.c.sent_at),
            claimed_by=None,
            attempt_id=given["attempt"],
            tries=notifications.c.tries + case((notifications.c.claimed_by == given["holder"], 1), else_=0),
            last_outcome=given["became"],
            waits=notifications.c.waits + given["waited"],
        )
    ),
)


def _attempt_row(attempt: NewAttempt) -> dict[str, Any]:
    return {
        "attempt": attempt.id,
        "owner": attempt.tenant,
        "notification": attempt.notification_id,
        "holder": attempt.session,
        "nth": attempt.number,
        "started": attempt.started_at,
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
        "holder": item.session,
        "attempt": item.attempt_id,
        "becomes": item.status.value,
        "why": item.reason,
        "due": item.due_at,
        "sent": item.finished_at if item.status in HANDED_OVER else None,
        "became": item.outcome.value,
        "waited": int(item.waited),
    }
