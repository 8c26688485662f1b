"""Coolr's own records, Alert and AssetPurity list items, as envelopes. Pure; field names are the platform's.

An alert's identity is AlertId + status + LastUpdatedOn, a picture's its AssetPurityId. Times come as 17 digits
(yyyyMMddHHmmssfff) or ISO 8601 without zone: `CreatedOn`, `ModifiedOn`, `LastUpdatedOn` and names that end in `Utc`
are UTC; others are taken as UTC too unless their `...Utc` twin is there, since a record does not carry the offset.
Coolr's public documentation has no alert record; the fields are those of the sibling platform (uncertain for Coolr).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from notifier.core.events import RECORD
from notifier.core.model import Credential
from notifier.errors import EventError

CLOSED = {"closed", "resolved", "close"}
PROCESSED = {"processed", "approved"}
STAMP = "%Y%m%d%H%M%S%f"


def adapt_record(value: Mapping[str, Any], credential: Credential) -> dict[str, Any] | None:
    """Return the envelope of one of Coolr's records, None when it is none. Raises EventError."""
    if "specversion" in value:
        return None
    if "AlertId" in value:
        return _alert(value, _default_source(credential))
    if "AssetPurityId" in value:
        return _image(value, _default_source(credential))
    return None


def _alert(record: Mapping[str, Any], source: str) -> dict[str, Any]:
    alert_id, status = _key(record, "AlertId"), str(record.get("Status") or record.get("StatusId") or "open")
    touched = _time(record, "LastUpdatedOn") or _time(record, "ClosedOn") or _time(record, "AlertAt")
    closed = status.lower() in CLOSED or bool(record.get("ClosedOn"))
    data: dict[str, Any] = {
        "alert_id": alert_id,
        "alert_type": str(record.get("AlertType") or record.get("AlertTypeId") or "Alert"),
        "status": "closed" if closed else "open",
        "outlet": _outlet(record),
        "title": str(record.get("AlertDefinition") or "")[:200],
        "text": str(record.get("AlertText") or "")[:2000],
        "value": _number(record, "AlertValue"),
        "opened_at": _time(record, "AlertAt"),
        "updated_at": touched,
        "closed_at": _time(record, "ClosedOn") if closed else None,
        "asset": _asset(record.get("AssetSerialNumber"), record.get("AssetType")),
        "sales_rep": str(record.get("SalesRep") or "")[:200],
    }
    kind = "closed" if closed else "opened"
    identity = f"alert:{alert_id}:{status}:{touched or ''}"
    return _envelope(identity, source, f"coolr.alert.{kind}", touched, data)


def _image(record: Mapping[str, Any], source: str) -> dict[str, Any]:
    status = str(record.get("ImageStatus") or "Processed")
    if status.lower() not in PROCESSED:
        raise EventError(
            f"only processed pictures are events, this one is {status[:40]}", "ImageStatus", "not_processed"
        )
    image_id = _key(record, "AssetPurityId")
    taken = _time(record, "PurityDateTime") or _time(record, "EventTime")
    if taken is None:
        raise EventError("is missing", "PurityDateTime")
    data: dict[str, Any] = {
        "image_id": image_id,
        "outlet": _outlet(record),
        "taken_at": taken,
        "image": {"guid": record["UniqueGuid"]} if isinstance(record.get("UniqueGuid"), str) else {},
        "asset": _asset(record.get("SerialNumber"), record.get("AssetType")),
        "stock_percentage": _number(record, "StockPercentage"),
        "planogram_compliance": _number(record, "PlanogramCompliance"),
        "purity_percentage": _number(record, "PurityPercentage"),
        "foreign_products": _count(record, "ForeignProduct"),
        "empty_facings": _count(record, "EmptyFacings"),
        "total_facings": _count(record, "TotalFacings"),
        "temperature": _number(record, "Temperature"),
    }
    return _envelope(f"image:{image_id}:{status}", source, "coolr.image.processed", taken, data)


def _envelope(identity: str, source: str, type_: str, time: str | None, data: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in data.items() if value not in (None, "")}
    return {
        "specversion": "1.0",
        "id": identity[:200],
        "source": source,
        "type": type_,
        "data": kept,
        RECORD: True,
    } | ({"time": time} if time else {})


def _default_source(credential: Credential) -> str:
    """Records name no source: the first of the key's, unless that is a pattern."""
    first = credential.sources[0] if credential.sources else "*"
    return "coolr" if any(char in first for char in "*?[") else first


def _outlet(record: Mapping[str, Any]) -> dict[str, str]:
    code = record.get("LocationCode") or record.get("OutletCode")
    if not isinstance(code, str) or not code:
        raise EventError("is missing: the store's code", "LocationCode")
    names = {"name": "Location", "city": "City", "market": "MarketName", "channel": "LocationType"}
    found = {ours: str(record[theirs])[:200] for ours, theirs in names.items() if record.get(theirs)}
    return {"code": code, **found}


def _asset(serial: Any, type_: Any) -> dict[str, str] | None:
    return {"serial": str(serial)[:100], "type": str(type_ or "")[:200]} if serial else None


def _key(record: Mapping[str, Any], name: str) -> str:
    value = record[name]
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value in ("", 0):
        raise EventError("must be the record's id", name)
    return str(value)[:100]


def _number(record: Mapping[str, Any], name: str) -> float | None:
    value = record.get(name)
    if value in (None, ""):
        return None
    try:
        return float(str(value))
    except ValueError:
        raise EventError("is not a number", name) from None


def _count(record: Mapping[str, Any], name: str) -> int | None:
    number = _number(record, name)
    return None if number is None else int(number)


def _time(record: Mapping[str, Any], name: str) -> str | None:
    text = record.get(f"{name}Utc") or record.get(name)
    if text in (None, ""):
        return None
    text = str(text)
    try:
        moment = datetime.strptime(text, STAMP) if text.isdigit() else datetime.fromisoformat(text)  # noqa: DTZ007
    except ValueError:
        raise EventError("is not a time (17 digits or ISO 8601)", name) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
