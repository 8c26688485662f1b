"""Rate limits in a claim: no more rows than tokens over all lanes of a limit, and nobody else waits for them."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from notifier.core.ids import SessionId, TenantId, new_id
from notifier.core.limits import Allowances, Limit, LimitKey, Limits, limits_of
from notifier.core.model import ChannelName, ClaimRequest, Priority
from notifier.core.records import WorkerSession
from notifier.core.switches import Switch
from notifier.store import SqlStore
from notifier.testing import ACME, BOREALIS, NOW, event, notification
from tests.store.test_delivery import put_to_rest

pytestmark = pytest.mark.usefixtures("proven_lanes")

EMAIL, SMS, CALLBACK = ChannelName.EMAIL, ChannelName.SMS, ChannelName.CALLBACK
SESSION = SessionId(new_id())
MAIL, TEXTS, OWN, ERP = (LimitKey(name) for name in ("email", "sms", "sms/own", "endpoint/acme/erp"))
LIMITS = limits_of(
    [
        Limit(MAIL, 10.0, EMAIL),
        Limit(TEXTS, 1.0, SMS, but=frozenset({BOREALIS})),
        Limit(OWN, 1.0, SMS, frozenset({BOREALIS})),
        Limit(ERP, 2.0, CALLBACK, frozenset({ACME}), target="erp"),
    ]
)


@pytest.fixture
def busy(store: SqlStore) -> SqlStore:
    """Ten rows in each of eight lanes."""
    lanes = [
        (ACME, EMAIL, Priority.HIGH, ""),
        (ACME, EMAIL, Priority.LOW, ""),
        (BOREALIS, EMAIL, Priority.NORMAL, ""),
        (ACME, SMS, Priority.NORMAL, ""),
        (BOREALIS, SMS, Priority.NORMAL, ""),
        (ACME, CALLBACK, Priority.NORMAL, "erp"),
        (ACME, CALLBACK, Priority.NORMAL, "crm"),
        (BOREALIS, CALLBACK, Priority.NORMAL, "erp"),
    ]
    with store.write() as tx:
        tx.start_session(WorkerSession(SESSION, "host", 1, NOW, NOW))
        for number in range(10):
            for place, (tenant, channel, priority, target) in enumerate(lanes):
                about = event(tenant, subject=f"alert/{place}-{number}")
                tx.save_events([about])
                address = target or f"{place}-{number}"
                tx.save_notifications([notification(about, channel, address, priority, target)], NOW)
    return store


def claim(store: SqlStore, limits: Limits, tokens: dict[LimitKey, int], second: int = 0) -> Counter[tuple[str, str]]:
    """Claimed rows by tenant and channel or endpoint."""
    request = ClaimRequest(SESSION, 500, 50, allowances=Allowances(limits, tokens))
    with store.write() as tx:
        return Counter((row.tenant, row.lane.target) for row in tx.claim(request, NOW + timedelta(seconds=second)))


def test_a_limit_without_tokens_stops_its_lanes_and_no_others(busy: SqlStore) -> None:
    unlimited = {("acme", "crm"): 10, ("borealis", "erp"): 10}
    assert claim(busy, LIMITS, {}) == unlimited
    with busy.read() as tx:
        rows, _ = tx.list_rows("notifications", ACME, start=0, limit=100, filters={"status": "due", "channel": "sms"})
    assert {(row["tries"], row["reason"]) for row in rows} == {(0, None)}, "waiting costs nothing"


def test_all_lanes_of_a_limit_share_its_tokens(busy: SqlStore) -> None:
    found = claim(busy, LIMITS, {MAIL: 7, TEXTS: 1, OWN: 3, ERP: 2})
    assert found["acme", "email"] + found["borealis", "email"] == 7
    assert (found["acme", "sms"], found["borealis", "sms"], found["acme", "erp"]) == (1, 3, 2)
    assert (found["acme", "crm"], found["borealis", "erp"]) == (10, 10)


def test_tenants_take_turns_for_the_tokens_of_a_shared_limit(busy: SqlStore) -> None:
    """One token at a time reaches everybody, also those whose other lanes have turns all the time."""
    only = limits_of([Limit(MAIL, 1.0, EMAIL)])
    with busy.write() as tx:  # Borealis has nothing but mail
        tx.switch_off(Switch(new_id(), "borealis", "sms", "", "", "a test", "operator:ana", NOW))
        tx.switch_off(Switch(new_id(), "borealis", "callback", "", "", "a test", "operator:ana", NOW))
    order = [next(key for key in claim(busy, only, {MAIL: 1}, second) if key[1] == "email") for second in range(6)]
    assert sorted(order) == [("acme", "email")] * 3 + [("borealis", "email")] * 3
    assert order[0] != order[1] and order[2] != order[3]


def test_no_limit_in_force_is_no_limit(busy: SqlStore) -> None:
    with busy.write() as tx:
        assert len(tx.claim(ClaimRequest(SESSION, 500, 50), NOW)) == 80


def test_what_waits_is_counted_by_limit_and_no_further_than_asked_for(busy: SqlStore) -> None:
    with busy.read() as tx:
        assert tx.waiting_in(LIMITS, 100, NOW) == {MAIL: 30, TEXTS: 10, OWN: 10, ERP: 10}
        assert tx.waiting_in(LIMITS, 4, NOW) == {MAIL: 12, TEXTS: 4, OWN: 4, ERP: 4}
        assert tx.waiting_in(LIMITS, 100, NOW - timedelta(seconds=1)) == {}
        assert tx.waiting_in(Limits(), 100, NOW) == {}


def test_what_is_off_or_rests_wants_no_tokens(busy: SqlStore) -> None:
    with busy.write() as tx:
        tx.switch_off(Switch(new_id(), "", "sms", "", "", "a test", "operator:ana", NOW))
        [row] = tx.claim(ClaimRequest(SESSION, 1, 1, (CALLBACK,)), NOW)
    put_to_rest(busy, row.lane_id, NOW + timedelta(hours=1))
    with busy.read() as tx:
        assert set(tx.waiting_in(LIMITS, 100, NOW)) <= {MAIL, ERP}


def test_a_thousand_limits_are_no_deeper_a_question_than_one(busy: SqlStore) -> None:
    many = [
        Limit(LimitKey(f"endpoint/t{n}/e"), 1.0, CALLBACK, frozenset({TenantId(f"t{n}")}), target="e")
        for n in range(3000)
    ]
    limits = limits_of([*LIMITS, *many])
    assert claim(busy, limits, {}) == {("acme", "crm"): 10, ("borealis", "erp"): 10}
    with busy.read() as tx:
        assert set(tx.waiting_in(limits, 1, NOW)) == {MAIL, TEXTS, OWN, ERP}
