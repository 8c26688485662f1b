"""From a decoded object to an event: envelope, rights of the key, data of every type, recipients."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from notifier.core import samples
from notifier.core.event_data import DATA_MODELS
from notifier.core.events import MOST_BODY, Candidate, Rejection, item_from_quarantine, item_of, read
from notifier.core.ids import TenantId
from notifier.core.model import ChannelName, Credential, EventType
from notifier.core.records import QuarantineEntry
from notifier.sources.coolr import adapt_record

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
ACME = TenantId("acme")
KEY = Credential("k", ACME, ("*",), ("coolr.*",))
ADDRESSING = Credential("k", ACME, ("*",), ("*",), may_address=True)
OUTSIDE = [type_ for type_ in EventType if not type_.reserved]


def event(type_: EventType = EventType.ALERT_OPENED, **changes: Any) -> dict[str, Any]:
    named = {"specversion": "1.0", "id": "1", "source": "erp", "type": type_.value}
    return {**named, "data": samples.DATA[type_][0], **changes}


def reading(value: Any, key: Credential = KEY) -> Candidate | Rejection:
    return read(item_of(json.dumps(value).encode()), key, NOW, adapt_record)


def accepted(value: Any, key: Credential = KEY) -> Candidate:
    found = reading(value, key)
    assert isinstance(found, Candidate), found
    return found


def rejected(value: Any, key: Credential = KEY) -> Rejection:
    found = reading(value, key)
    assert isinstance(found, Rejection), found
    return found


@pytest.mark.parametrize(
    ("type_", "data"), [(type_, data) for type_ in OUTSIDE for data in samples.DATA[type_]], ids=str
)
def test_every_sample_of_every_type_is_accepted_and_reads_back_the_same(type_: EventType, data: dict[str, Any]) -> None:
    found = accepted(event(type_, data=data))
    assert DATA_MODELS[type_].model_validate(found.data_json) == found.data
    assert found.outlet == data["outlet"]["code"]


@pytest.mark.parametrize("type_", [type_ for type_ in EventType if type_.reserved])
@pytest.mark.parametrize("key", [KEY, ADDRESSING, Credential("k", ACME, ("*",), ("coolr.decision.*",))])
def test_a_reserved_type_is_refused_whatever_the_key_allows(type_: EventType, key: Credential) -> None:
    found = rejected(event(type_), key)
    assert (found.code, found.field) == ("reserved_type", "type")


def test_a_reserved_type_cannot_come_out_of_quarantine() -> None:
    body = json.dumps(event(EventType.DECISION_RECORDED))
    entry = QuarantineEntry("q", ACME, "k", NOW, "reserved_type", "type", "", body)
    for corrected in (None, body.encode()):
        found = read(item_from_quarantine(entry, corrected), KEY, NOW, adapt_record)
        assert isinstance(found, Rejection) and found.code == "reserved_type"


def test_a_corrected_event_comes_out_of_quarantine() -> None:
    entry = QuarantineEntry("q", ACME, "k", NOW, "invalid", None, "", "{")
    assert isinstance(
        read(item_from_quarantine(entry, json.dumps(event()).encode()), KEY, NOW, adapt_record), Candidate
    )


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"specversion": "0.3"}, "specversion", "invalid"),
        ({"id": ""}, "id", "invalid"),
        ({"id": 5}, "id", "invalid"),
        ({"id": "x" * 201}, "id", "invalid"),
        ({"id": "a\x1b[2J"}, "id", "invalid"),
        ({"source": None}, "source", "invalid"),
        ({"source": "x" * 501}, "source", "invalid"),
        ({"type": "coolr.order"}, "type", "unknown_type"),
        ({"subject": "alert/other"}, "subject", "invalid"),
        ({"time": "2026-11-25T12:00:00"}, "time", "invalid"),  # no offset
        ({"time": "2026-11-27T12:00:01Z"}, "time", "invalid"),  # a clock two days ahead
        ({"time": "1999-12-31T23:59:59Z"}, "time", "invalid"),
        ({"time": ["now"]}, "time", "invalid"),
        ({"tenant": "zeta"}, "tenant", "wrong_tenant"),
        ({"tenant": ["acme"]}, "tenant", "wrong_tenant"),
        ({"data": None}, "data", "invalid"),
        ({"data": []}, "data", "invalid"),
        ({"data_base64": "e30="}, "data_base64", "invalid"),
        ({"datacontenttype": "text/xml"}, "datacontenttype", "invalid"),
        ({"Priority": 1}, "Priority", "invalid"),
        ({"coolr-record": True}, "coolr-record", "invalid"),  # nothing from outside is taken for a record of Coolr's
    ],
    ids=str,
)
def test_a_wrong_envelope_names_its_attribute(changes: dict[str, Any], field: str, code: str) -> None:
    found = rejected(event(**changes))
    assert (found.field, found.code) == (field, code)


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "alert/81234", "tenant": "acme", "datacontenttype": "application/json; charset=utf-8"},
        {"traceparent": "00-1", "partitionkey": "x"},  # extensions of others
        {"time": "2026-11-25T15:00:00+05:30"},
    ],
    ids=str,
)
def test_a_right_envelope_is_accepted(changes: dict[str, Any]) -> None:
    accepted(event(**changes))


def test_time_is_utc_and_now_when_absent() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    assert accepted(event(time="2026-11-25T15:00:00+05:30")).time == datetime(2026, 11, 25, 15, tzinfo=zone)
    assert accepted(event()).time == NOW


def test_sources_and_types_are_those_of_the_key() -> None:
    key = Credential("k", ACME, ("erp/*",), ("coolr.order.*",))
    assert rejected(event(source="erp/1"), key).field == "type"
    order = event(EventType.ORDER_RECOMMENDED, source="erp")
    assert (rejected(order, key).field, rejected(order, key).code) == ("source", "not_allowed")
    accepted({**order, "source": "erp/1"}, key)


@pytest.mark.parametrize(("type_", "status"), [("opened", "closed"), ("updated", "open"), ("closed", "updated")])
def test_the_status_of_an_alert_agrees_with_its_type(type_: str, status: str) -> None:
    data = {**samples.DATA[EventType.ALERT_OPENED][0], "status": status}
    assert rejected(event(type=f"coolr.alert.{type_}", data=data)).field == "data.status"


@pytest.mark.parametrize(
    ("type_", "data", "field"),
    [
        (EventType.OPPORTUNITY_MISSED, {"period_end": "2026-11-01"}, "data.period_end"),
        (EventType.OPPORTUNITY_MISSED, {"period_start": "0001-01-01"}, "data.period_start"),
        (EventType.OPPORTUNITY_MISSED, {"missed_revenue": -1}, "data.missed_revenue"),
        (EventType.OPPORTUNITY_MISSED, {"missed_revenue": 1.5}, "data.missed_revenue"),
        (EventType.ORDER_RECOMMENDED, {"lines": []}, "data.lines"),
        (EventType.ORDER_RECOMMENDED, {"cases": {"min": 5, "max": 4}}, "data.cases.max"),
        (EventType.ORDER_RECOMMENDED, {"order_number": "10\n42"}, "data.order_number"),
        (EventType.ORDER_RECOMMENDED, {"deadline": "2026-11-25T12:00:00"}, "data.deadline"),
        (EventType.ORDER_RECOMMENDED, {"deadline": 1764000000}, "data.deadline"),
        (EventType.ORDER_RECOMMENDED, {"image": {"guid": "../../etc"}}, "data.image.guid"),
        (EventType.ORDER_RECOMMENDED, {"image": {"url": "https://user@host.example/x"}}, "data.image.url"),
        (EventType.ORDER_RECOMMENDED, {"image": {"url": "javascript:alert(1)"}}, "data.image.url"),
        (EventType.ORDER_RECOMMENDED, {"image": {"url": "https://host.example:x/"}}, "data.image.url"),
        (EventType.ORDER_RECOMMENDED, {"image": {"url": "https://[::1/"}}, "data.image.url"),
        (EventType.ORDER_RECOMMENDED, {"paused": "yes"}, "data.paused"),
        (EventType.ORDER_DECIDED, {"decision": "maybe"}, "data.decision"),
        (EventType.ALERT_OPENED, {"value": "3"}, "data.value"),
        (EventType.ALERT_OPENED, {"value": 1e12}, "data.value"),
        (EventType.IMAGE_PROCESSED, {"stock_percentage": -1}, "data.stock_percentage"),
    ],
    ids=str,
)
def test_wrong_data_name_their_field(type_: EventType, data: dict[str, Any], field: str) -> None:
    found = rejected(event(type_, data={**samples.DATA[type_][0], **data}))
    assert found.field == field
    assert "^" not in found.reason, "words, no regular expression"


def test_a_zone_nobody_knows_is_kept_as_text() -> None:
    """What the directory knows wins; the event must not be lost for it."""
    data = {**samples.DATA[EventType.ALERT_OPENED][1], "outlet": {"code": "X", "timezone": "Mars/Olympus"}}
    accepted(event(data=data))


@pytest.mark.parametrize(
    ("recipients", "field"),
    [
        ("eve@example.com", "recipients"),
        ([{"address": "eve@example.com"}] * 21, "recipients"),
        (["eve@example.com"], "recipients[0]"),
        ([{"address": "eve@example.com"}, {"address": "nobody"}], "recipients[1].address"),
        ([{"address": "eve@example.com\nBcc: x@example.com"}], "recipients[0].address"),
        ([{"channel": "sms", "address": "12"}], "recipients[0].address"),
        ([{"channel": "callback", "address": "x"}], "recipients[0].channel"),
        ([{"channel": "email", "address": "eve@example.com", "name": 5}], "recipients[0].name"),
        ([{"address": "eve@example.com", "role": "owner"}], "recipients[0].role"),  # a role would be a right to decide
    ],
    ids=str,
)
def test_a_wrong_recipient_names_its_field(recipients: Any, field: str) -> None:
    assert rejected(event(recipients=recipients), ADDRESSING).field == field


def test_recipients_are_a_right_of_the_key() -> None:
    carried = event(recipients=[{"address": "Eve@Example.com", "language": "es"}])
    assert (rejected(carried).code, rejected(carried).field) == ("not_allowed", "recipients")
    [eve] = accepted(carried, ADDRESSING).recipients
    assert (eve.channel, eve.address.lower(), eve.language) == (ChannelName.EMAIL, "eve@example.com", "es")


def test_what_could_be_an_event_is_kept_whole() -> None:
    text = json.dumps(event(data={"x": ["y" * 9_000] * 28}))
    assert 250_000 < len(text) <= MOST_BODY
    assert item_of(text.encode()).body == text
