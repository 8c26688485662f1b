"""Who hears of an event and who does not: each reason, each right, once per person (P2, P12)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core import samples
from notifier.core.catalogue import Entry
from notifier.core.event_data import DATA_MODELS, OrderData
from notifier.core.ids import EndpointName, EventId, OrderId, OutletCode, RecipientId, TenantId
from notifier.core.model import (
    CarriedRecipient,
    ChannelName,
    Contact,
    Event,
    EventType,
    Outlet,
    Priority,
    Purpose,
    Recipient,
    Suppression,
)
from notifier.core.orders import Order, OrderStatus
from notifier.core.policy import Condition, Endpoint, Rule, Target, TargetKind, TenantPolicy, When
from notifier.core.reasons import WHY
from notifier.core.routing import DEFAULT_RULE, TOLD_RULE, Facts, Plan, Planned, plan, recipient_key

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
ACME = TenantId("acme")
EMAIL, SMS, CALLBACK = ChannelName.EMAIL, ChannelName.SMS, ChannelName.CALLBACK
STORE = Outlet(ACME, OutletCode("ES-1"), "Main St", country="ES", language="es", market="Iberia", channel="Kiosk")


def person(name: str, *, role: str = "owner", email: str = "", phone: str = "", **more: Any) -> Contact:
    email = email or f"{name.lower()}@example.com"
    return Contact(Recipient(RecipientId(name.lower()), ACME, name, email, phone, **more), STORE.code, role)


ALICE = person("Alice", phone="+34600000001")
BOB = person("Bob", role="regional_manager")


def target(to: str, *by: ChannelName) -> Target:
    kind, _, value = to.partition(":")
    return Target(TargetKind(kind), value, by or (EMAIL,))


def rule(name: str, *to: Target, when: Condition | None = None, **more: Any) -> Rule:
    return Rule(name, when or Condition(), to, **more)


def tenant(*rules: Rule, **more: Any) -> TenantPolicy:
    return TenantPolicy(ACME, "Acme", rules=rules, **({"sms_enabled": True} | more))


def facts(type_: EventType = EventType.ALERT_OPENED, **more: Any) -> Facts:
    """The full sample of a type, at Alice's store, just now."""
    raw: Mapping[str, Any] = more.pop("data", None) or samples.DATA[type_][0]
    data = DATA_MODELS[type_].model_validate(raw)
    recipients = more.pop("recipients", ())
    event = Event(
        id=EventId("e1"),
        tenant=ACME,
        source="coolr/acme",
        source_id="1",
        type=type_,
        subject="alert/81234",
        time=more.pop("time", NOW),
        received_at=NOW,
        sequence=1,
        content_hash="",
        data=data.model_dump(mode="json"),
        outlet=STORE.code,
        recipients=recipients,
    )
    about: dict[str, Any] = {"outlet": STORE, "contacts": (ALICE, BOB)}
    return Facts(event, data, **(about | more))


def order(**more: Any) -> Order:
    data = OrderData.model_validate(samples.DATA[EventType.ORDER_RECOMMENDED][0])
    made = Order(
        OrderId("o1"), ACME, "1042", STORE.code, OrderStatus.PENDING, 1, data, EventId("e1"), None, None, NOW, None
    )
    return replace(made, **more)


def told(made: Plan) -> list[tuple[str, str]]:
    return [(item.channel.value, item.address) for item in made.notifications if item.suppressed is None]


def reasons(made: Plan) -> set[Suppression | None]:
    return {item.suppressed for item in (*made.notifications, *made.left_out)}


# -- rules ----------------------------------------------------------------------------------------------------------


def test_every_matching_rule_tells_its_people() -> None:
    made = plan(facts(), tenant(rule("a", target("role:owner")), rule("b", target("role:regional_manager"))), NOW)
    assert made.matched == ("a", "b")
    assert told(made) == [("email", "alice@example.com"), ("email", "bob@example.com")]


def test_with_match_first_later_rules_say_who_came_before_them() -> None:
    rules = (rule("a", target("role:owner")), rule("b", target("role:regional_manager")))
    made = plan(facts(), tenant(*rules, match_all=False), NOW)
    assert made.matched == ("a",)
    assert made.failing == {"b": "rule 'a' matched first"}


def test_the_default_route_serves_what_no_rule_matches_and_only_that() -> None:
    never = rule("orders", target("role:owner"), when=Condition(types=("coolr.order.*",)))
    fallback = (target("role:regional_manager"),)
    made = plan(facts(), tenant(never, default=fallback), NOW)
    assert made.matched == (DEFAULT_RULE,)
    assert told(made) == [("email", "bob@example.com")]
    assert plan(facts(), tenant(rule("all", target("role:owner")), default=fallback), NOW).matched == ("all",)


def test_nobody_is_told_when_no_rule_matches_and_the_plan_says_why_each_did_not_p12() -> None:
    made = plan(facts(), tenant(rule("orders", target("role:owner"), when=Condition(types=("coolr.order.*",)))), NOW)
    assert not (made.matched or made.notifications or made.left_out)
    assert made.failing == {"orders": "type is coolr.alert.opened, the rule wants coolr.order.*"}


# -- reasons to leave somebody out ----------------------------------------------------------------------------------

CASES: list[tuple[Suppression, dict[str, Any], dict[str, Any], Target]] = [
    # SMS is an entitlement of the tenant, off by default
    (Suppression.NOT_IN_PLAN, {}, {"sms_enabled": False}, target("role:owner", SMS)),
    # Bob has no phone
    (Suppression.NO_ADDRESS, {}, {}, target("role:regional_manager", SMS)),
    # an address nobody could write to
    (Suppression.BAD_ADDRESS, {"contacts": (person("Eve", email="eve@@x"),)}, {}, target("role:owner")),
    # a number outside the tenant's own list
    (Suppression.COUNTRY_NOT_ALLOWED, {}, {"countries": ("PT",)}, target("role:owner", SMS)),
    # a premium number (Spanish 803)
    (Suppression.PREMIUM_NUMBER, {"contacts": (person("Eve", phone="+34803123456"),)}, {}, target("role:owner", SMS)),
    # STOP or a hard bounce
    (Suppression.OPTED_OUT, {"suppressed": frozenset({(EMAIL, "alice@example.com")})}, {}, target("role:owner")),
    # the directory says no longer
    (Suppression.INACTIVE, {"contacts": (person("Eve", active=False),)}, {}, target("role:owner")),
    # a role without anybody
    (Suppression.NOBODY_IN_ROLE, {}, {}, target("role:sales_rep")),
    # an outlet that was never imported
    (Suppression.UNKNOWN_OUTLET, {"outlet": None, "contacts": ()}, {}, target("role:owner")),
    # wants SMS only
    (Suppression.CHANNEL_NOT_WANTED, {"contacts": (person("Eve", channels=(SMS,)),)}, {}, target("role:owner")),
    # subscribed to orders only
    (
        Suppression.ENDPOINT_FILTER,
        {},
        {"endpoints": (Endpoint(EndpointName("erp"), "https://erp.example", ("env:S",), ("coolr.order.*",)),)},
        target("endpoint:erp"),
    ),
    # configured no more
    (Suppression.ENDPOINT_DISABLED, {}, {}, target("endpoint:gone")),
    # older than an alert is worth telling
    (Suppression.TOO_LATE, {"time": NOW - timedelta(hours=25)}, {}, target("role:owner")),
]


@pytest.mark.parametrize(("reason", "about", "policy", "to"), CASES, ids=[case[0].value for case in CASES])
def test_who_is_left_out_stays_in_the_plan_with_the_reason_p12(
    reason: Suppression, about: dict[str, Any], policy: dict[str, Any], to: Target
) -> None:
    made = plan(facts(**about), tenant(rule("r", to), **policy), NOW)
    assert told(made) == []
    assert [item.suppressed for item in made.notifications] == [reason]
    assert made.notifications[0].address


def test_people_without_an_address_are_kept_one_by_one_and_a_role_without_people_once_p12() -> None:
    people = tuple(person(name, role="driver") for name in ("Dan", "Dora"))
    rules = (rule("a", target("role:driver", SMS), target("role:cook")), rule("b", target("role:cook")))
    made = plan(facts(contacts=people), tenant(*rules), NOW)
    assert [item.address for item in made.notifications] == ["person:dan", "person:dora", "role:cook"]


def test_an_endpoint_that_answered_gone_is_left_alone() -> None:
    endpoint = Endpoint(EndpointName("erp"), "https://erp.example", ("env:S",))
    gone = facts(suppressed=frozenset({(CALLBACK, "erp")}))
    made = plan(gone, tenant(rule("r", target("endpoint:erp")), endpoints=(endpoint,)), NOW)
    assert reasons(made) == {Suppression.ENDPOINT_DISABLED}


def test_every_reason_has_a_sentence() -> None:
    assert set(WHY) == set(Suppression)


# -- countries ------------------------------------------------------------------------------------------------------

COUNTRIES: list[tuple[str, tuple[str, ...], frozenset[str], str, bool]] = [
    ("the outlet's own country", (), frozenset(), "+34600000001", True),
    ("another country in which the tenant has outlets", (), frozenset({"ES", "PT"}), "+351912345678", True),
    ("a country in which it has none", (), frozenset({"ES"}), "+351912345678", False),
    ("the tenant's list replaces the default", ("PT",), frozenset({"ES"}), "+351912345678", True),
    ("and takes the outlet's country away", ("PT",), frozenset({"ES"}), "+34600000001", False),
    ("a satellite network has no country", (), frozenset({"ES"}), "+883510012345678", False),
]


@pytest.mark.parametrize(("_", "listed", "outlets", "phone", "sent"), COUNTRIES, ids=[case[0] for case in COUNTRIES])
def test_numbers_go_to_the_tenants_countries_by_default_those_of_its_outlets(
    _: str, listed: tuple[str, ...], outlets: frozenset[str], phone: str, sent: bool
) -> None:
    about = facts(contacts=(person("Alice", phone=phone),), countries=outlets)
    made = plan(about, tenant(rule("r", target("role:owner", SMS)), countries=listed), NOW)
    assert [reason is None for reason in reasons(made)] == [sent]


def test_a_carried_number_abroad_is_refused_although_the_outlet_has_no_country() -> None:
    carried = (CarriedRecipient(SMS, "+351912345678"),)
    about = facts(recipients=carried, outlet=None, contacts=())
    assert reasons(plan(about, tenant(rule("r", target("carried"))), NOW)) == {Suppression.COUNTRY_NOT_ALLOWED}


def test_a_number_that_stands_in_a_rule_needs_no_outlet_in_its_country() -> None:
    policy = tenant(rule("r", target("address:+351912345678")))
    assert told(plan(facts(), policy, NOW)) == [("sms", "+351912345678")]
    assert reasons(plan(facts(), replace(policy, countries=("ES",)), NOW)) == {Suppression.COUNTRY_NOT_ALLOWED}


# -- once per person ------------------------------------------------------------------------------------------------


def test_one_person_in_two_roles_gets_one_message_with_the_rights_of_both_p2() -> None:
    both = (person("Alice", role="regional_manager"), person("Alice", role="owner"))
    rules = (rule("a", target("role:regional_manager"), links=False), rule("b", target("role:owner")))
    made = plan(facts(EventType.ORDER_RECOMMENDED, contacts=both, order=order()), tenant(*rules), NOW)
    assert [(item.may_act, item.links, item.role) for item in made.notifications] == [(True, True, "owner")]
    assert [item.suppressed for item in made.left_out] == [Suppression.DUPLICATE_ADDRESS]


def test_links_of_either_rule_are_kept_and_the_more_urgent_wins_p2() -> None:
    both = (person("Alice", role="driver"), person("Alice", role="regional_manager"))
    rules = (
        rule("a", target("role:driver"), links=False, priority=Priority.LOW),
        rule("b", target("role:regional_manager"), priority=Priority.HIGH),
    )
    (only,) = plan(facts(contacts=both), tenant(*rules), NOW).notifications
    assert (only.links, only.may_act, only.priority) == (True, False, Priority.HIGH)


def test_a_right_without_links_gives_no_right_through_another_role() -> None:
    """The rule that reaches the owner switched links off: the manager's rule gives links to look at, not to act."""
    both = (person("Alice", role="owner"), person("Alice", role="regional_manager"))
    rules = (rule("a", target("role:owner"), links=False), rule("b", target("role:regional_manager")))
    (only,) = plan(facts(EventType.ORDER_RECOMMENDED, contacts=both, order=order()), tenant(*rules), NOW).notifications
    assert (only.links, only.may_act) == (True, False)


def test_somebody_of_the_directory_is_not_taken_for_a_bare_address() -> None:
    rules = (rule("a", target("address:ALICE@example.com")), rule("b", target("role:owner")))
    (only,) = plan(facts(), tenant(*rules), NOW).notifications
    assert (only.recipient_id, only.name) == ("alice", "Alice")


def test_a_rule_that_may_tell_overrules_one_that_may_not() -> None:
    """Updates go to people only where a rule says so: the other rule does not silence this one."""
    rules = (rule("a", target("role:owner")), rule("b", target("role:owner"), updates=True))
    made = plan(facts(EventType.ALERT_UPDATED), tenant(*rules), NOW)
    assert [item.rule for item in made.notifications if item.suppressed is None] == ["b"]
    assert [item.suppressed for item in made.left_out] == [Suppression.UPDATES_NOT_WANTED]


@given(
    st.lists(
        st.tuples(st.sampled_from(["alice@example.com", "Alice@Example.com", "bob@example.com"]), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
def test_no_address_is_ever_told_twice_whatever_the_rules_p2(wanted: list[tuple[str, bool]]) -> None:
    rules = [rule(f"r{number}", target(f"address:{to}"), links=links) for number, (to, links) in enumerate(wanted)]
    made = plan(facts(), tenant(*rules), NOW)
    keys = [(item.channel, item.address, item.purpose) for item in made.notifications]
    assert len(keys) == len(set(keys)) == len({to.lower() for to, _ in wanted})
    assert len(made.notifications) + len(made.left_out) == len(wanted)


# -- who may act ----------------------------------------------------------------------------------------------------


def test_only_directory_contacts_whose_role_may_decide_get_action_links() -> None:
    carried = (
        CarriedRecipient(EMAIL, "stranger@example.com", "Stranger"),
        CarriedRecipient(EMAIL, "alice@example.com"),
    )
    about = facts(EventType.ORDER_RECOMMENDED, recipients=carried, order=order())
    to = (target("role:regional_manager"), target("address:boss@example.com"), target("carried"))
    made = plan(about, tenant(rule("r", *to)), NOW)
    assert {item.address: item.may_act for item in made.notifications} == {
        "bob@example.com": False,  # in the directory, but the role may only look
        "boss@example.com": False,  # named by a rule
        "stranger@example.com": False,  # named by the event
        "alice@example.com": True,  # named by the event, known to the directory as owner
    }


def test_a_rule_can_switch_links_off_and_with_them_the_right_to_act() -> None:
    made = plan(
        facts(EventType.ORDER_RECOMMENDED, order=order()), tenant(rule("r", target("role:owner"), links=False)), NOW
    )
    assert [(item.links, item.may_act) for item in made.notifications] == [(False, False)]


# -- alerts and orders that end -------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", [EventType.ALERT_CLOSED, EventType.ORDER_WITHDRAWN, EventType.ORDER_DECIDED])
def test_the_end_is_told_only_to_those_told_of_the_beginning(type_: EventType) -> None:
    about = facts(type_, told=frozenset({(EMAIL, "alice@example.com")}))
    made = plan(about, tenant(rule("r", target("role:owner"), target("role:regional_manager"))), NOW)
    assert told(made) == [("email", "alice@example.com")]
    assert [item.address for item in made.notifications if item.suppressed is Suppression.NOT_TOLD_OF_OPENING] == [
        "bob@example.com"
    ]


def test_updates_go_to_endpoints_and_to_people_only_where_a_rule_says_so() -> None:
    endpoint = Endpoint(EndpointName("erp"), "https://erp.example", ("env:S",))
    rules = (rule("r", target("role:owner"), target("endpoint:erp")),)
    made = plan(facts(EventType.ALERT_UPDATED), tenant(*rules, endpoints=(endpoint,)), NOW)
    assert told(made) == [("callback", "erp")]
    assert Suppression.UPDATES_NOT_WANTED in reasons(made)


def test_a_decision_is_confirmed_to_everybody_who_got_the_order_without_any_rule() -> None:
    had = frozenset(
        {(EMAIL, "alice@example.com"), (SMS, "+34600000001"), (EMAIL, "left@example.com"), (CALLBACK, "erp")}
    )
    made = plan(facts(EventType.DECISION_RECORDED, told=had, order=order()), tenant(), NOW)
    assert sorted(told(made)) == [
        ("email", "alice@example.com"),
        ("email", "left@example.com"),
        ("sms", "+34600000001"),
    ]
    assert {(item.rule, item.purpose) for item in made.notifications} == {(TOLD_RULE, Purpose.RECEIPT)}
    assert {item.address for item in made.notifications if item.may_act} == {"alice@example.com", "+34600000001"}


def test_receivers_that_place_orders_hear_of_a_decision_when_it_is_final() -> None:
    final, at_once = (Endpoint(EndpointName(when.value), "https://erp.example", ("env:S",), when=when) for when in When)
    to = (target("endpoint:final"), target("endpoint:at_once"))
    about = facts(EventType.DECISION_RECORDED)
    made = plan(about, tenant(rule("r", *to), endpoints=(final, at_once)), NOW)
    due = {item.address: item.due_at for item in made.notifications}
    assert due == {"final": max(NOW, about.data.final_at), "at_once": NOW}  # type: ignore[attr-defined]  # a decision


# -- what else a notification knows ---------------------------------------------------------------------------------


def test_an_order_is_told_until_it_must_be_answered() -> None:
    about = facts(EventType.ORDER_RECOMMENDED, order=order(answer_by=NOW + timedelta(hours=2)))
    (only,) = plan(about, tenant(rule("r", target("role:owner"))), NOW).notifications
    assert only.expires_at == NOW + timedelta(hours=2)
    late = plan(about, tenant(rule("r", target("role:owner"))), NOW + timedelta(hours=2))
    assert reasons(late) == {Suppression.TOO_LATE}


PRIORITIES: list[tuple[EventType, Entry | None, Priority | None, Priority]] = [
    # the rule's own word wins
    (EventType.OPPORTUNITY_MISSED, None, Priority.HIGH, Priority.HIGH),
    # orders overtake
    (EventType.ORDER_RECOMMENDED, None, None, Priority.HIGH),
    # alerts by their catalogue entry
    (EventType.ALERT_OPENED, Entry("X", "X", "device", priority=Priority.LOW), None, Priority.LOW),
    # a weekly figure can wait
    (EventType.OPPORTUNITY_MISSED, None, None, Priority.LOW),
    (EventType.IMAGE_PROCESSED, None, None, Priority.NORMAL),
]


@pytest.mark.parametrize(("type_", "entry", "said", "expected"), PRIORITIES)
def test_priority_is_the_rules_word_else_by_kind(
    type_: EventType, entry: Entry | None, said: Priority | None, expected: Priority
) -> None:
    made = plan(facts(type_, entry=entry), tenant(rule("r", target("role:owner"), priority=said)), NOW)
    assert {item.priority for item in made.notifications} == {expected}


LANGUAGES = [("fr", "es", "de", "fr"), ("", "es", "de", "es"), ("", "", "de", "de")]


@pytest.mark.parametrize(("persons", "outlets", "tenants", "expected"), LANGUAGES)
def test_language_is_the_persons_else_the_outlets_else_the_tenants(
    persons: str, outlets: str, tenants: str, expected: str
) -> None:
    about = facts(contacts=(person("Alice", language=persons),), outlet=replace(STORE, language=outlets))
    (only,) = plan(about, tenant(rule("r", target("role:owner")), language=tenants), NOW).notifications
    assert only.language == expected


def test_the_stable_name_of_a_bare_address_does_not_show_it_p10() -> None:
    key = recipient_key(ACME, None, "alice@example.com")
    assert "alice" not in key and key != recipient_key(TenantId("other"), None, "alice@example.com")
    assert recipient_key(ACME, RecipientId("r1"), "alice@example.com") == "r1"


def _planned_addresses(made: Plan) -> list[Planned]:
    return [*made.notifications, *made.left_out]


@given(st.sampled_from(list(EventType)), st.booleans(), st.sampled_from(["", "+34600000001", "600 000 001", "x", "+1"]))
def test_a_plan_is_made_for_every_kind_of_event_and_accounts_for_every_target(
    type_: EventType, known: bool, phone: str
) -> None:
    about = facts(type_, contacts=(person("Alice", phone=phone),), outlet=STORE if known else None)
    made = plan(about, tenant(rule("r", target("role:owner", EMAIL, SMS), target("role:nobody"))), NOW)
    assert len(_planned_addresses(made)) == 3
