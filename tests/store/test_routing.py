"""route's questions: whose turn it is, what is set aside, what is overtaken, who was told."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text, update

from notifier.core.ids import EventId, LinkId, RecipientKey, SessionId, TenantId, new_id
from notifier.core.model import ChannelName, ClaimRequest, Event, LinkPlan, NotificationStatus
from notifier.core.records import WorkerSession
from notifier.store import SqlStore, unrouted
from notifier.store.tables import events
from notifier.testing import ACME, BOREALIS, NOW, event, notification


def take(store: SqlStore, limit: int = 25, shared: int | None = None) -> list[EventId]:
    """Take events and mark them routed."""
    with store.write() as tx:
        ids = [item.id for item in tx.take_unrouted(limit, NOW, shared=shared)]
        tx.mark_routed(ids, NOW)
        return ids


def save(store: SqlStore, *made: Event) -> None:
    """Accept events."""
    with store.write() as tx:
        tx.save_events(made)


def test_events_are_taken_in_order_and_once(store: SqlStore) -> None:
    made = [event(subject=f"alert/{number}") for number in range(5)]
    save(store, *made)
    assert [take(store, 3), take(store), take(store)] == [[e.id for e in made[:3]], [e.id for e in made[3:]], []]


def test_a_flood_of_one_tenant_keeps_nobody_waiting_for_more_than_a_short_chunk(store: SqlStore) -> None:
    """Tenants take turns, the one with the oldest event first; alone a tenant gets the whole chunk."""
    flood = [event(subject=f"alert/{number}") for number in range(40)]
    few = [event(BOREALIS, subject=f"alert/{number}") for number in range(3)]
    save(store, *flood, *few)
    assert take(store, 10, shared=4) == [flood[0].id, few[0].id, flood[1].id, few[1].id]
    assert take(store, 10, shared=4) == [flood[2].id, few[2].id, flood[3].id]
    assert take(store, 10, shared=4) == [e.id for e in flood[4:14]]


def test_each_of_many_tenants_gets_one_and_the_longest_waiting_come_first(store: SqlStore) -> None:
    made = [
        event(TenantId(f"tenant-{9 - number}"), subject=f"alert/{turn}") for turn in range(2) for number in range(6)
    ]
    save(store, *made)
    assert take(store, 5, shared=2) == [e.id for e in made[:5]]
    assert take(store, 20, shared=2) == [made[number].id for number in (5, 6, 7, 8, 9, 10)]


def test_a_flood_about_one_object_is_routed_one_at_a_time_and_in_order(store: SqlStore) -> None:
    flood, beside = [event(sequence=number) for number in (1, 2, 3)], event(BOREALIS)
    save(store, *flood, beside)
    assert [take(store) for _ in flood] == [[flood[0].id, beside.id], [flood[1].id], [flood[2].id]]


def test_what_is_set_aside_takes_no_turn(store: SqlStore) -> None:
    aside, flood = event(BOREALIS), [event(subject=f"alert/{number}") for number in range(6)]
    save(store, aside, *flood)
    with store.write() as tx:
        tx.set_aside([aside.id], "its tenant is not configured", NOW)
    assert take(store, 6, shared=2) == [e.id for e in flood]


def test_a_tenant_whose_events_are_being_routed_does_not_hold_up_the_next(store: SqlStore) -> None:
    """On PostgreSQL the second router answers while the first is at work; SQLite has one writer at a time."""
    mine, other = event(ACME), event(BOREALIS)
    save(store, mine, other)
    taken: list[list[EventId]] = []
    beside = threading.Thread(target=lambda: taken.append(take(store, 1)))
    with store.write() as tx:
        assert [item.id for item in tx.take_unrouted(1, NOW)] == [mine.id]
        beside.start()
        if store.url.get_backend_name() == "postgresql":
            beside.join(10)
            assert taken == [[other.id]]
        tx.mark_routed([mine.id], NOW)
    beside.join(10)
    assert taken == [[other.id]]


def test_the_oldest_event_that_waits_is_known_whosever_it_is(store: SqlStore) -> None:
    with store.read() as tx:
        assert tx.unrouted_since() is None
    first, late = event(BOREALIS, received_at=NOW), event(ACME, received_at=NOW + timedelta(seconds=5))
    save(store, late, first)
    with store.read() as tx:
        assert tx.unrouted_since() == NOW
    take(store, 1)
    with store.read() as tx:
        assert tx.unrouted_since() == late.received_at


@pytest.mark.parametrize("counted", ["never", "when all was routed", "while they wait"])
def test_what_is_read_for_a_chunk_does_not_grow_with_what_waits(store: SqlStore, counted: str) -> None:
    """Whatever the planner knows: a system that was idle for an hour believes that nothing ever waits."""
    save(store, *(event(subject=f"alert/{number}") for number in range(200)))
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE events SET routed_at = 1"))
    _count(store, counted == "when all was routed")
    # Long names make one index higher than the other, which is enough for a planner that takes both for empty.
    save(store, *(event(subject=f"alert/{number:0100}") for number in range(3_000)), event(BOREALIS))
    _count(store, counted == "while they wait")
    with store.engine.begin() as connection:
        on_postgresql = connection.dialect.name == "postgresql"
        known: dict[str, Any] = {"tenants": [ACME], "owner": ACME}
        for statement in (unrouted.WAITING, unrouted.TAKE_OF_ALL if on_postgresql else unrouted.TAKE):
            made = statement.compile(dialect=connection.dialect)
            values = {name: known.get(name, 50) for name in made.params}
            explain = "EXPLAIN (ANALYZE, BUFFERS)" if on_postgresql else "EXPLAIN QUERY PLAN"
            given = tuple(values[name] for name in made.positiontup or ())
            plan = "\n".join(str(row) for row in connection.exec_driver_sql(f"{explain} {made}", given))
            assert "ix_events_unrouted" in plan
            assert not re.search(r"pk_events|Seq Scan|SCAN (events|first|later|line)\b(?! USING)", plan), plan
            if on_postgresql:
                read = re.search(r"Buffers: shared hit=(\d+)", plan)
                assert read, plan
                assert int(read[1]) < 1_000, plan  # pages of 8 KB


def _count(store: SqlStore, now: bool) -> None:
    """Let PostgreSQL count what is in its tables, as it does by itself from time to time; SQLite never does."""
    if now and store.engine.dialect.name == "postgresql":
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM"))
            connection.execute(text("ANALYZE"))


def test_an_event_comes_back_as_it_was_accepted(store: SqlStore) -> None:
    made = event(data={"text": "ñ — 冷", "value": 1.5})
    save(store, made)
    with store.write() as tx:
        assert tx.take_unrouted(1, NOW) == [made]


def test_of_an_object_only_the_first_event_in_line_is_taken(store: SqlStore) -> None:
    """By sequence, not by id: ids of two hosts need not be in order."""
    second, first = event(sequence=2), event(sequence=1)
    other, foreign = event(subject="alert/2"), event(BOREALIS, sequence=2)
    save(store, second, first, other, foreign)
    assert take(store) == [first.id, foreign.id, other.id]
    assert take(store) == [second.id]


def test_another_router_does_not_overtake_one_that_is_at_work(store: SqlStore) -> None:
    """While the opening is being routed, the closing of the same alert waits; other objects do not (PostgreSQL)."""
    opening, closing, other = event(sequence=1), event(sequence=2), event(subject="alert/2")
    save(store, opening, closing, other)
    taken: list[list[EventId]] = []
    beside = threading.Thread(target=lambda: taken.append(take(store)))
    with store.write() as tx:
        assert [item.id for item in tx.take_unrouted(1, NOW)] == [opening.id]
        beside.start()
        beside.join(0.3)  # PostgreSQL answers now; SQLite when this transaction is over
        tx.mark_routed([opening.id], NOW)
    beside.join(10)
    at_once = store.url.get_backend_name() == "postgresql"
    assert taken == [[other.id] if at_once else [closing.id, other.id]]


@pytest.mark.parametrize(
    "damage",
    [
        {"type": "coolr.from.the.future"},  # written by a newer program
        {"recipients": [{"channel": "email"}]},  # a field is missing
        {"recipients": [{"channel": "pigeon", "address": "", "name": "", "language": None}]},  # an unknown word
    ],
)
def test_a_row_that_cannot_be_read_does_not_hold_up_the_others_p12(store: SqlStore, damage: dict[str, object]) -> None:
    bad, good = event(), event(subject="alert/2")
    save(store, bad, good)
    with store.engine.begin() as connection:
        connection.execute(update(events).where(events.c.id == bad.id).values(damage))
    assert take(store) == [good.id]
    assert take(store) == []
    with store.read() as tx:
        rows, _ = tx.list_rows("events", ACME, start=0, limit=10, filters={})
    problems = {found["id"]: found["routing_problem"] for found in rows}
    assert problems[good.id] is None and "cannot be read" in problems[bad.id]


def test_events_set_aside_are_routed_again_when_a_configuration_is_applied(store: SqlStore) -> None:
    made = event()
    save(store, made)
    with store.write() as tx:
        tx.set_aside([made.id], "its tenant is not configured", NOW)
        tx.save_policy("", "test", NOW)
    assert take(store) == [made.id]


def test_what_is_routed_is_not_set_aside(store: SqlStore) -> None:
    made = event()
    save(store, made)
    take(store)
    with store.write() as tx:
        tx.set_aside([made.id], "too late", NOW)
        tx.save_policy("", "test", NOW)
        assert tx.count_unrouted() == 0


def test_only_what_is_due_for_these_channels_and_kinds_is_cancelled(store: SqlStore) -> None:
    about = event()
    mail, text = notification(about), notification(about, channel=ChannelName.SMS, address="+34600111222")
    call = notification(about, channel=ChannelName.CALLBACK, address="erp")
    save(store, about)
    people = (ChannelName.EMAIL, ChannelName.SMS)
    with store.write() as tx:
        tx.save_notifications([mail, text, call], NOW)
        tx.start_session(WorkerSession(SessionId("s"), "host", 1, NOW, NOW))
        [claimed] = tx.claim(ClaimRequest(SessionId("s"), 10, 10, (ChannelName.SMS,)), NOW)
        assert claimed.id == text.id
        assert tx.cancel_due(ACME, about.subject, ["order_recommended"], people, "x", NOW) == 0
        assert tx.cancel_due(BOREALIS, about.subject, ["alert_opened"], people, "x", NOW) == 0
        assert tx.cancel_due(ACME, about.subject, ["alert_opened"], people, "overtaken", NOW) == 1
    with store.read() as reading:
        found = {item["id"]: (item["status"], item["reason"]) for item in reading.timeline(ACME, about.id)}
    assert found == {mail.id: ("cancelled", "overtaken"), text.id: ("claimed", None), call.id: ("due", None)}


def test_told_are_those_for_whom_something_was_made_that_was_not_called_off(store: SqlStore) -> None:
    about = event()
    told = notification(about)
    silent = notification(about, address="bob@example.com", status=NotificationStatus.SUPPRESSED, message=None)
    save(store, about)
    with store.write() as tx:
        tx.save_notifications([told, silent], NOW)
        assert tx.told_of(ACME, about.subject, "alert_opened") == {(ChannelName.EMAIL, told.address)}
        assert tx.told_of(ACME, about.subject, "alert_closed") == frozenset()
        assert tx.told_of(BOREALIS, about.subject, "alert_opened") == frozenset()
        tx.cancel_due(ACME, about.subject, ["alert_opened"], [ChannelName.EMAIL], "x", NOW)
        assert tx.told_of(ACME, about.subject, "alert_opened") == frozenset()


def test_links_are_found_by_id_and_code_and_can_be_revoked_p7(store: SqlStore) -> None:
    about = event()
    plan = LinkPlan(
        LinkId(new_id()), ACME, RecipientKey("alice"), None, "order", "order/1", 1, NOW, about.id, True, "hash"
    )
    save(store, about)
    with store.write() as tx:
        tx.save_notifications([notification(about, links=(plan,))], NOW)
        assert tx.link_by_code("hash") == tx.link(plan.id)
        assert tx.link(LinkId("nothing")) is None and tx.link_by_code("nothing") is None
        assert tx.revoke_links(BOREALIS, "order/1", NOW) == 0
        assert tx.revoke_links(ACME, "order/1", NOW) == 1
        found = tx.link(plan.id)
    assert found is not None and found.revoked_at == NOW and found.may_act
