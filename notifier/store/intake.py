"""accept: what is known, the subjects' locks and sequences, events and quarantine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from notifier.core.ids import EventId, TenantId
from notifier.core.model import Event
from notifier.core.records import QuarantineEntry, SubjectState
from notifier.store.reads import EventReads
from notifier.store.rows import event_row
from notifier.store.tables import events, quarantine, subjects

#: In the order of the array, so that two transactions cannot deadlock.
LOCK_ALL = "SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key"


class IntakeWrites(EventReads):
    """The accept transaction."""

    def lock_subjects(self, tenant: TenantId, names: Sequence[str]) -> dict[str, SubjectState]:
        """Lock these subjects in sorted order, new ones too; missing ones are absent from the answer."""
        wanted = sorted(set(names))
        if self.on_postgresql:
            # A row that does not exist cannot be locked: an advisory lock per name serialises its creation too.
            keys = sorted(_lock_key(tenant, name) for name in wanted)
            self.connection.exec_driver_sql(LOCK_ALL, (keys,))
        return self.subject_states(tenant, wanted)

    def save_subjects(self, states: Sequence[SubjectState]) -> None:
        """Insert or replace."""
        rows = [
            {
                "tenant": state.tenant,
                "subject": state.subject,
                "source": state.source,
                "sequence": state.sequence,
                "state": dict(state.state),
            }
            for state in states
        ]
        self._upsert_each(subjects, rows, ["tenant", "subject"])

    def save_events(self, new: Sequence[Event]) -> None:
        """Insert accepted events."""
        self._insert(events, [event_row(event) for event in new])

    def save_quarantine(self, entries: Sequence[QuarantineEntry]) -> None:
        """Keep invalid events; what is kept already stays as it is."""
        names = [column.name for column in quarantine.c]
        self.insert_new(quarantine, [{name: getattr(entry, name) for name in names} for entry in entries])

    def mark_released(self, tenant: TenantId, entry_id: str, event_id: EventId, now: datetime) -> bool:
        """An entry became an event; False when it was released before."""
        query = (
            quarantine.update()
            .where(quarantine.c.tenant == tenant, quarantine.c.id == entry_id, quarantine.c.released_at.is_(None))
            .values(released_at=now, released_event_id=event_id)
        )
        return self.connection.execute(query).rowcount == 1


def _lock_key(tenant: TenantId, subject: str) -> int:
    """A signed 64-bit number for PostgreSQL's advisory locks; a collision only serialises two subjects more."""
    digest = hashlib.blake2b(f"{tenant}\0{subject}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
