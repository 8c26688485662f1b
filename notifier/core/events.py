"""From a decoded JSON object to a Candidate: CloudEvents 1.0 or Coolr's own record, under the rights of a key.

Everything here concerns one event alone; what depends on what was accepted before is in notifier.core.acceptance.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from pydantic import ValidationError

from notifier.core.addresses import AddressError, normalise_email, normalise_phone
from notifier.core.decode import Limits, check, decode_json
from notifier.core.event_data import DATA_MODELS, AlertData, AlertStatus, EventData, subject_of
from notifier.core.ids import OutletCode
from notifier.core.model import CarriedRecipient, ChannelName, Credential, EventType
from notifier.core.records import QuarantineEntry
from notifier.errors import EventError

RECORD = "coolr-record"  #: marks an envelope made from one of Coolr's own records
ENVELOPE = {"specversion", "id", "source", "type", "time", "subject", "datacontenttype", "dataschema", "data"}
EXTENSIONS = {"tenant", "recipients"}
MOST_RECIPIENTS = 20
MOST_BODY = 65_536  #: characters of a body kept in quarantine
FUTURE = timedelta(hours=24)  #: how far a sender's clock may run ahead

#: Maps one of Coolr's records to an envelope; None when it is no such record. Raises EventError.
RecordAdapter = Callable[[Mapping[str, Any], Credential], "dict[str, Any] | None"]


@dataclass(frozen=True, slots=True)
class RawItem:
    """One event as it came: its JSON value, or why it could not be decoded. `body` is what quarantine keeps."""

    value: Any
    body: str
    error: EventError | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A valid event, not yet compared with what is known."""

    source: str
    source_id: str
    type: EventType
    subject: str
    time: datetime
    outlet: OutletCode
    data: EventData
    data_json: dict[str, Any]
    content_hash: str
    recipients: tuple[CarriedRecipient, ...] = ()
    derived: bool = False  #: an alert record: opened, updated or closed is derived from the stored state


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an event is not accepted: for the sender, and for the quarantine."""

    code: str
    field: str | None
    reason: str
    source: str | None = None
    source_id: str | None = None


def item_of(value: Any) -> RawItem:
    """Wrap a decoded value."""
    return RawItem(value, json.dumps(value, ensure_ascii=False, default=str)[:MOST_BODY])


def item_from_quarantine(entry: QuarantineEntry, corrected: bytes | None) -> RawItem:
    """Read a quarantined event again, or its corrected form."""
    raw = entry.body.encode("utf-8", "surrogatepass") if corrected is None else corrected
    try:
        return RawItem(decode_json(raw), raw.decode("utf-8", "replace")[:MOST_BODY])
    except EventError as error:
        return RawItem(None, raw.decode("utf-8", "replace")[:MOST_BODY], error)


def read(item: RawItem, credential: Credential, now: datetime, adapt: RecordAdapter) -> Candidate | Rejection:
    """Return the event this is, or why it is none. Never raises."""
    source = source_id = None
    try:
        if item.error is not None:
            raise item.error
        if not isinstance(item.value, dict):
            raise EventError("an event must be a JSON object")
        check(item.value, Limits())
        envelope = adapt(item.value, credential) or item.value
        source, source_id = _text_or_none(envelope, "source"), _text_or_none(envelope, "id")
        return _candidate(envelope, credential, now)
    except EventError as error:
        return Rejection(error.code, error.field, error.reason, source, source_id)


def _candidate(envelope: Mapping[str, Any], credential: Credential, now: datetime) -> Candidate:
    _check_envelope(envelope, credential)
    type_ = _type(envelope, credential)
    source = _source(envelope, credential)
    data = _data(envelope, type_)
    subject = subject_of(data)
    if envelope.get("subject") not in (None, subject):
        raise EventError(f"does not agree with the data, which is about {subject}", "subject")
    data_json = data.model_dump(mode="json", exclude_unset=True)
    recipients = _recipients(envelope.get("recipients"), credential)
    return Candidate(
        source=source,
        source_id=_text(envelope, "id"),
        type=type_,
        subject=subject,
        time=_time(envelope, now),
        outlet=OutletCode(data_json["outlet"]["code"]),
        data=data,
        data_json=data_json,
        content_hash=content_hash(envelope),
        recipients=recipients,
        derived=bool(envelope.get(RECORD)) and isinstance(data, AlertData),
    )


def content_hash(envelope: Mapping[str, Any]) -> str:
    """Digest of the content, whatever the order of its keys."""
    content = {name: value for name, value in envelope.items() if name not in ("tenant", "datacontenttype")}
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _check_envelope(envelope: Mapping[str, Any], credential: Credential) -> None:
    if envelope.get("specversion") != "1.0":
        raise EventError('must be "1.0" (CloudEvents), or the object must be one of Coolr\'s records', "specversion")
    unknown = [name for name in envelope if name not in ENVELOPE | EXTENSIONS | {RECORD}]
    bad = [name for name in unknown if not (name.isascii() and name.isalnum() and name == name.lower())]
    if bad:
        raise EventError("CloudEvents attribute names are lower-case letters and digits", bad[0][:60])
    if envelope.get("tenant") not in (None, credential.tenant):
        raise EventError("is not the tenant of this key", "tenant", "wrong_tenant")


def _type(envelope: Mapping[str, Any], credential: Credential) -> EventType:
    text = _text(envelope, "type")
    if text.startswith("coolr.decision."):
        raise EventError("this type is only made here, by a decision", "type", "reserved_type")
    try:
        type_ = EventType(text)
    except ValueError:
        known = ", ".join(kind.value for kind in EventType if not kind.reserved)
        raise EventError(f"unknown type; known are {known}", "type", "unknown_type") from None
    if not any(fnmatchcase(text, pattern) for pattern in credential.types):
        raise EventError("this key may not send this type", "type", "not_allowed")
    return type_


def _source(envelope: Mapping[str, Any], credential: Credential) -> str:
    source = _text(envelope, "source", 500)
    if not any(fnmatchcase(source, pattern) for pattern in credential.sources):
        raise EventError("this key may not send from this source", "source", "not_allowed")
    return source


def _time(envelope: Mapping[str, Any], now: datetime) -> datetime:
    text = envelope.get("time")
    if text is None:
        return now
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise EventError("not an RFC 3339 time such as 2026-11-23T10:00:00Z", "time") from None
    if moment.tzinfo is None:
        raise EventError("needs an offset, e.g. 2026-11-23T10:00:00Z", "time")
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise EventError("is outside the calendar", "time") from None
    if moment > now + FUTURE:
        raise EventError("lies more than a day in the future", "time")
    return moment


def _data(envelope: Mapping[str, Any], type_: EventType) -> EventData:
    if not isinstance(envelope.get("data"), dict):
        raise EventError("must be a JSON object", "data")
    try:
        data = DATA_MODELS[type_].model_validate(envelope["data"])
    except ValidationError as error:
        raise _first(error) from None
    if isinstance(data, AlertData) and not envelope.get(RECORD):
        expected = {
            EventType.ALERT_OPENED: AlertStatus.OPEN,
            EventType.ALERT_UPDATED: AlertStatus.UPDATED,
            EventType.ALERT_CLOSED: AlertStatus.CLOSED,
        }[type_]
        if data.status is not expected:
            raise EventError(f'must be "{expected.value}" in an event of type {type_.value}', "data.status")
    return data


def _first(error: ValidationError) -> EventError:
    """The first mistake as a dotted path and a sentence, and how many more there are."""
    mistakes = error.errors(include_url=False, include_input=False)
    first = mistakes[0]
    path = "data"
    for part in first["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    reason = "is unknown; put it into `extra`" if first["type"] == "extra_forbidden" else first["msg"]
    return EventError(reason + more, path[:200])


def _recipients(value: Any, credential: Credential) -> tuple[CarriedRecipient, ...]:
    if value is None:
        return ()
    if not credential.may_address:
        raise EventError("this key may not name recipients", "recipients", "not_allowed")
    if not isinstance(value, list) or len(value) > MOST_RECIPIENTS:
        raise EventError(f"must be a list of at most {MOST_RECIPIENTS}", "recipients")
    return tuple(_recipient(entry, index) for index, entry in enumerate(value))


def _recipient(entry: Any, index: int) -> CarriedRecipient:
    where = f"recipients[{index}]"
    if not isinstance(entry, dict) or not isinstance(entry.get("address"), str):
        raise EventError('must be an object like {"channel": "email", "address": "..."}', where)
    try:
        channel = ChannelName(entry.get("channel", "email"))
        if channel is ChannelName.CALLBACK:
            raise ValueError("channel")
        address = entry["address"]
        address = normalise_email(address) if channel is ChannelName.EMAIL else normalise_phone(address)
    except AddressError as error:
        raise EventError(str(error), f"{where}.address") from None
    except ValueError:
        raise EventError("must be email or sms", f"{where}.channel") from None
    language = entry.get("language")
    return CarriedRecipient(
        channel, address, str(entry.get("name", ""))[:200], str(language)[:20] if language else None
    )


def _text(envelope: Mapping[str, Any], name: str, most: int = 200) -> str:
    value = envelope.get(name)
    if not isinstance(value, str) or not value:
        raise EventError("is missing or not a text", name)
    if len(value) > most:
        raise EventError(f"longer than {most} characters", name)
    return value


def _text_or_none(envelope: Mapping[str, Any], name: str) -> str | None:
    value = envelope.get(name)
    return value[:500] if isinstance(value, str) else None
