"""Switches: a claim leaves out what is off, held rows come back when nothing stops them, and lanes are not touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from notifier.core.ids import SessionId, TenantId, new_id
from notifier.core.model import ChannelName, ClaimRequest, Event, EventType, NewNotification
from notifier.core.records import WorkerSession
from notifier.core.switches import Switch, stopped_by
from notifier.store import SqlStore
from notifier.store import switches as switches_module
from notifier.store.tables import lanes, notifications
from notifier.testing import ACME, BOREALIS, NOW, event, notification

pytestmark = pytest.mark.usefixtures("proven_lanes")

EMAIL, SMS, CALLBACK = ChannelName.EMAIL, ChannelName.SMS, ChannelName.CALLBACK
SESSION = SessionId(new_id())


def switch(tenant: str = "", channel: str = "", kind: str = "", endpoint: str = "") -> Switch:
    return Switch(new_id(), tenant, channel, kind, endpoint, "a test", "operator:ana", NOW)


def filled(store: SqlStore, rows: Sequence[NewNotification], events: Sequence[Event]) -> None:
    with store.write() as tx:
        tx.save_events(events)
        tx.save_notifications(rows, NOW)
        tx.start_session(WorkerSession(SESSION, "host", 1, NOW, NOW))


@pytest.fixture
def five(store: SqlStore) -> dict[str, NewNotification]:
    """One row of each lane that matters: two tenants, three channels, two endpoints, two event types."""
    opened, order = event(subject="alert/1"), event(subject="order/1", type=EventType.ORDER_RECOMMENDED)
    foreign = event(BOREALIS, subject="alert/1")
    rows = {
        "mail": notification(opened),
        "text": notification(opened, SMS, "+34600111222"),
        "erp": notification(opened, CALLBACK, "erp", target="erp"),
        "crm": notification(opened, CALLBACK, "crm", target="crm"),
        "order": notification(order),
        "foreign": notification(foreign),
    }
    filled(store, list(rows.values()), [opened, order, foreign])
    return rows


def turn_off(store: SqlStore, *off: Switch) -> None:
    with store.write() as tx:
        assert [tx.switch_off(one) for one in off] == [True] * len(off)


def claimed(store: SqlStore, five: dict[str, NewNotification]) -> set[str]:
    names = {row.id: name for name, row in five.items()}
    with store.write() as tx:
        return {names[row.id] for row in tx.claim(ClaimRequest(SESSION, 100, 100), NOW)}


def status(store: SqlStore, row: NewNotification) -> tuple[str, str | None]:
    with store.read() as tx:
        found = tx.connection.execute(
            select(notifications.c.status, notifications.c.reason).where(notifications.c.id == row.id)
        ).one()
        return found.status, found.reason


OFF: list[tuple[Switch, set[str]]] = [
    (switch("acme"), {"mail", "text", "erp", "crm", "order"}),
    (switch(channel="sms"), {"text"}),
    (switch("borealis", "email"), {"foreign"}),
    (switch("acme", endpoint="erp"), {"erp"}),
    (switch("acme", "callback", endpoint="crm"), {"crm"}),
    (switch(), {"mail", "text", "erp", "crm", "order", "foreign"}),
    (switch(kind="alert_opened"), {"mail", "text", "erp", "crm", "foreign"}),
    (switch("acme", "email", "order_recommended"), {"order"}),
    (switch("acme", kind="alert_opened", endpoint="erp"), {"erp"}),
    (switch("acme", endpoint="email"), set()),  # no endpoint is meant by a lane of mail
    (switch("charlie"), set()),
]


@pytest.mark.parametrize(("off", "stopped"), OFF, ids=lambda value: str(value) if isinstance(value, Switch) else "")
def test_a_claim_leaves_out_what_is_off_and_nothing_else(
    store: SqlStore, five: dict[str, NewNotification], off: Switch, stopped: set[str]
) -> None:
    turn_off(store, off)
    assert claimed(store, five) == set(five) - stopped
    assert {name for name, row in five.items() if status(store, row)[0] != "claimed"} == stopped
    told = {name for name, r in five.items() if stopped_by([off], r.tenant, r.channel, r.kind, r.address)}
    assert told == stopped  # what people are told is what the claim does
    with store.write() as tx:
        assert tx.switch_on(off.id)
        tx.release_held(NOW)
    assert claimed(store, five) == stopped


def test_turning_a_switch_touches_neither_lanes_nor_rows(store: SqlStore, five: dict[str, NewNotification]) -> None:
    def everything() -> list[object]:
        with store.read() as tx:
            found = (tx.connection.execute(select(table).order_by(table.c.id)) for table in (lanes, notifications))
            return [tuple(row) for rows in found for row in rows]

    before = everything()
    turn_off(store, switch("acme"), switch(kind="alert_opened"))
    assert everything() == before


def test_a_lane_that_is_off_leaves_its_rows_as_they_are_and_those_of_a_type_become_held_once(
    store: SqlStore, five: dict[str, NewNotification]
) -> None:
    turn_off(store, switch(channel="sms"), switch(kind="order_recommended"))
    claimed(store, five)
    assert status(store, five["text"]) == ("due", None)
    assert status(store, five["order"]) == ("held", "switched_off")
    with store.write() as tx:
        assert not tx.claim(ClaimRequest(SESSION, 100, 100), NOW).more, "nothing that is off is worth a look"


def test_the_same_is_turned_off_only_once(store: SqlStore) -> None:
    turn_off(store, switch("acme"), switch("acme", "sms"))
    with store.write() as tx:
        assert not tx.switch_off(switch("acme"))
        assert not tx.switch_on(new_id())
        assert [str(one) for one in tx.switches()] == ["tenant acme", "tenant acme, channel sms"]


def test_what_two_switches_stop_comes_back_with_the_second(store: SqlStore, five: dict[str, NewNotification]) -> None:
    wide, narrow = switch(kind="alert_opened"), switch("acme", "email", "alert_opened")
    turn_off(store, wide, narrow)
    claimed(store, five)
    with store.write() as tx:
        tx.switch_on(wide.id)
        assert tx.release_held(NOW) == 4
    assert status(store, five["mail"]) == ("held", "switched_off")
    assert status(store, five["foreign"]) == ("due", None)
    with store.write() as tx:
        tx.switch_on(narrow.id)
        assert tx.release_held(NOW) == 1
        assert tx.release_held(NOW) == 0
        assert not tx.anything_held()


def test_held_rows_end_with_their_useful_life_and_not_later_p12(
    store: SqlStore, five: dict[str, NewNotification]
) -> None:
    turn_off(store, switch(kind="order_recommended"))
    claimed(store, five)
    with store.write() as tx:
        assert tx.release_held(NOW + timedelta(hours=23)) == 0
        assert tx.release_held(NOW + timedelta(days=1)) == 1
    assert status(store, five["order"]) == ("expired", "switched_off")


def test_held_rows_are_cancelled_as_due_ones_are(store: SqlStore, five: dict[str, NewNotification]) -> None:
    """An order that is withdrawn while its type is off is not told of afterwards."""
    turn_off(store, switch(kind="order_recommended"))
    claimed(store, five)
    with store.write() as tx:
        assert tx.cancel_due(ACME, "order/1", ["order_recommended"], [EMAIL], "overtaken", NOW) == 1
    assert status(store, five["order"]) == ("cancelled", "overtaken")


def test_many_rows_are_held_and_released_in_pieces(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction moves more than a few hundred rows; a flood that is off does not hide the rest of its lane."""
    monkeypatch.setattr(switches_module, "MOST_HELD", 4)
    flood = [event(subject=f"opportunity/{n}", type=EventType.OPPORTUNITY_MISSED) for n in range(10)]
    alert = event(subject="alert/1")
    rows = [notification(each) for each in flood] + [notification(alert, due_at=NOW + timedelta(microseconds=1))]
    filled(store, rows, [*flood, alert])
    off, later = switch(kind="opportunity_missed"), NOW + timedelta(seconds=1)
    turn_off(store, off)
    claims = []
    for _ in range(5):
        with store.write() as tx:
            claims.append(tx.claim(ClaimRequest(SESSION, 3, 3), later))
    assert [[row.id for row in claim] for claim in claims] == [[], [], [], [rows[-1].id], []]
    assert [claim.more for claim in claims] == [True, True, True, False, False]  # the engine looks again soon
    with store.write() as tx:
        tx.switch_on(off.id)
    released = []
    for _ in range(4):
        with store.write() as tx:
            released.append(tx.release_held(later))
    assert released == [4, 4, 2, 0]


def test_lanes_come_back_with_one_delivery_under_way(
    store: SqlStore, five: dict[str, NewNotification], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switches_module, "MOST_HELD", 2)
    with store.write() as tx:
        tx.connection.execute(update(lanes).values(in_flight_window=None, claimed_at=NOW))
    off = switch("acme")
    turn_off(store, off)
    last, rounds = None, 0
    while rounds == 0 or last is not None:
        with store.write() as tx:
            last = tx.start_gently(off, last)
        rounds += 1
    assert rounds == 3
    with store.write() as tx:
        tx.switch_on(off.id)
        windows = select(lanes.c.in_flight_window, func.count()).group_by(lanes.c.in_flight_window)
        assert {tuple(row) for row in tx.connection.execute(windows)} == {(1, 4), (None, 1)}


def test_what_waits_because_of_a_switch_says_so_to_its_tenant_p12(
    store: SqlStore, five: dict[str, NewNotification]
) -> None:
    turn_off(store, switch(channel="sms"), switch("borealis"))
    with store.read() as tx:
        listed, _ = tx.list_rows("notifications", ACME, start=0, limit=10, filters={})
        told = tx.timeline(ACME, five["text"].event_id)
    assert {row["channel"] for row in listed if row["reason"] == "switched_off"} == {"sms"}
    assert {row["channel"]: row["reason"] for row in told}["sms"] == "switched_off"


WORDS = st.sampled_from(["", "a", "b"])
KINDS = st.sampled_from(["", "alert_opened", "order_recommended"])


@given(st.lists(st.builds(switch, WORDS, st.sampled_from(["", "email", "callback"]), KINDS, WORDS), max_size=4))
def test_a_switch_that_names_more_stops_no_more(off: list[Switch]) -> None:
    for tenant, channel, kind, address in (("a", EMAIL, "alert_opened", "x@a.example"), ("b", CALLBACK, "x", "a")):
        stops = stopped_by(off, TenantId(tenant), channel, kind, address)
        for one in off:
            for part in ("tenant", "channel", "kind", "endpoint"):
                wider = replace(one, **dict.fromkeys([part], ""))  # type: ignore[arg-type]  # of the texts
                if one.stops(TenantId(tenant), channel, kind, address) and part != "endpoint":
                    assert wider.stops(TenantId(tenant), channel, kind, address)
        assert (stops is None) == (not any(one.stops(TenantId(tenant), channel, kind, address) for one in off))
