"""From a decoded JSON object to a Candidate: CloudEvents 1.0 or Coolr's own record, under the rights of a key.

Everything here concerns one event alone; what depends on what was accepted before is in notifier.core.acceptance.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from notifier.core.addresses import AddressError, normalise_email, normalise_phone
from notifier.core.decode import LIMITS, check, decode_json, decode_list, split
from notifier.core.event_data import DATA_MODELS, PATTERNS, STATUS_OF, AlertData, EventData, subject_of
from notifier.core.ids import OutletCode
from notifier.core.model import CarriedRecipient, ChannelName, Credential, EventType
from notifier.core.records import QuarantineEntry
from notifier.errors import EventError

ENVELOPE = {"specversion", "id", "source", "type", "time", "subject", "datacontenttype", "dataschema", "data"}
KNOWN = ENVELOPE | {"tenant", "recipients"}
RECIPIENT = {"channel": 10, "address": 320, "name": 200, "language": 20}  #: field → most characters
MOST_RECIPIENTS = 20
MOST_BODY = LIMITS.bytes  #: characters of a body kept in quarantine: what could be an event is kept whole
FUTURE = timedelta(hours=24)  #: how far a sender's clock may run ahead
PAST = datetime(2000, 1, 1, tzinfo=UTC)  #: what is older is a mistake
_JSON_TYPE = re.compile(r"application/([a-z0-9.-]+\+)?json\s*(;.*)?", re.IGNORECASE)
_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class RawItem:
    """One event as it came: its JSON value, or why it could not be decoded. `body` is what quarantine keeps."""

    value: Any
    body: str
    error: EventError | None = None
    checked: bool = False  #: nothing unusable is in it (notifier.core.decode)


@dataclass(frozen=True, slots=True)
class Record:
    """One of Coolr's records as an envelope. Opened, updated or closed is derived from what is stored."""

    envelope: Mapping[str, Any]
    names: Mapping[str, str]  #: field of the envelope → the record's own field it was read from


#: Maps one of Coolr's records; None when it is no such record. Raises EventError.
RecordAdapter = Callable[[Mapping[str, Any], Credential], Record | None]


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


def item_of(raw: bytes) -> RawItem:
    """Read the text of one event, strictly; what cannot be decoded is kept with the reason."""
    body = raw.decode("utf-8", "replace").strip()[:MOST_BODY]
    try:
        return RawItem(decode_json(raw), body, checked=True)
    except EventError as error:
        return RawItem(None, body, error)


def items_of(raw: bytes, most: int) -> list[RawItem] | None:
    """Read the events of a list, each alone; None for a single event.

    Raises EventError when the list does not end or holds more than `most`.
    """
    plain = decode_list(raw, most)
    if plain is not None:
        return [RawItem(value, text, checked=True) for text, value in plain]
    texts = split(raw, most)
    return None if texts is None else [item_of(text) for text in texts]


def item_from_quarantine(entry: QuarantineEntry, corrected: bytes | None) -> RawItem:
    """Read a quarantined event again, or its corrected form."""
    return item_of(entry.body.encode("utf-8", "surrogatepass") if corrected is None else corrected)


def read(item: RawItem, credential: Credential, now: datetime, adapt: RecordAdapter) -> Candidate | Rejection:
    """Return the event this is, or why it is none. Never raises."""
    source = source_id = None
    names: Mapping[str, str] = {}
    try:
        if item.error is not None:
            raise item.error
        if not item.checked:
            check(item.value, LIMITS)
        if not isinstance(item.value, dict):
            raise EventError("an event must be a JSON object")
        record = adapt(item.value, credential)
        envelope, names = (item.value, names) if record is None else (record.envelope, record.names)
        source, source_id = _text_or_none(envelope, "source"), _text_or_none(envelope, "id")
        return _candidate(envelope, credential, now, is_record=record is not None)
    except EventError as error:
        return Rejection(error.code, names.get(error.field or "", error.field), error.reason, source, source_id)


def _candidate(envelope: Mapping[str, Any], credential: Credential, now: datetime, *, is_record: bool) -> Candidate:
    _check_envelope(envelope, credential)
    type_ = _type(envelope, credential)
    source, source_id = _text(envelope, "source", 500), _text(envelope, "id")
    _check_source(source, credential)
    data = _data(envelope, type_)
    if isinstance(data, AlertData) and not is_record:
        _check_status(data, type_)
    subject = subject_of(data)
    if envelope.get("subject") not in (None, subject):
        raise EventError(f"does not agree with the data, which is about {subject}", "subject")
    data_json = data.model_dump(mode="json", exclude_unset=True)
    return Candidate(
        source=source,
        source_id=source_id,
        type=type_,
        subject=subject,
        time=_time(envelope, now),
        outlet=OutletCode(data_json["outlet"]["code"]),
        data=data,
        data_json=data_json,
        content_hash=content_hash(envelope),
        recipients=_recipients(envelope.get("recipients"), credential),
        derived=is_record and isinstance(data, AlertData),
    )


def content_hash(envelope: Mapping[str, Any]) -> str:
    """Digest of the content, whatever the order of its keys."""
    content = {name: value for name, value in envelope.items() if name not in ("tenant", "datacontenttype")}
    return hashlib.sha256(_CANONICAL.encode(content).encode()).hexdigest()


def _check_envelope(envelope: Mapping[str, Any], credential: Credential) -> None:
    if envelope.get("specversion") != "1.0":
        raise EventError('must be "1.0" (CloudEvents), or the object must be one of Coolr\'s records', "specversion")
    if "data_base64" in envelope:
        raise EventError("only JSON data are read; put them into `data`", "data_base64")
    unknown = [name for name in envelope if name not in KNOWN]
    bad = [name for name in unknown if not (name.isascii() and name.isalnum() and name == name.lower())]
    if bad:
        raise EventError("CloudEvents attribute names are lower-case letters and digits", bad[0][:60] or "(empty name)")
    kind = envelope.get("datacontenttype")
    if kind is not None and not (isinstance(kind, str) and _JSON_TYPE.fullmatch(kind)):
        raise EventError("must be application/json", "datacontenttype")
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


def _check_source(source: str, credential: Credential) -> None:
    if not any(fnmatchcase(source, pattern) for pattern in credential.sources):
        raise EventError("this key may not send from this source", "source", "not_allowed")


def _time(envelope: Mapping[str, Any], now: datetime) -> datetime:
    text = envelope.get("time")
    if text is None:
        return now
    try:
        moment = datetime.fromisoformat(text if isinstance(text, str) else "")
    except ValueError:
        raise EventError("not an RFC 3339 time such as 2026-11-23T10:00:00Z", "time") from None
    if moment.tzinfo is None:
        raise EventError("needs an offset, e.g. 2026-11-23T10:00:00Z", "time")
    if moment < PAST:
        raise EventError("lies before the year 2000", "time")
    if moment > now + FUTURE:
        raise EventError("lies more than a day in the future", "time")
    return moment.astimezone(UTC)


def _data(envelope: Mapping[str, Any], type_: EventType) -> EventData:
    if not isinstance(envelope.get("data"), dict):
        raise EventError("must be a JSON object", "data")
    try:
        # As JSON, strictly: "3" is no number, true no count, but texts are times and lists are tuples.
        return DATA_MODELS[type_].model_validate_json(to_json(envelope["data"]), strict=True)
    except ValidationError as error:
        raise _first(error) from None


def _check_status(data: AlertData, type_: EventType) -> None:
    expected = STATUS_OF[type_]
    if data.status is not expected:
        raise EventError(f'must be "{expected.value}" in an event of type {type_.value}', "data.status")


def _first(error: ValidationError) -> EventError:
    """The first mistake as a dotted path and a sentence, and how many more there are."""
    mistakes = error.errors(include_url=False, include_input=False)
    first = mistakes[0]
    facts = first.get("ctx", {})
    path = "data"
    for part in first["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    path += facts.get("where", "")
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        reason = "is unknown; put it into `extra`"
    elif first["type"] == "string_pattern_mismatch":
        reason = PATTERNS[facts["pattern"]]
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
    for name, value in entry.items():
        if name not in RECIPIENT:
            raise EventError(f"is unknown; known are {', '.join(RECIPIENT)}", f"{where}.{name[:60]}")
        if not isinstance(value, str) or len(value) > RECIPIENT[name]:
            raise EventError(f"must be a text of at most {RECIPIENT[name]} characters", f"{where}.{name}")
    channel = entry.get("channel", "email")
    if channel not in ("email", "sms"):
        raise EventError("must be email or sms", f"{where}.channel")
    try:
        address = (normalise_email if channel == "email" else normalise_phone)(entry["address"])
    except AddressError as error:
        raise EventError(str(error), f"{where}.address") from None
    return CarriedRecipient(ChannelName(channel), address, entry.get("name", ""), entry.get("language") or None)


def _text(envelope: Mapping[str, Any], name: str, most: int = 200) -> str:
    value = envelope.get(name)
    if not isinstance(value, str) or not value:
        raise EventError("is missing or not a text", name)
    if _CONTROL.search(value):
        raise EventError("holds a control character", name)
    if len(value) > most:
        raise EventError(f"longer than {most} characters", name)
    return value


def _text_or_none(envelope: Mapping[str, Any], name: str) -> str | None:
    value = envelope.get(name)
    return value[:500] if isinstance(value, str) else None
