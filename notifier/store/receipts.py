"""What providers report later of what they took: call-backs move a notification forward only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, literal, select

from notifier.core.ids import AttemptId, NotificationId
from notifier.core.model import NotificationStatus
from notifier.store.base import Base, chunks
from notifier.store.tables import attempts, notifications
from notifier.store.types import UtcTime

FINAL = (NotificationStatus.DELIVERED, NotificationStatus.FAILED)  #: after these a provider has no more to say
#: What a report moves on from. `unknown` too: the report is the answer that was lost.
BEFORE: dict[NotificationStatus, tuple[NotificationStatus, ...]] = {
    NotificationStatus.SENT: (NotificationStatus.UNKNOWN,),
    NotificationStatus.DELIVERED: (NotificationStatus.UNKNOWN, NotificationStatus.SENT),
    NotificationStatus.FAILED: (NotificationStatus.UNKNOWN, NotificationStatus.SENT),
}
MOST_CODE = 100  #: characters of a provider's code


class ReceiptWrites(Base):
    """Provider call-backs, before and after our own settling."""

    def advance(self, attempt: AttemptId, status: NotificationStatus, code: str | None, now: datetime) -> bool:
        """Move the attempt's notification forward; a call-back before our own settling is kept for then."""
        mine = attempts.c.id == attempt
        notification = self.connection.execute(select(attempts.c.notification_id).where(mine)).scalar_one_or_none()
        if notification is None:
            return False
        # The notification first, as settle does: two call-backs at once, or one beside the settling, take turns.
        self.connection.execute(self.locked(select(notifications.c.id).where(notifications.c.id == notification)))
        if self.connection.execute(select(attempts.c.provider_status).where(mine)).scalar_one_or_none() in FINAL:
            return False
        code = code and code[:MOST_CODE]
        self.connection.execute(
            attempts.update()
            .where(mine)
            .values(
                provider_status=status, provider_code=func.coalesce(code, attempts.c.provider_code), reported_at=now
            )
        )
        return self._forward(NotificationId(notification), attempt, status, code, now)

    def catch_up(self, settled: Sequence[AttemptId]) -> None:
        """Apply call-backs that came before the settling."""
        for some in chunks(settled):
            query = select(attempts).where(attempts.c.id.in_(some), attempts.c.provider_status.is_not(None))
            for row in self.connection.execute(query).all():
                status, moment = NotificationStatus(row.provider_status), row.reported_at
                self._forward(NotificationId(row.notification_id), AttemptId(row.id), status, row.provider_code, moment)

    def _forward(
        self,
        notification: NotificationId,
        attempt: AttemptId,
        status: NotificationStatus,
        code: str | None,
        now: datetime,
    ) -> bool:
        table = notifications
        query = table.update().where(
            table.c.id == notification, table.c.attempt_id == attempt, table.c.status.in_(BEFORE[status])
        )
        values: dict[str, Any] = {"status": status, "reason": None}
        if status is NotificationStatus.FAILED:
            values["reason"] = f"provider reported {code or 'failure'}"
        else:
            values["sent_at"] = func.coalesce(table.c.sent_at, literal(now, UtcTime))
        return self.connection.execute(query.values(values)).rowcount == 1
