"""What is read for a whole chunk of events serves each of them with its own tenant's and its own outlet's people."""

from __future__ import annotations

from dataclasses import replace

import pytest

from notifier.core.ids import OutletCode, RecipientId
from notifier.core.model import ChannelName, Contact, Event, EventType, Outlet, Recipient
from notifier.core.policy import Condition, Rule, Target, TargetKind, TenantPolicy
from notifier.core.routing import asks_people
from notifier.planning import Directory, gather
from notifier.sources.catalogue import load_catalogue
from notifier.store import SqlStore
from notifier.testing import ACME, BOREALIS, NOW, event, furnish


def test_each_event_of_a_chunk_meets_the_people_of_its_own_tenant_and_outlet_p11(store: SqlStore) -> None:
    furnish(store)
    with store.write() as tx:
        tx.save_outlets([Outlet(ACME, OutletCode("ES-2"), "High St", country="ES", timezone="Europe/Madrid")])
        erin = Recipient(RecipientId(""), ACME, "Erin", "erin@acme.example", "")
        tx.save_contacts([Contact(erin, OutletCode("ES-2"), "owner")])
        tx.suppress_address(BOREALIS, ChannelName.EMAIL, "dora@borealis.example", "bounced", NOW)
    places = [(ACME, "ES-1001"), (ACME, "ES-2"), (BOREALIS, "ES-1001"), (BOREALIS, "ES-2"), (ACME, "unknown")]
    chunk = [_at(event(tenant, source_id=f"{tenant} {code}"), code) for tenant, code in places]
    with store.read() as tx:
        directory = Directory.read(tx, chunk)
        found = [gather(tx, one, load_catalogue(), directory=directory) for one in chunk]
        alone = [gather(tx, one, load_catalogue()) for one in chunk]
    assert found == alone
    assert [sorted(contact.recipient.name for contact in facts.contacts) for facts in found] == [
        ["Alice", "Bob", "Charlie"],
        ["Erin"],
        ["Dora"],
        [],
        [],
    ]
    assert [facts.outlet.name if facts.outlet else None for facts in found] == [
        "Main St",
        "High St",
        "Main St",
        None,
        None,
    ]
    assert [len(facts.suppressed) for facts in found] == [0, 0, 1, 1, 0]


def _at(one: Event, code: str) -> Event:
    return replace(one, outlet=OutletCode(code))


def test_contacts_are_read_for_the_events_that_ask_for_people_and_for_no_others(store: SqlStore) -> None:
    furnish(store)
    asked = _at(event(source_id="1"), "ES-1001")
    silent = replace(asked, type=EventType.IMAGE_PROCESSED)
    rules = (
        Rule("people", Condition(types=("coolr.ALERT.*",)), (Target(TargetKind.ROLE, "owner"),)),
        Rule("systems", Condition(), (Target(TargetKind.ENDPOINT, "erp"),)),
    )
    policy = TenantPolicy(ACME, "Acme", rules=rules)
    with store.read() as tx:
        known, other = (Directory.read(tx, [one], lambda one: asks_people(one.type, policy)) for one in (asked, silent))
    place = (ACME, OutletCode("ES-1001"))
    assert [contact.recipient.name for contact in known.contacts[place]] == ["Alice", "Bob", "Charlie"]
    assert place not in other.contacts
    assert place in other.outlets


@pytest.mark.parametrize(
    ("policy", "types"),
    [
        (TenantPolicy(ACME, "Acme"), {EventType.DECISION_RECORDED, EventType.DECISION_UNDONE}),  # told before
        (TenantPolicy(ACME, "Acme", default=(Target(TargetKind.ROLE, "owner"),)), set(EventType)),
        (
            TenantPolicy(ACME, "Acme", rules=(Rule("r", Condition(), (Target(TargetKind.CARRIED, ""),)),)),
            set(EventType),
        ),
    ],
)
def test_whether_people_can_be_asked_for_is_told_by_the_rules(policy: TenantPolicy, types: set[EventType]) -> None:
    assert {type_ for type_ in EventType if asks_people(type_, policy)} == types
