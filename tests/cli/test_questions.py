"""What these commands ask the store is answered alike by both databases, and to one tenant alone (P11)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from notifier.core.ids import EventId, OutletCode
from notifier.core.model import ChannelName, NotificationStatus, Outlet
from notifier.core.records import QuarantineEntry, SubjectState
from notifier.store import SqlStore
from notifier.testing import ACME, BOREALIS, NOW, event, furnish, notification


@pytest.fixture
def furnished(store: SqlStore) -> SqlStore:
    """Both tenants with one outlet in Spain each."""
    furnish(store)
    return store


def test_countries_are_those_of_the_tenants_outlets_p11(furnished: SqlStore) -> None:
    with furnished.write() as tx:
        tx.save_outlets([Outlet(ACME, OutletCode(code), code, country=code) for code in ("PT", "")])
    with furnished.read() as tx:
        assert tx.outlet_countries(ACME) == {"ES", "PT"}
        assert tx.outlet_countries(BOREALIS) == {"ES"}


def test_roles_are_those_of_the_tenants_people_p11(furnished: SqlStore) -> None:
    with furnished.read() as tx:
        assert tx.roles(ACME) == {"owner", "sales_rep", "regional_manager"}
        assert tx.roles(BOREALIS) == {"owner"}


def test_the_frozen_messages_of_an_event_come_with_their_masked_notifications_p10_p11(furnished: SqlStore) -> None:
    first, other = event(), event(subject="alert/2")
    kept = [notification(first), notification(first, ChannelName.SMS, "+34600111222"), notification(other)]
    left_out = replace(
        notification(first, address="bob@example.com"), message=None, status=NotificationStatus.SUPPRESSED
    )
    with furnished.write() as tx:
        tx.save_events([first, other])
        tx.save_notifications([*kept, left_out], NOW)
    with furnished.read() as tx:
        found = tx.frozen_messages(ACME, first.id)
        assert [(row["channel"], row["address"]) for row, _ in found] == [
            ("email", "a…@example.com"),
            ("sms", "+34…22"),
        ]
        assert [message for _, message in found] == [item.message for item in kept[:2]]
        assert tx.frozen_messages(BOREALIS, first.id) == []


def test_states_of_subjects_are_read_without_a_lock_p11(furnished: SqlStore) -> None:
    state = SubjectState(ACME, "alert/1", "coolr", 3, {"status": "open"})
    with furnished.write() as tx:
        tx.save_subjects([state])
    with furnished.read() as tx:
        assert tx.subject_states(ACME, ["alert/1", "alert/2"]) == {"alert/1": state}
        assert tx.subject_states(BOREALIS, ["alert/1"]) == {}


def test_a_list_can_ask_for_what_has_no_value_yet(furnished: SqlStore) -> None:
    entries = [QuarantineEntry(f"{n:036}", ACME, "key", NOW, "invalid", None, "", "{}") for n in range(3)]
    with furnished.write() as tx:
        tx.save_events([event(id=EventId("e" * 36))])
        tx.save_quarantine(entries)
        tx.mark_released(ACME, entries[1].id, EventId("e" * 36), NOW)
    with furnished.read() as tx:
        rows, total = tx.list_rows("quarantine", ACME, start=0, limit=9, filters={"released_at": None})
        assert ([row["id"] for row in rows], total) == ([entries[2].id, entries[0].id], 2)
        wanted = {"released_at": {"operator": "!=", "value": None}}
        assert tx.list_rows("quarantine", ACME, start=0, limit=9, filters=wanted)[1] == 1
