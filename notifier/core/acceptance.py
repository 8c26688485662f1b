"""Accept or not: one chunk of events against what is known. Pure; the pipeline holds the locks.

Identity is (tenant, source, id): the same content again is a duplicate, other content a conflict. A subject belongs to
the source that named it first. Each accepted event gets the next number of its subject.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from notifier.core import lifecycle
from notifier.core.event_data import STATUS_OF, AlertData
from notifier.core.events import Candidate, RawItem, Rejection
from notifier.core.ids import EventId, TenantId
from notifier.core.model import Credential, Event, EventType
from notifier.core.records import QuarantineEntry, SubjectState

Numbered = tuple[int, Candidate | Rejection, RawItem]  #: position in the request, reading, original
Key = tuple[str, str]  #: (source, source id)

NO_EVENT_YET = (
    "not_processed"  #: code of a record that is valid and will be an event later: nothing to keep, no mistake
)


class AnswerStatus(StrEnum):
    """What the sender is told of one event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for one event of a request."""

    index: int
    status: AnswerStatus
    id: EventId | None = None
    source_id: str | None = None
    field: str | None = None
    reason: str | None = None
    code: str | None = None
    quarantine_id: str | None = None

    def facts(self) -> dict[str, Any]:
        """As JSON, without what is empty."""
        names = ("index", "status", "id", "source_id", "field", "reason", "code", "quarantine_id")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@dataclass(slots=True)
class Verdict:
    """Everything to store and to answer for a chunk."""

    answers: list[Answer] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    subjects: list[SubjectState] = field(default_factory=list)
    quarantine: list[QuarantineEntry] = field(default_factory=list)


def keys_of(chunk: Sequence[Numbered]) -> list[Key]:
    """Identities to look up."""
    return [(reading.source, reading.source_id) for _, reading, _ in chunk if isinstance(reading, Candidate)]


def subjects_of(chunk: Sequence[Numbered]) -> list[str]:
    """Subjects to lock, sorted so that two writers cannot deadlock."""
    return sorted({reading.subject for _, reading, _ in chunk if isinstance(reading, Candidate)})


def judge(
    chunk: Sequence[Numbered],
    known: Mapping[Key, tuple[EventId, str]],
    subjects: Mapping[str, SubjectState],
    credential: Credential,
    now: datetime,
    new_id: Callable[[], str],
) -> Verdict:
    """Return the verdict on a chunk; duplicates inside the chunk are found too."""
    court = _Court(dict(known), dict(subjects), credential, now, new_id)
    for index, reading, item in chunk:
        court.hear(index, reading, item)
    court.verdict.subjects = [court.subjects[name] for name in court.touched]
    return court.verdict


@dataclass(slots=True)
class _Court:
    known: dict[Key, tuple[EventId, str]]
    subjects: dict[str, SubjectState]
    credential: Credential
    now: datetime
    new_id: Callable[[], str]
    verdict: Verdict = field(default_factory=Verdict)
    touched: dict[str, None] = field(default_factory=dict)

    @property
    def tenant(self) -> TenantId:
        return self.credential.tenant

    def hear(self, index: int, reading: Candidate | Rejection, item: RawItem) -> None:
        if isinstance(reading, Rejection) and reading.code == NO_EVENT_YET:
            answer = Answer(index, AnswerStatus.UNCHANGED, None, reading.source_id, reading.field, reading.reason)
            self.verdict.answers.append(answer)
            return
        if isinstance(reading, Rejection):
            self.refuse(index, item, AnswerStatus.REJECTED, reading)
            return
        before = self.known.get((reading.source, reading.source_id))
        if before is not None:
            self.repeat(index, reading, item, before)
            return
        owner = self.subjects.get(reading.subject)
        if owner is not None and owner.source != reading.source:
            reason = f"{reading.subject} belongs to another source"
            self.refuse(index, item, AnswerStatus.REJECTED, _because(reading, "foreign_subject", "source", reason))
            return
        self.accept(index, reading)

    def repeat(self, index: int, reading: Candidate, item: RawItem, before: tuple[EventId, str]) -> None:
        event_id, content = before
        if content == reading.content_hash:
            self.verdict.answers.append(Answer(index, AnswerStatus.DUPLICATE, event_id, reading.source_id))
            return
        reason = f"an event with this identity was accepted before with other content ({event_id}); it is kept"
        self.refuse(index, item, AnswerStatus.CONFLICT, _because(reading, "conflict", "id", reason))

    def accept(self, index: int, reading: Candidate) -> None:
        state = self.subjects.get(reading.subject)
        type_, after = self.life(reading, state.state if state else {})
        if type_ is None:
            self.verdict.answers.append(Answer(index, AnswerStatus.UNCHANGED, None, reading.source_id))
            return
        sequence = (state.sequence if state else 0) + 1
        self.subjects[reading.subject] = SubjectState(self.tenant, reading.subject, reading.source, sequence, after)
        self.touched[reading.subject] = None
        event = self.event(reading, type_, sequence)
        self.known[reading.source, reading.source_id] = (event.id, reading.content_hash)
        self.verdict.events.append(event)
        self.verdict.answers.append(Answer(index, AnswerStatus.ACCEPTED, event.id, reading.source_id))

    def life(self, reading: Candidate, state: Mapping[str, Any]) -> tuple[EventType | None, Mapping[str, Any]]:
        if not isinstance(reading.data, AlertData):
            return reading.type, state
        life = lifecycle.touch(reading.data, reading.time, state, derived=reading.derived)
        return life.type, life.state

    def event(self, reading: Candidate, type_: EventType, sequence: int) -> Event:
        return Event(
            id=EventId(self.new_id()),
            tenant=self.tenant,
            source=reading.source,
            source_id=reading.source_id,
            type=type_,
            subject=reading.subject,
            time=reading.time,
            received_at=self.now,
            sequence=sequence,
            content_hash=reading.content_hash,
            data=_data_of(reading, type_),
            outlet=reading.outlet,
            recipients=reading.recipients,
            key_id=self.credential.key_id,
        )

    def refuse(self, index: int, item: RawItem, status: AnswerStatus, why: Rejection) -> None:
        body = storable(item.body)
        entry = QuarantineEntry(
            id=_entry_id(self.credential, why.code, body),
            tenant=self.tenant,
            key_id=self.credential.key_id,
            received_at=self.now,
            code=why.code,
            field=why.field,
            reason=why.reason,
            body=body,
            source=why.source and storable(why.source),
            source_id=why.source_id and storable(why.source_id),
        )
        self.verdict.quarantine.append(entry)
        told = Answer(index, status, None, entry.source_id, why.field, why.reason, why.code, entry.id)
        self.verdict.answers.append(told)


def _data_of(reading: Candidate, type_: EventType) -> dict[str, Any]:
    """The data agree with the type, also where it was derived."""
    return reading.data_json | ({"status": STATUS_OF[type_].value} if type_ in STATUS_OF else {})


def _entry_id(credential: Credential, code: str, body: str) -> str:
    """The same mistake sent again is the same entry, so that a sender that never gives up does not fill the disk."""
    what = "\0".join((credential.tenant, credential.key_id, code, body))
    return str(uuid.UUID(bytes=hashlib.blake2b(what.encode(), digest_size=16).digest()))


def _because(reading: Candidate, code: str, field_: str, reason: str) -> Rejection:
    return Rejection(code, field_, reason, reading.source, reading.source_id)


def storable(text: str) -> str:
    """What no database refuses: NUL and lone surrogates written as escapes."""
    return text.replace("\x00", "\\u0000").encode("utf-8", "backslashreplace").decode()
