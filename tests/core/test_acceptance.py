"""Accept or not: identity, conflict, subjects and their owners, sequence, quarantine."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from notifier.core.acceptance import Verdict, judge, keys_of, storable, subjects_of
from notifier.core.events import item_of, read
from notifier.core.ids import TenantId
from notifier.core.model import Credential
from notifier.core.records import SubjectState
from notifier.sources.coolr import adapt_record

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
KEY = Credential("k", TenantId("acme"), ("*",), ("coolr.*",))


def counter() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"id{next(numbers)}"


class Desk:
    """Accepts chunk after chunk, remembering as the store would."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Any] = {}
        self.subjects: dict[str, SubjectState] = {}
        self.new_id = counter()

    def hand_in(self, *values: Any) -> Verdict:
        items = [item_of(value if isinstance(value, bytes) else json.dumps(value).encode()) for value in values]
        chunk = [(index, read(item, KEY, NOW, adapt_record), item) for index, item in enumerate(items)]
        known = {key: self.known[key] for key in keys_of(chunk) if key in self.known}
        locked = {name: self.subjects[name] for name in subjects_of(chunk) if name in self.subjects}
        verdict = judge(chunk, known, locked, KEY, NOW, self.new_id)
        self.known |= {(event.source, event.source_id): (event.id, event.content_hash) for event in verdict.events}
        self.subjects |= {state.subject: state for state in verdict.subjects}
        return verdict


def event(id_: str = "1", number: str = "7", source: str = "erp", **data: Any) -> dict[str, Any]:
    known = {"order_number": number, "outlet": {"code": "A"}, "lines": [{"sku": "1", "name": "", "suggested_cases": 1}]}
    named = {"specversion": "1.0", "id": id_, "source": source, "type": "coolr.order.recommended"}
    return {**named, "data": known | data}


def words(verdict: Verdict) -> list[str]:
    return [answer.status.value for answer in verdict.answers]


def test_the_same_again_is_a_duplicate_whatever_the_order_of_its_keys() -> None:
    desk = Desk()
    first = desk.hand_in(event())
    turned = dict(reversed(event().items()))
    again = desk.hand_in(turned, turned | {"tenant": "acme"})
    assert (words(first), words(again)) == (["accepted"], ["duplicate", "duplicate"])
    assert {answer.id for answer in again.answers} == {first.answers[0].id}
    assert again.quarantine == []


def test_the_same_identity_with_other_content_is_a_conflict_and_kept() -> None:
    desk = Desk()
    desk.hand_in(event())
    verdict = desk.hand_in(event(reason="changed"))
    assert (words(verdict), verdict.events) == (["conflict"], [])
    assert json.loads(verdict.quarantine[0].body)["data"]["reason"] == "changed"


def test_duplicates_and_conflicts_inside_of_one_request_are_found() -> None:
    assert words(Desk().hand_in(event(), event(), event(reason="x"))) == ["accepted", "duplicate", "conflict"]


def test_sequence_is_the_order_of_acceptance_per_object() -> None:
    desk = Desk()
    chunk = desk.hand_in(event("1", "7"), event("2", "8"), event("3", "7"), b"{", event("4", "7"))
    assert [(e.subject, e.sequence) for e in chunk.events] == [
        ("order/7", 1),
        ("order/8", 1),
        ("order/7", 2),
        ("order/7", 3),
    ]
    assert desk.hand_in(event("5", "7")).events[0].sequence == 4


def test_an_object_of_another_source_is_quarantined() -> None:
    desk = Desk()
    desk.hand_in(event("1"))
    verdict = desk.hand_in(event("1", source="somebody"))
    assert (words(verdict), verdict.answers[0].code, verdict.answers[0].field) == (
        ["rejected"],
        "foreign_subject",
        "source",
    )
    assert verdict.quarantine[0].source == "somebody"


def test_subjects_are_locked_in_sorted_order() -> None:
    items = [item_of(json.dumps(event(str(n), str(9 - n))).encode()) for n in range(9)]
    assert (names := subjects_of([(0, read(item, KEY, NOW, adapt_record), item) for item in items])) == sorted(names)


def alert(status: str, stamp: str, **more: Any) -> dict[str, Any]:
    return {"AlertId": 5, "Status": status, "LastUpdatedOn": stamp, "LocationCode": "A", **more}


def test_the_data_of_a_derived_event_agree_with_its_type() -> None:
    desk = Desk()
    stamps = [f"2026112310{minute:02}00000" for minute in range(4)]
    verdict = desk.hand_in(
        alert("New", stamps[0], AlertValue=1),
        alert("New", stamps[1], AlertValue=1),
        alert("New", stamps[2], AlertValue=2),
        alert("Closed", stamps[3], AlertValue=2),
    )
    assert words(verdict) == ["accepted", "unchanged", "accepted", "accepted"]
    assert [(e.type.value.rpartition(".")[2], e.data["status"]) for e in verdict.events] == [
        ("opened", "open"),
        ("updated", "updated"),
        ("closed", "closed"),
    ]


def test_a_picture_that_is_not_processed_yet_is_neither_event_nor_mistake() -> None:
    verdict = Desk().hand_in({"AssetPurityId": 1, "ImageStatus": "Unprovisioned", "LocationCode": "A"})
    assert (words(verdict), verdict.events, verdict.quarantine) == (["unchanged"], [], [])
    assert "Unprovisioned" in str(verdict.answers[0].reason)


@pytest.mark.parametrize("text", ["a\0b", "half \ud800", "plain ü"])
def test_every_text_can_be_stored(text: str) -> None:
    kept = storable(text)
    assert "\0" not in kept
    assert kept.encode()


def test_the_same_mistake_again_is_the_same_entry_of_the_quarantine_p8() -> None:
    """A sender that never gives up must not fill the disk."""
    desk = Desk()
    bad, other = event(lines="none"), event(lines=[])
    first, again = desk.hand_in(bad, other), desk.hand_in(bad)
    assert first.answers[0].quarantine_id == again.answers[0].quarantine_id
    assert first.answers[0].quarantine_id != first.answers[1].quarantine_id


def test_two_keys_never_share_an_entry_p11() -> None:
    """Its release is under the rights of the key it came with."""
    item = item_of(json.dumps(event(lines="none")).encode())
    ids = set()
    for key in (KEY, replace(KEY, key_id="k2"), replace(KEY, tenant=TenantId("borealis"))):
        verdict = judge([(0, read(item, key, NOW, adapt_record), item)], {}, {}, key, NOW, counter())
        ids.add(verdict.answers[0].quarantine_id)
    assert len(ids) == 3
