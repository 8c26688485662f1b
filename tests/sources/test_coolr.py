"""Coolr's own records: identity, times, wrong types named by the record's own field."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from notifier.core.events import Candidate, RawItem, Rejection, read
from notifier.core.ids import TenantId
from notifier.core.model import Credential
from notifier.sources.coolr import ALERT_FIELDS, IMAGE_FIELDS, adapt_record

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
ALERT = {"AlertId": 81, "Status": "New", "LastUpdatedOn": "20261123101112345", "LocationCode": "7-11-1001"}
IMAGE = {"AssetPurityId": 9, "PurityDateTime": "2026-11-23T10:11:12", "LocationCode": "7-11-1001"}


def key(*sources: str) -> Credential:
    return Credential("k", TenantId("acme"), sources, ("coolr.*",))


def reading(record: dict[str, Any], credential: Credential | None = None) -> Candidate | Rejection:
    return read(RawItem(record, ""), credential or key("*"), NOW, adapt_record)


def accepted(record: dict[str, Any], credential: Credential | None = None) -> Candidate:
    found = reading(record, credential)
    assert isinstance(found, Candidate), found
    return found


def test_an_alerts_identity_is_its_id_status_and_time_of_change() -> None:
    first = accepted(ALERT)
    same = accepted({**ALERT, "AlertAgeMins": 5, "LastUpdatedOn": "2026-11-23T10:11:12.345"})
    changed = [accepted({**ALERT, **other}) for other in ({"Status": "Closed"}, {"LastUpdatedOn": "20261123101112346"})]
    assert (same.source_id, same.content_hash) == (first.source_id, first.content_hash)
    assert len({first.source_id, *(other.source_id for other in changed)}) == 3
    assert {first.subject, *(other.subject for other in changed)} == {"alert/81"}


def test_a_picture_is_the_same_whatever_it_is_called_when_done() -> None:
    names = ["Processed", "Approved", "", None]
    assert len({accepted({**IMAGE, "ImageStatus": name}).source_id for name in names}) == 1


@pytest.mark.parametrize(
    ("fields", "closed"),
    [
        ({"Status": "Closed"}, True),
        ({"Status": "resolved"}, True),
        ({"Status": "New"}, False),
        ({"Status": "Acknowledged", "ClosedOn": "20261123101112345"}, False),  # "status changed on": the word counts
        ({"Status": None, "StatusId": 5, "ClosedOn": "20261123101112345"}, True),
        ({"Status": None, "StatusId": 1, "ClosedOn": "0001-01-01T00:00:00"}, False),  # .NET's empty date
    ],
    ids=str,
)
def test_whether_an_alert_is_closed(fields: dict[str, Any], closed: bool) -> None:
    assert (accepted({**ALERT, **fields}).data_json["status"] == "closed") is closed


@pytest.mark.parametrize(
    ("fields", "time"),
    [
        ({"LastUpdatedOn": "20261123101112345"}, "2026-11-23T10:11:12.345000+00:00"),
        ({"LastUpdatedOn": 20261123101112345}, "2026-11-23T10:11:12.345000+00:00"),
        ({"LastUpdatedOn": "2026-11-23T10:11:12"}, "2026-11-23T10:11:12+00:00"),
        ({"LastUpdatedOn": "2026-11-23 10:11:12"}, "2026-11-23T10:11:12+00:00"),
        ({"LastUpdatedOn": "2026-11-23T10:11:12+02:00"}, "2026-11-23T08:11:12+00:00"),
        (
            {"LastUpdatedOn": None, "AlertAt": "20261123120000000", "AlertAtUtc": "20261123110000000"},
            "2026-11-23T11:00:00+00:00",
        ),
    ],
    ids=str,
)
def test_times_in_every_form_and_the_utc_twin_wins(fields: dict[str, Any], time: str) -> None:
    assert accepted({**ALERT, **fields}).time == datetime.fromisoformat(time)


@pytest.mark.parametrize(
    ("record", "field"),
    [
        ({**ALERT, "AlertId": []}, "AlertId"),
        ({**ALERT, "AlertId": 0}, "AlertId"),
        ({**ALERT, "AlertId": "x" * 101}, "AlertId"),
        ({**ALERT, "AlertId": "a\nb"}, "AlertId"),
        ({**ALERT, "Status": {"a": 1}}, "Status"),
        ({**ALERT, "Status": "x" * 101}, "Status"),
        ({**ALERT, "AlertType": True}, "AlertType"),
        ({**ALERT, "AlertValue": "warm"}, "AlertValue"),
        ({**ALERT, "AlertValue": "nan"}, "AlertValue"),
        ({**ALERT, "AlertValue": "1_000"}, "AlertValue"),
        ({**ALERT, "AlertValue": False}, "AlertValue"),
        ({**ALERT, "AlertValue": 1e10}, "AlertValue"),
        ({**ALERT, "AlertValue": []}, "AlertValue"),
        ({**ALERT, "AlertText": 5}, "AlertText"),
        ({**ALERT, "LastUpdatedOn": "2026112310"}, "LastUpdatedOn"),
        ({**ALERT, "LastUpdatedOn": "20261323101112345"}, "LastUpdatedOn"),
        ({**ALERT, "LastUpdatedOn": "9999-12-31T23:59:59-14:00"}, "LastUpdatedOn"),
        ({**ALERT, "LastUpdatedOn": {}}, "LastUpdatedOn"),
        ({**ALERT, "LastUpdatedOn": "20280101000000000"}, "LastUpdatedOn"),  # in the future
        ({**ALERT, "AlertAt": "1970-01-01T00:00:00"}, "AlertAt"),
        ({**ALERT, "LastUpdatedOnUtc": "soon"}, "LastUpdatedOnUtc"),
        ({**ALERT, "LocationCode": None}, "LocationCode"),
        ({**ALERT, "Location": 7}, "Location"),
        ({**IMAGE, "AssetPurityId": None}, "AssetPurityId"),
        ({**IMAGE, "PurityDateTime": None}, "PurityDateTime"),
        ({**IMAGE, "UniqueGuid": 5}, "UniqueGuid"),
        ({**IMAGE, "UniqueGuid": "../x"}, "UniqueGuid"),
        ({**IMAGE, "ForeignProduct": 1.5}, "ForeignProduct"),
        ({**IMAGE, "ForeignProduct": float("1e300")}, "ForeignProduct"),
        ({**IMAGE, "StockPercentage": "9" * 400}, "StockPercentage"),
        ({**IMAGE, "Temperature": 900}, "Temperature"),
        ({**IMAGE, "ImageStatus": []}, "ImageStatus"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named_by_the_records_own_field(record: dict[str, Any], field: str) -> None:
    found = reading(record)
    assert isinstance(found, Rejection)
    assert found.field == field


def test_numbers_written_as_texts_count() -> None:
    """Exports of lists are made of texts."""
    assert accepted({**ALERT, "AlertValue": "-4.5"}).data_json["value"] == -4.5
    assert accepted({**IMAGE, "ForeignProduct": "3"}).data_json["foreign_products"] == 3


@pytest.mark.parametrize(
    ("sources", "source"),
    [
        (("*",), "coolr"),
        (("coolr/*",), "coolr/coolr"),
        (("coolr/*", "coolr/list"), "coolr/list"),
        (("erp",), "erp"),
    ],
)
def test_a_record_comes_from_a_source_its_key_allows(sources: tuple[str, ...], source: str) -> None:
    assert accepted(ALERT, key(*sources)).source == source


def test_what_is_no_record_is_none() -> None:
    assert adapt_record({"specversion": "1.0", "AlertId": 1}, key("*")) is None
    assert adapt_record({"alertid": 1}, key("*")) is None


def test_every_field_that_is_read_has_a_name_for_mistakes() -> None:
    whole = dict.fromkeys({*ALERT_FIELDS.values(), *IMAGE_FIELDS.values()}, "1")
    times = dict.fromkeys(("LastUpdatedOn", "AlertAt", "ClosedOn", "PurityDateTime"), "2026-11-23T10:00:00")
    whole |= times | {"UniqueGuid": "6f0b6c1e-5d0e", "Status": "Closed"}
    for names, without in ((ALERT_FIELDS, "AssetPurityId"), (IMAGE_FIELDS, "AlertId")):
        record = {name: value for name, value in whole.items() if name != without}
        adapted = adapt_record(record, key("*"))
        assert adapted is not None
        assert set(_paths(adapted.envelope["data"], "data")) - {"data.status"} <= set(names)


def _paths(value: Any, path: str) -> list[str]:
    if isinstance(value, dict):
        return [found for name, inner in value.items() for found in _paths(inner, f"{path}.{name}")]
    return [path]
