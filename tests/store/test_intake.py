"""accept's questions: identity, subjects and their order, quarantine, orders and their versions."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from notifier.core.event_data import OrderData
from notifier.core.ids import EventId, OrderId, OutletCode, new_id
from notifier.core.orders import Order, OrderStatus
from notifier.core.records import QuarantineEntry, SubjectState
from notifier.errors import StoreError
from notifier.store import SqlStore
from notifier.testing import ACME, BOREALIS, NOW, SOURCE, event
from tests.peers.process import wait_until


def test_known_events_are_found_by_source_and_id_of_the_same_tenant(store: SqlStore) -> None:
    mine, theirs = event(), event(BOREALIS, source_id="theirs")
    with store.write() as tx:
        tx.save_events([mine, theirs])
        keys = [(SOURCE, mine.source_id), (SOURCE, "theirs"), ("/other", mine.source_id), (SOURCE, mine.source_id)]
        assert tx.known_events(ACME, keys) == {(SOURCE, mine.source_id): (mine.id, mine.content_hash)}
        assert tx.known_events(ACME, []) == {}


def test_more_keys_than_one_statement_takes_are_looked_up(store: SqlStore) -> None:
    many = [event(subject=f"alert/{number}") for number in range(450)]
    with store.write() as tx:
        tx.save_events(many)
        assert len(tx.known_events(ACME, [(SOURCE, item.source_id) for item in many])) == 450


def test_two_events_of_a_subject_cannot_have_one_sequence(store: SqlStore) -> None:
    with store.write() as tx:
        tx.save_events([event(sequence=1)])
    with pytest.raises(StoreError) as error, store.write() as tx:
        tx.save_events([event(sequence=1, source_id="another")])
    assert error.value.conflict


def test_subjects_are_absent_until_saved_and_then_replaced(store: SqlStore) -> None:
    first = SubjectState(ACME, "alert/1", SOURCE, 1, {"status": "open"})
    with store.write() as tx:
        assert tx.lock_subjects(ACME, ["alert/1"]) == {}
        tx.save_subjects([first])
        assert tx.lock_subjects(ACME, ["alert/2", "alert/1"]) == {"alert/1": first}
        tx.save_subjects([replace(first, sequence=2)])
        assert tx.lock_subjects(ACME, ["alert/1"])["alert/1"].sequence == 2
        assert tx.lock_subjects(BOREALIS, ["alert/1"]) == {}


def test_a_second_writer_waits_for_a_subject_that_does_not_exist_yet(store: SqlStore) -> None:
    """Both name the same new subject, in another order: the second sees what the first wrote, and nobody deadlocks."""
    begun, seen = threading.Event(), []

    def second() -> None:
        begun.set()
        with store.write() as tx:
            seen.append(tx.lock_subjects(ACME, ["b", "a"]))

    thread = threading.Thread(target=second)
    with store.write() as tx:
        tx.lock_subjects(ACME, ["a", "b"])
        thread.start()
        begun.wait(5)
        thread.join(0.1)
        assert seen == []
        tx.save_subjects([SubjectState(ACME, "a", SOURCE, 1), SubjectState(ACME, "b", SOURCE, 1)])
    thread.join(15)
    assert [sorted(found) for found in seen] == [["a", "b"]]


def test_subjects_are_locked_in_sorted_order_whatever_the_order_of_the_names(store: SqlStore) -> None:
    """Ten rounds of two writers that name the same pair crosswise: a lock taken as named would deadlock."""
    with store.write() as tx:
        tx.save_subjects([SubjectState(ACME, name, SOURCE, 0) for name in ("a", "b")])
    failures: list[Exception] = []

    def work(names: list[str]) -> None:
        try:
            for _ in range(10):
                with store.write() as tx:
                    states = tx.lock_subjects(ACME, names)
                    tx.save_subjects([replace(states[name], sequence=states[name].sequence + 1) for name in names])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(names,)) for names in (["a", "b"], ["b", "a"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    with store.write() as tx:
        assert [state.sequence for state in tx.lock_subjects(ACME, ["a", "b"]).values()] == [20, 20]


def test_a_quarantined_event_is_released_once_p8(store: SqlStore) -> None:
    entry = QuarantineEntry(new_id(), ACME, "key", NOW, "invalid", "data", "no", "{", SOURCE, "1")
    with store.write() as tx:
        tx.save_quarantine([entry])
        assert not tx.mark_released(BOREALIS, entry.id, EventId("e"), NOW)
        assert tx.mark_released(ACME, entry.id, EventId("e"), NOW)
        assert not tx.mark_released(ACME, entry.id, EventId("f"), NOW)
        found = tx.quarantined(ACME, entry.id)
    assert found == replace(entry, released_at=NOW, released_event_id=EventId("e"))


def test_what_is_in_quarantine_already_stays_as_it_is(store: SqlStore) -> None:
    entry = QuarantineEntry(new_id(), ACME, "key", NOW, "invalid", "data", "no", "{", SOURCE, "1")
    with store.write() as tx:
        tx.save_quarantine([entry])
        tx.save_quarantine([replace(entry, received_at=NOW + timedelta(hours=1)), entry])
        assert tx.list_rows("quarantine", ACME, start=0, limit=9, filters={})[1] == 1
        assert tx.quarantined(ACME, entry.id) == entry


# -- orders ------------------------------------------------------------------------------------------------------


def make_order(number: str = "1042", cases: int = 12) -> Order:
    """A pending order."""
    line = {"sku": "5", "name": "Cola", "suggested_cases": cases}
    data = OrderData.model_validate({"order_number": number, "outlet": {"code": "ES-1001"}, "lines": [line]})
    return Order(
        id=OrderId(new_id()),
        tenant=ACME,
        number=number,
        outlet=OutletCode("ES-1001"),
        status=OrderStatus.PENDING,
        version=1,
        data=data,
        event_id=EventId(new_id()),
        deadline=None,
        answer_by=None,
        created_at=NOW,
    )


def test_an_order_keeps_the_data_of_each_version(store: SqlStore) -> None:
    first = make_order(cases=12)
    second = replace(first, version=2, data=make_order(cases=20).data)
    with store.write() as tx:
        tx.save_order(first)
        tx.save_order(second)
        assert tx.lock_order(ACME, first.id) == second
    with store.read() as tx:
        assert tx.order(ACME, first.id) == second
        cases = [(tx.order_version(ACME, first.id, version) or {})["lines"][0]["suggested_cases"] for version in (1, 2)]
        assert cases == [12, 20]
        assert tx.order_version(ACME, first.id, 3) is None
        assert tx.order(BOREALIS, first.id) is None


def test_the_newest_order_of_a_number_is_the_one_that_counts(store: SqlStore) -> None:
    decided, follower = replace(make_order(), status=OrderStatus.ACCEPTED), make_order()
    with store.write() as tx:
        tx.save_order(decided)
        tx.save_order(replace(follower, previous=decided.id))
        assert tx.orders_by_number(ACME, ["1042", "nothing"])["1042"].id == follower.id


def test_two_writers_of_one_order_take_turns(store: SqlStore) -> None:
    order = make_order()
    with store.write() as tx:
        tx.save_order(order)

    def raise_version() -> None:
        for _ in range(10):
            with store.write() as tx:
                found = tx.lock_order(ACME, order.id)
                assert found is not None
                tx.save_order(replace(found, version=found.version + 1))

    threads = [threading.Thread(target=raise_version) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: not any(thread.is_alive() for thread in threads), "both writers done")
    with store.read() as reading:
        after = reading.order(ACME, order.id)
    assert after is not None and after.version == 21
