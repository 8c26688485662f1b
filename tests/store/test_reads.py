"""What entitled people may see: filters, masked addresses, timelines; and that tenants are walls (P11)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from notifier.core.ids import OutletCode, RecipientId, RecipientKey, new_id
from notifier.core.model import ChannelName, Contact, Outlet, Recipient
from notifier.core.orders import NumberState
from notifier.core.records import ApiKey, QuarantineEntry, SubjectState
from notifier.store import SqlStore
from notifier.store.reads import LISTED
from notifier.store.repository import SqlReader
from notifier.testing import ACME, BOREALIS, NOW, SOURCE, event, notification
from tests.store.test_acts import ALICE, make_decision
from tests.store.test_delivery import SESSION, begin, claim, fill, outcome, settle, start
from tests.store.test_intake import make_order

ABOUT = event()
OTHER = event(subject="alert/2", outlet=None)
MAIL = notification(ABOUT, address="alice@example.com")
CALL = notification(ABOUT, channel=ChannelName.CALLBACK, address="erp")
ORDER = make_order()
DECISION = make_decision(ORDER.id, "form")
UNDONE = replace(make_decision(ORDER.id, "form before"), undone_at=NOW, undone_by="Alice", undone_via="email")
ENTRY = QuarantineEntry(new_id(), ACME, "key", NOW, "invalid", "data", "is wrong", "{", SOURCE, "1")


@pytest.fixture
def filled(store: SqlStore) -> SqlStore:
    """A store where Acme has a row in every table that can be read."""
    with store.write() as tx:
        tx.save_events([ABOUT, OTHER])
        tx.save_notifications([MAIL, CALL], NOW)
        tx.save_subjects([SubjectState(ACME, ABOUT.subject, SOURCE, 1)])
        tx.save_order(ORDER)
        tx.save_number_state(NumberState(ACME, ORDER.id, ALICE, 0, "key"))
        tx.save_decision(UNDONE)
        tx.save_undo(UNDONE)
        tx.save_decision(DECISION)
        tx.save_quarantine([ENTRY])
        tx.save_outlets([Outlet(ACME, OutletCode("ES-1001"), "Main St", country="ES")])
        person = Recipient(RecipientId(""), ACME, "Alice", "alice@example.com")
        tx.save_contacts([Contact(person, OutletCode("ES-1001"), "owner")])
        tx.suppress_address(ACME, ChannelName.SMS, "+34600111222", "stop", NOW)
        tx.save_api_key(ApiKey("k", ACME, "portal", "hash", (SOURCE,), ("*",), False, True, NOW))
    start(store, SESSION)
    [held] = claim(store, channels=(ChannelName.EMAIL,))
    attempt = begin(store, held)
    assert attempt
    settle(store, outcome(held, attempt))
    return store


def listed(store: SqlStore, table: str, **filters: Any) -> list[Any]:
    """Rows of Acme."""
    with store.read() as tx:
        rows, total = tx.list_rows(table, ACME, start=0, limit=100, filters=filters)
    assert total == len(rows)
    return rows


# -- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "filters", "found"),
    [
        ("events", {"type": "coolr.alert.opened"}, 2),  # plain value means equals
        ("events", {"subject": {"operator": "=", "value": "alert/1"}}, 1),
        ("events", {"subject": {"operator": "!=", "value": "alert/1"}}, 1),
        ("events", {"subject": {"operator": "in", "value": ["alert/1", "alert/2", "x"]}}, 2),
        ("events", {"received_at": {"operator": ">=", "value": "2026-11-23T11:00:00+01:00"}}, 2),  # any offset
        ("events", {"received_at": {"operator": ">", "value": "2026-11-23T10:00:00Z"}}, 0),
        ("events", {"sequence": {"operator": "<", "value": 2}, "subject": "alert/1"}, 1),  # all must hold
        ("notifications", {"tries": 1}, 1),
        ("notifications", {"status": "sent"}, 1),
        ("notifications", {"sent_at": None}, 1),  # what has no value yet
        ("orders", {"decided_elsewhere": False}, 1),
        ("outlets", {"active": True, "country": "ES"}, 1),
    ],
)
def test_rows_are_filtered(filled: SqlStore, table: str, filters: dict[str, Any], found: int) -> None:
    assert len(listed(filled, table, **filters)) == found


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({"nothing": 1}, "there is no field 'nothing'"),
        ({"address": "alice@example.com"}, "there is no field 'address'"),  # an address cannot be guessed at
        ({"tenant": "borealis"}, "there is no field 'tenant'"),
        ({"message_id": "x"}, "there is no field 'message_id'"),  # a column that is not shown
        ({"status": {"operator": "like", "value": "s%"}}, "operator must be one of"),
        ({"status": {"operator": ["="], "value": "sent"}}, "operator must be one of"),
        ({"status": {"operator": "in", "value": ["x"] * 101}}, "at most 100"),
        ({"due_at": "yesterday"}, "not an ISO 8601 time"),
        ({"due_at": "2026-11-23T10:00:00"}, "needs an offset"),
        ({"tries": "1"}, "a whole number"),  # PostgreSQL would refuse it, SQLite find nothing
        ({"tries": True}, "a whole number"),
        ({"tries": 10**400}, "out of range"),
        ({"status": 1}, "a text"),
        ({"status": {"operator": ">", "value": None}}, "a text"),
        ({"status": "sent\x00"}, "never stored"),
        ({"status": "\ud800"}, "never stored"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused_by_name(filled: SqlStore, filters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        listed(filled, "notifications", **filters)


def test_structures_cannot_be_filtered_by(filled: SqlStore) -> None:
    with pytest.raises(ValueError, match="no field 'quantities'"):
        listed(filled, "decisions", quantities="{}")


def test_pages_are_newest_first_with_the_total_of_all(store: SqlStore) -> None:
    made = fill(store, 5)
    with store.read() as tx:
        rows, total = tx.list_rows("notifications", ACME, start=1, limit=2, filters={})
    assert total == 5
    assert [found["id"] for found in rows] == sorted((item.id for item in made), reverse=True)[1:3]


def test_addresses_of_people_are_masked_names_of_endpoints_are_not_p10(filled: SqlStore) -> None:
    shown = {found["channel"]: found["address"] for found in listed(filled, "notifications")}
    assert shown["callback"] == "erp"
    assert shown["email"] != "alice@example.com" and "alice@" not in shown["email"]


@pytest.mark.parametrize("table", sorted(LISTED))
def test_no_list_shows_secrets_contents_or_full_addresses_p10(filled: SqlStore, table: str) -> None:
    text = repr(listed(filled, table))
    assert text != "[]"
    for secret in ("alice@example.com", "+34600111222", "'form'", "'hash'"):
        assert secret not in text


def test_a_timeline_tells_what_happened_to_each_notification_p12(filled: SqlStore) -> None:
    with filled.read() as tx:
        told = {found["channel"]: found for found in tx.timeline(ACME, ABOUT.id)}
        one = tx.notification(ACME, MAIL.id)
    assert [tried["outcome"] for tried in told["email"]["attempts"]] == ["sent"]
    assert told["callback"]["attempts"] == [] and told["callback"]["status"] == "due"
    assert one == {name: value for name, value in told["email"].items() if name != "attempts"}


def test_an_event_is_found_by_our_id_and_by_the_senders(filled: SqlStore) -> None:
    with filled.read() as tx:
        assert tx.find_event(ABOUT.id) == tx.find_event(ABOUT.source_id, ACME) == ABOUT
        assert tx.find_event("nothing") is None


# -- tenants are walls -----------------------------------------------------------------------------------------------

#: Every question made for a credential, asked so that Acme has an answer. A new one has to be added here.
QUESTIONS: dict[str, Callable[[SqlReader, Any], Any]] = {
    "outlets": lambda tx, tenant: tx.outlets(tenant, [OutletCode("ES-1001")]),
    "contacts": lambda tx, tenant: tx.contacts(tenant, [OutletCode("ES-1001")]),
    "suppressed_addresses": lambda tx, tenant: tx.suppressed_addresses(tenant),
    "outlet_countries": lambda tx, tenant: tx.outlet_countries(tenant),
    "roles": lambda tx, tenant: tx.roles(tenant),
    "order": lambda tx, tenant: tx.order(tenant, ORDER.id),
    "orders_by_number": lambda tx, tenant: tx.orders_by_number(tenant, [ORDER.number]),
    "order_version": lambda tx, tenant: tx.order_version(tenant, ORDER.id, 1),
    "decision": lambda tx, tenant: tx.decision(tenant, DECISION.id),
    "last_decision": lambda tx, tenant: tx.last_decision(tenant, ORDER.id),
    "times_undone": lambda tx, tenant: tx.times_undone(tenant, ORDER.id),
    "number_state": lambda tx, tenant: tx.number_state(tenant, ORDER.id, ALICE),
    "open_numbers": lambda tx, tenant: tx.open_numbers(tenant, RecipientKey(ALICE), NOW),
    "event": lambda tx, tenant: tx.event(tenant, ABOUT.id),
    "told_of": lambda tx, tenant: tx.told_of(tenant, ABOUT.subject, "alert_opened"),
    "known_events": lambda tx, tenant: tx.known_events(tenant, [(SOURCE, ABOUT.source_id)]),
    "subject_states": lambda tx, tenant: tx.subject_states(tenant, [ABOUT.subject]),
    "frozen_messages": lambda tx, tenant: tx.frozen_messages(tenant, ABOUT.id),
    "find_event": lambda tx, tenant: tx.find_event(ABOUT.id, tenant),
    "list_rows": lambda tx, tenant: [
        found for table in LISTED for found in tx.list_rows(table, tenant, start=0, limit=10, filters={})[0]
    ],
    "lanes_waited_for": lambda tx, tenant: tx.lanes_waited_for(tenant, ABOUT.id),
    "timeline": lambda tx, tenant: tx.timeline(tenant, ABOUT.id),
    "notification": lambda tx, tenant: tx.notification(tenant, MAIL.id),
    "quarantined": lambda tx, tenant: tx.quarantined(tenant, ENTRY.id),
    "api_keys": lambda tx, tenant: tx.api_keys(tenant),
}
#: Asked for no credential: a verified link, the deployment's own state, a key by its secret.
NOT_FOR_A_TENANT = {
    "link", "link_by_code", "policy_version", "policy_text", "api_key", "lane_stats", "latencies", "count_unrouted",
    "lane_views", "lane_counts",
    "unrouted_since", "provider_ids",
    "schema_version", "sessions", "switches", "waiting_in", "anything_held", "what_is_left",
}  # fmt: skip


def test_every_question_is_either_asked_here_or_listed_as_an_exception_p11() -> None:
    methods = {name for name, _ in inspect.getmembers(SqlReader, inspect.isfunction) if not name.startswith("_")}
    assert methods - {"insert_new", "upsert", "locked"} == set(QUESTIONS) | NOT_FOR_A_TENANT


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_a_tenant_sees_nothing_of_another_p11(filled: SqlStore, name: str) -> None:
    """A foreign id and a missing one are answered alike: with nothing."""
    ask = QUESTIONS[name]
    with filled.read() as tx:
        assert ask(tx, ACME)
        assert not ask(tx, BOREALIS)
        assert ask(tx, BOREALIS) == ask(tx, "missing")
