"""Coolr's own records, Alert and AssetPurity list items, as envelopes. Pure; field names are the platform's.

An alert's identity is AlertId + status + LastUpdatedOn, a picture's its AssetPurityId. Times come as 17 digits
(yyyyMMddHHmmssfff) or ISO 8601 without zone: `CreatedOn`, `ModifiedOn`, `LastUpdatedOn` and names that end in `Utc`
are UTC; others are taken as UTC too unless their `...Utc` twin is there, since a record does not carry the offset.
Coolr's public documentation has no alert record; the fields are those of the sibling platform (uncertain for Coolr).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from notifier.core.events import Record
from notifier.core.model import Credential
from notifier.errors import EventError

CLOSED = {"closed", "resolved", "close"}
PROCESSED = {"processed", "approved"}
DEFAULT_SOURCE = "coolr"  #: of records, for a key that may send from anywhere
_STAMP = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{3})")
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")

#: Field of our envelope → the record's field: what a mistake is named after.
ALERT_FIELDS = {
    "time": "LastUpdatedOn",
    "data.alert_id": "AlertId",
    "data.alert_type": "AlertType",
    "data.title": "AlertDefinition",
    "data.text": "AlertText",
    "data.value": "AlertValue",
    "data.opened_at": "AlertAt",
    "data.updated_at": "LastUpdatedOn",
    "data.closed_at": "ClosedOn",
    "data.sales_rep": "SalesRep",
    "data.outlet.code": "LocationCode",
    "data.outlet.name": "Location",
    "data.outlet.city": "City",
    "data.outlet.market": "MarketName",
    "data.outlet.channel": "LocationType",
    "data.outlet.classification": "Classification",
    "data.asset.serial": "AssetSerialNumber",
    "data.asset.type": "AssetType",
}
IMAGE_FIELDS = {
    **{ours: theirs for ours, theirs in ALERT_FIELDS.items() if ours.startswith("data.outlet.")},
    "time": "PurityDateTime",
    "data.image_id": "AssetPurityId",
    "data.taken_at": "PurityDateTime",
    "data.image.guid": "UniqueGuid",
    "data.asset.serial": "SerialNumber",
    "data.asset.type": "AssetType",
    "data.stock_percentage": "StockPercentage",
    "data.planogram_compliance": "PlanogramCompliance",
    "data.purity_percentage": "PurityPercentage",
    "data.foreign_products": "ForeignProduct",
    "data.empty_facings": "EmptyFacings",
    "data.total_facings": "TotalFacings",
    "data.temperature": "Temperature",
}


def adapt_record(value: Mapping[str, Any], credential: Credential) -> Record | None:
    """Return one of Coolr's records as an envelope, None when it is none. Raises EventError naming its field."""
    if "specversion" in value:
        return None
    if "AlertId" in value:
        return Record(_alert(value, _source(credential)), ALERT_FIELDS)
    if "AssetPurityId" in value:
        return Record(_image(value, _source(credential)), IMAGE_FIELDS)
    return None


def _alert(record: Mapping[str, Any], source: str) -> dict[str, Any]:
    alert_id, status = _key(record, "AlertId"), _key(record, "Status") or _key(record, "StatusId")
    if not alert_id:
        raise EventError("must be the record's id", "AlertId")
    closed_on = _time(record, "ClosedOn")
    touched = _time(record, "LastUpdatedOn") or closed_on or _time(record, "AlertAt")
    # The word counts; without one (an id alone is not documented) the time of closing does.
    closed = status.lower() in CLOSED or (closed_on is not None and not _key(record, "Status"))
    data = {
        "alert_id": alert_id,
        "alert_type": _key(record, "AlertType") or _key(record, "AlertTypeId") or "Alert",
        "status": "closed" if closed else "open",
        "outlet": _outlet(record),
        "title": _text(record, "AlertDefinition"),
        "text": _text(record, "AlertText", 2000),
        "value": _number(record, "AlertValue"),
        "opened_at": _time(record, "AlertAt"),
        "updated_at": touched,
        "closed_at": closed_on if closed else None,
        "asset": _asset(record, "AssetSerialNumber"),
        "sales_rep": _text(record, "SalesRep"),
    }
    kind = "closed" if closed else "opened"
    return _envelope(f"alert:{alert_id}:{status}:{touched or ''}", source, f"coolr.alert.{kind}", touched, data)


def _image(record: Mapping[str, Any], source: str) -> dict[str, Any]:
    image_id = _key(record, "AssetPurityId")
    if not image_id:
        raise EventError("must be the record's id", "AssetPurityId")
    status = _key(record, "ImageStatus") or "Processed"
    if status.lower() not in PROCESSED:
        reason = f"only processed pictures are events, this one is {status}"
        raise EventError(reason, "ImageStatus", "not_processed")
    taken = _time(record, "PurityDateTime") or _time(record, "EventTime")
    if taken is None:
        raise EventError("is missing", "PurityDateTime")
    guid = _text(record, "UniqueGuid")
    data = {
        "image_id": image_id,
        "outlet": _outlet(record),
        "taken_at": taken,
        "image": {"guid": guid} if guid else {},
        "asset": _asset(record, "SerialNumber"),
        "stock_percentage": _number(record, "StockPercentage"),
        "planogram_compliance": _number(record, "PlanogramCompliance"),
        "purity_percentage": _number(record, "PurityPercentage"),
        "foreign_products": _count(record, "ForeignProduct"),
        "empty_facings": _count(record, "EmptyFacings"),
        "total_facings": _count(record, "TotalFacings"),
        "temperature": _number(record, "Temperature"),
    }
    return _envelope(f"image:{image_id}", source, "coolr.image.processed", taken, data)


def _envelope(identity: str, source: str, type_: str, time: str | None, data: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in data.items() if value not in (None, "")}
    envelope = {"specversion": "1.0", "id": identity, "source": source, "type": type_, "data": kept}
    return envelope | ({"time": time} if time else {})


def _source(credential: Credential) -> str:
    """Records name no source: the first of the key's that is no pattern, else one that its first pattern allows."""
    plain = [source for source in credential.sources if not set("*?[") & set(source)]
    if plain:
        return plain[0]
    first = credential.sources[0] if credential.sources else "*"
    return DEFAULT_SOURCE if first == "*" else first.replace("*", DEFAULT_SOURCE)


def _outlet(record: Mapping[str, Any]) -> dict[str, str]:
    code = _key(record, "LocationCode") or _key(record, "OutletCode")
    if not code:
        raise EventError("is missing: the store's code", "LocationCode")
    names = {
        "name": "Location",
        "city": "City",
        "market": "MarketName",
        "channel": "LocationType",
        "classification": "Classification",
    }
    found = {ours: text for ours, theirs in names.items() if (text := _text(record, theirs))}
    return {"code": code, **found}


def _asset(record: Mapping[str, Any], serial: str) -> dict[str, str] | None:
    found = _key(record, serial)
    return {"serial": found, "type": _text(record, "AssetType")} if found else None


def _key(record: Mapping[str, Any], name: str) -> str:
    """A text or whole number of at most 100 characters; "" when there is none (0 is Coolr's empty id)."""
    value = record.get(name)
    if value in (None, "", 0) and value is not False:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise EventError("must be a text or a whole number", name)
    if len(str(value)) > 100:
        raise EventError("longer than 100 characters", name)
    if not str(value).isprintable():
        raise EventError("holds a control character", name)
    return str(value)


def _text(record: Mapping[str, Any], name: str, most: int = 200) -> str:
    """A text, cut to `most` characters; "" when there is none."""
    value = record.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise EventError("must be a text", name)
    return value[:most]


def _number(record: Mapping[str, Any], name: str) -> float | None:
    """A number; one written as a text counts too, since exports of lists are made of texts."""
    value = record.get(name)
    if value in (None, "") and value is not False:
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise EventError("is not a number", name)
    return float(value)


def _count(record: Mapping[str, Any], name: str) -> int | None:
    number = _number(record, name)
    if number is not None and not number.is_integer():
        raise EventError("is not a whole number", name)
    return None if number is None else int(number)


def _time(record: Mapping[str, Any], name: str) -> str | None:
    """A time as ISO 8601 in UTC; None when there is none. The year 1 is the platform's empty date."""
    found = next((twin for twin in (f"{name}Utc", name) if record.get(twin) not in (None, "")), None)
    if found is None:
        return None
    value = record[found]
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    try:
        moment = _moment(text)
    except ValueError:
        raise EventError("is not a time (17 digits or ISO 8601)", found) from None
    if moment.year == 1:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


def _moment(text: str) -> datetime:
    """17 digits, cut by hand (strptime would read month 13 as January), or ISO 8601. Raises ValueError."""
    stamp = _STAMP.fullmatch(text)
    moment = datetime.fromisoformat(stamp.expand(r"\1-\2-\3T\4:\5:\6.\7") if stamp else text)
    if moment.year == 9999 or (text.isdigit() and not stamp):
        raise ValueError("outside the calendar, or digits that are no stamp")
    return moment
