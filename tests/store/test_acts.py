"""act's questions: the first decision wins, a form counts once, wrong numbers are counted whoever tries at once."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from notifier.core.ids import DecisionId, OrderId, RecipientKey, new_id
from notifier.core.orders import Action, Decision, NumberState
from notifier.core.records import AuditEntry
from notifier.store import SqlStore
from notifier.testing import ACME, BOREALIS, NOW
from tests.four import at_once
from tests.store.test_intake import make_order

ALICE = RecipientKey("alice")
LIMIT = 2


@pytest.fixture
def order_id(store: SqlStore) -> OrderId:
    """A pending order for which Alice has a number."""
    order = make_order()
    with store.write() as tx:
        tx.save_order(order)
        tx.save_number_state(NumberState(ACME, order.id, ALICE, 3, "key"))
    return order.id


def make_decision(order_id: OrderId, nonce: str) -> Decision:
    """An acceptance."""
    return Decision(
        id=DecisionId(new_id()),
        tenant=ACME,
        order_id=order_id,
        order_version=1,
        action=Action.ACCEPT,
        quantities={"5": 12},
        reason="",
        decided_at=NOW,
        final_at=NOW + timedelta(minutes=10),
        nonce=nonce,
        recipient_key=ALICE,
        recipient_id=None,
        decided_by="Alice",
        via="email",
    )


def test_the_first_decision_wins_p6(store: SqlStore, order_id: OrderId) -> None:
    first, second = make_decision(order_id, "form 1"), make_decision(order_id, "form 2")
    with store.write() as tx:
        assert tx.save_decision(first)
        assert not tx.save_decision(second)
        assert not tx.save_decision(replace(first, id=DecisionId(new_id())))
    with store.read() as tx:
        assert tx.decision(ACME, first.id) == first
        assert tx.decision(ACME, second.id) is None
        assert tx.decision(BOREALIS, first.id) is None


def test_the_same_form_finds_its_decision_again_p6(store: SqlStore, order_id: OrderId) -> None:
    decision = make_decision(order_id, "form 1")
    with store.write() as tx:
        assert tx.decision_by_nonce(ACME, order_id, "form 1") is None
        tx.save_decision(decision)
        assert tx.decision_by_nonce(ACME, order_id, "form 1") == decision
        assert tx.decision_by_nonce(ACME, order_id, "form 2") is None
        assert tx.decision_by_nonce(BOREALIS, order_id, "form 1") is None


def test_of_four_processes_that_decide_at_once_one_wins_p6(store: SqlStore, store_url: str, order_id: OrderId) -> None:
    assert sorted(at_once(_decide, store_url, order_id)) == [False, False, False, True]


def _decide(number: int, url: str, order_id: OrderId) -> bool:
    with SqlStore(url).write() as tx:
        return tx.save_decision(make_decision(order_id, f"form of {number}"))


def test_wrong_numbers_count_up_to_the_limit(store: SqlStore, order_id: OrderId) -> None:
    with store.write() as tx:
        counts = [tx.count_wrong_number(ACME, order_id, ALICE, f"form {number}", LIMIT) for number in range(4)]
    assert counts == [1, 2, 2, 2]


def test_a_doubled_form_counts_once(store: SqlStore, order_id: OrderId) -> None:
    with store.write() as tx:
        counts = [tx.count_wrong_number(ACME, order_id, ALICE, "the same", LIMIT) for _ in range(3)]
    assert counts == [1, 1, 1]


def test_wrong_numbers_in_parallel_do_not_share_a_count(store: SqlStore, order_id: OrderId) -> None:
    counts: list[int] = []

    def guess(number: int) -> None:
        with store.write() as tx:
            counts.append(tx.count_wrong_number(ACME, order_id, ALICE, f"guess {number}", 100))

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(counts) == list(range(1, 13))


def test_somebody_without_a_number_has_no_count(store: SqlStore, order_id: OrderId) -> None:
    with store.write() as tx:
        assert tx.count_wrong_number(ACME, order_id, RecipientKey("mallory"), "form", LIMIT) == 0
        assert tx.count_wrong_number(BOREALIS, order_id, ALICE, "form", LIMIT) == 0


def test_the_first_writer_of_a_number_state_wins(store: SqlStore, order_id: OrderId) -> None:
    with store.write() as tx:
        tx.save_number_state(NumberState(ACME, order_id, ALICE, 9, "other"))
        state = tx.number_state(ACME, order_id, ALICE)
        assert state is not None and (state.round, state.key_id) == (3, "key")
        assert [found.order_id for found in tx.open_numbers(ACME, ALICE, NOW)] == [order_id]
        assert tx.open_numbers(BOREALIS, ALICE, NOW) == []


def test_audit_entries_are_kept(store: SqlStore) -> None:
    with store.write() as tx:
        tx.save_audit([AuditEntry(new_id(), ACME, NOW, "link:alice", "decision.accept", "order/1", {"version": 1})])
        tx.save_audit([])
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT actor, action FROM audit").all() == [
            ("link:alice", "decision.accept")
        ]
