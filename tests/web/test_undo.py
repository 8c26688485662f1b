"""Undoing by link: what is taken back once while it is not final, what is refused, and who hears of it."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from notifier.core.ids import OutletCode
from notifier.core.model import ChannelName, EventType
from notifier.testing import ACME
from tests.web.conftest import MakeSite
from tests.web.site import COLA, LINES, POLICY, Site, Told, answer, event, fields_of, to, undo

ORDER = {"order_number": "1042"}
FORM = 'name="action" value="undo"'


def text(page: str) -> str:
    """What people read of a page."""
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", page.partition("<main>")[2]).split()))


def other_than(number: str) -> str:
    """A number that is not the right one."""
    return "11" if number != "11" else "12"


def undo_form(site: Site, told: Told) -> dict[str, str]:
    """The filled-in form of the page as it is now."""
    return fields_of(site.http.get(told.path).text) | {"number": told.number, "action": "undo"}


def kinds(site: Site) -> list[str]:
    """Types of the events that were made here."""
    return [row["type"] for row in site.rows("events") if row["type"].startswith("coolr.decision")]


@pytest.fixture
def told(site: Site) -> list[Told]:
    """The messages about order 1042, which Alice accepted."""
    told = site.order()
    assert answer(site, to(told, "alice"), "accept").status_code == 303
    return told


# -- taken back once -------------------------------------------------------------------------------------------------


def test_an_undone_order_is_open_again_says_so_and_can_be_decided_anew_p6(site: Site, told: list[Told]) -> None:
    alice, bob = to(told, "alice"), to(told, "bob")
    site.clock.advance(minutes=3)
    taken = undo(site, bob)  # whoever may decide may undo, whoever decided
    assert (taken.status_code, taken.headers["location"]) == (303, bob.path.rpartition("/")[2])
    said = (
        "The answer of Alice (accepted) was undone by Bob (from the link in an email), Mon 23 Nov, 11:03 (store time)."
    )
    for one in (alice, bob):
        page = site.http.get(one.path).text
        assert said in text(page) and "Accept: 32 cases" in text(page) and FORM not in page
    (order,) = site.rows("orders")
    assert (order["status"], order["version"], order["decision_id"]) == ("pending", 3, None)
    assert answer(site, alice, "modify", **{f"cases.{COLA}": "3"}).status_code == 303
    first, second = site.rows("decisions")
    assert first["undone_at"] is not None and second["undone_at"] is None
    assert (second["order_version"], site.rows("orders")[0]["version"]) == (3, 4)
    assert "This order was changed by Alice" in text(site.http.get(bob.path).text)


def test_an_undoing_is_an_event_with_the_next_sequence_and_an_audit_entry(site: Site, told: list[Told]) -> None:
    site.clock.advance(minutes=3)
    undo(site, to(told, "bob"))
    recorded, undone = (row for row in site.rows("events") if row["type"].startswith("coolr.decision"))
    assert (recorded["type"], undone["type"]) == ("coolr.decision.recorded", "coolr.decision.undone")
    assert undone["sequence"] == recorded["sequence"] + 1
    data, before = json.loads(undone["data"]), json.loads(recorded["data"])
    assert (
        data["undone_by"] == "Bob"
        and data["undone_via"] == "email"
        and data["undone_at"].startswith("2026-11-23T10:03")
    )
    assert {name: data[name] for name in before} == before, "beside it stands the decision as it was told"
    entries = [row for row in site.rows("audit") if row["action"] == "decision.undo"]
    assert [json.loads(row["detail"])["decision"] for row in entries] == [site.rows("decisions")[0]["id"]]
    assert entries[0]["actor"] == f"link:{site.rows('order_numbers')[1]['recipient_key']}"


def test_the_same_form_twice_takes_back_once_and_never_a_later_decision_p6(site: Site, told: list[Told]) -> None:
    alice = to(told, "alice")
    form = undo_form(site, alice)
    assert [site.http.post(alice.path, data=form).status_code for _ in range(2)] == [303, 303]
    assert answer(site, alice, "cancel").status_code == 303
    assert site.http.post(alice.path, data=form).status_code == 303
    stale = site.http.post(alice.path, data=form | {"nonce": "n" * 16})
    assert stale.status_code == 422 and "answered anew while you looked at it" in text(stale.text)
    assert site.rows("orders")[0]["status"] == "cancelled"
    assert kinds(site) == ["coolr.decision.recorded", "coolr.decision.undone", "coolr.decision.recorded"]


def test_by_link_an_order_is_taken_back_five_times_and_then_the_answer_stands_p6(site: Site, told: list[Told]) -> None:
    """Each time endpoints and people are told: one person, or a machine that presses buttons, must come to an end."""
    alice = to(told, "alice")
    for _ in range(5):
        assert undo(site, alice).status_code == 303
        assert answer(site, alice, "accept").status_code == 303
    form = undo_form(site, alice) | {"nonce": "one-more-form", "version": "12"}
    page = site.http.get(alice.path).text
    assert FORM not in page and "To change it before then" in text(page)
    refused = site.http.post(alice.path, data=form)
    assert refused.status_code == 409 and "done too often" in text(refused.text)
    assert site.rows("orders")[0]["status"] == "accepted" and len(kinds(site)) == 11


def test_the_form_that_decided_before_decides_nothing_after_an_undo_p6(site: Site) -> None:
    alice = to(site.order(), "alice")
    form = fields_of(site.http.get(alice.path).text) | {"number": alice.number, "action": "accept"}
    site.http.post(alice.path, data=form)
    undo(site, alice)
    assert site.http.post(alice.path, data=form).status_code == 303, "a late double tap is shown the page"
    again = site.http.post(alice.path, data=form | {"nonce": "n" * 16})
    assert again.status_code == 422 and "answered, and the answer taken back, while you looked" in text(again.text)
    assert site.rows("orders")[0]["status"] == "pending"


def test_who_comes_second_is_told_that_it_was_taken_back(site: Site, told: list[Told]) -> None:
    alice, bob = to(told, "alice"), to(told, "bob")
    form = undo_form(site, bob)
    undo(site, alice)
    second = site.http.post(bob.path, data=form)
    assert second.status_code == 422 and "Somebody took the answer back before you." in text(second.text)
    assert kinds(site).count("coolr.decision.undone") == 1


# -- the number ------------------------------------------------------------------------------------------------------


def test_undoing_needs_the_number_and_shares_its_count_of_wrong_ones_p5(site: Site) -> None:
    told = site.order()
    alice, bob = to(told, "alice"), to(told, "bob")
    answer(site, alice, "accept", other_than(alice.number))
    answer(site, alice, "accept")
    assert "Please type the number from your message" in text(undo(site, alice, "").text)
    wrong = undo(site, alice, other_than(alice.number))
    assert wrong.status_code == 409 and "The number was wrong twice" in text(wrong.text)
    page = site.http.get(alice.path).text
    assert "your link can no longer take this back" in text(page) and FORM not in page
    assert (
        site.http.post(alice.path, data=undo_form(site, alice) | {"version": "2", "nonce": "n" * 16}).status_code == 409
    )
    assert kinds(site) == ["coolr.decision.recorded"]
    assert undo(site, bob).status_code == 303, "others still can"


def test_a_wrong_number_for_an_undo_may_be_tried_once_more(site: Site, told: list[Told]) -> None:
    alice = to(told, "alice")
    wrong = undo(site, alice, other_than(alice.number))
    assert wrong.status_code == 422 and "That is not the number for order 1042." in text(wrong.text)
    again = fields_of(wrong.text) | {"number": alice.number, "action": "undo"}
    assert site.http.post(alice.path, data=again).status_code == 303


def test_a_tenant_that_asks_for_the_button_alone_asks_for_it_here_too(make_site: MakeSite) -> None:
    rules = '[tenants.acme.links]\nconfirmation = "button"\n\n[[tenants.acme.rules]]'
    site = make_site(POLICY.replace("[[tenants.acme.rules]]", rules, 1))
    alice = to(site.order(), "alice")
    answer(site, alice, "accept", "")
    assert 'name="number"' not in site.http.get(alice.path).text
    assert undo(site, alice, "").status_code == 303


def test_the_number_of_an_order_that_may_be_opened_again_is_not_given_to_another(site: Site, told: list[Told]) -> None:
    site.accept()
    site.told()  # the receipts
    others = [to(site.order(number), "alice").number for number in range(1043, 1060)]
    assert to(told, "alice").number not in others


# -- what is refused -------------------------------------------------------------------------------------------------


def test_a_final_decision_is_not_taken_back(site: Site, told: list[Told]) -> None:
    alice = to(told, "alice")
    form = undo_form(site, alice)
    site.clock.advance(minutes=10)
    late = site.http.post(alice.path, data=form)
    assert late.status_code == 409
    assert "It is too late to take the answer back here. Nothing was changed." in text(late.text)
    said = "Sent to the warehouse Mon 23 Nov, 11:10 (store time). To change it, please call +34 910 000 900 ."
    assert said in text(site.http.get(alice.path).text) and FORM not in site.http.get(alice.path).text
    assert kinds(site) == ["coolr.decision.recorded"]


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        (EventType.ORDER_WITHDRAWN, {}, "Nothing was taken back: the order was withdrawn before."),
        (
            EventType.ORDER_DECIDED,
            {"decision": "modified", "decided_at": "2026-11-23T10:00:00Z"},
            "Nothing was taken back: this order was answered in Coolr.",
        ),
    ],
)
def test_what_happened_elsewhere_is_not_taken_back(site: Site, kind: EventType, data: Any, said: str) -> None:
    alice = to(site.order(), "alice")
    site.accept(event(kind, {**ORDER, **data}, "elsewhere"))
    form = {"nonce": "n" * 16, "version": "2", "number": alice.number, "action": "undo"}
    refused = site.http.post(alice.path, data=form)
    assert refused.status_code == 409 and said in text(refused.text)


def test_nothing_is_taken_back_where_nobody_decided(site: Site) -> None:
    alice = to(site.order(), "alice")
    refused = undo(site, alice)
    assert refused.status_code == 422 and "nobody has answered this order yet" in text(refused.text)


def test_who_may_no_longer_decide_may_not_undo(site: Site, told: list[Told]) -> None:
    alice, charlie = to(told, "alice"), to(told, "charlie")
    form = undo_form(site, alice)
    assert FORM not in site.http.get(charlie.path).text
    assert site.http.post(charlie.path, data=form).status_code == 409
    with site.system.store.write() as tx:
        contacts = tx.contacts(ACME, [OutletCode("ES-1001")])[OutletCode("ES-1001")]
        tx.save_contacts([replace(c, recipient=replace(c.recipient, active=False)) for c in contacts])
    assert site.http.post(alice.path, data=form).status_code == 409
    assert FORM not in site.http.get(alice.path).text
    assert kinds(site) == ["coolr.decision.recorded"]


def test_an_order_that_a_newer_one_followed_is_not_opened_beside_it(site: Site, told: list[Told]) -> None:
    """Both could be accepted, and the same goods come twice."""
    alice = to(told, "alice")
    form = undo_form(site, alice)
    site.order(version=2, lines=LINES[:1])
    refused = site.http.post(alice.path, data=form)
    assert refused.status_code == 409 and "a newer order has followed this one" in text(refused.text)
    assert [row["status"] for row in site.rows("orders")] == ["accepted", "pending"]


# -- what comes after ------------------------------------------------------------------------------------------------


def test_after_an_undo_a_new_recommendation_is_the_next_version_and_a_withdrawal_closes(
    site: Site, told: list[Told]
) -> None:
    undo(site, to(told, "alice"))
    site.order(version=2, lines=LINES[:1])
    assert [(row["status"], row["version"]) for row in site.rows("orders")] == [("pending", 4)]
    site.accept(event(EventType.ORDER_WITHDRAWN, ORDER, "w"))
    assert [(row["status"], row["version"]) for row in site.rows("orders")] == [("withdrawn", 5)]
    assert "This order was withdrawn." in text(site.http.get(to(told, "alice").path).text)


def test_when_the_time_to_answer_is_over_undoing_means_that_nothing_is_ordered(site: Site) -> None:
    alice = to(site.order(deadline="2026-11-23T11:15:00Z"), "alice")  # answer by 12:00 there
    site.clock.advance(minutes=59)
    answer(site, alice, "accept")
    assert "open again and can be answered anew" in text(site.http.get(alice.path).text)
    site.clock.advance(minutes=3)
    assert "if you undo this, nothing is ordered" in text(site.http.get(alice.path).text)
    assert undo(site, alice).status_code == 303
    page = text(site.http.get(alice.path).text)
    assert "No answer stands, so nothing is ordered." in page and "was undone by Alice" in page
    site.accept()
    mails = [one for one in site.told() if one.kind == "decision_undone" and one.who.startswith("alice")]
    assert [mail.context["order"]["answerable"] for mail in mails] == [False]


# -- who hears of it ---------------------------------------------------------------------------------------------------


def test_receivers_of_final_decisions_hear_nothing_of_one_that_was_undone(site: Site, told: list[Told]) -> None:
    site.accept()
    assert {one.who for one in site.told() if one.channel is ChannelName.CALLBACK} == {"fast"}
    undo(site, to(told, "alice"))
    site.accept()
    heard = [one for one in site.told() if one.channel is ChannelName.CALLBACK]
    assert [(one.who, one.kind) for one in heard] == [("fast", "decision_undone")]
    site.clock.advance(minutes=20)
    assert site.told() == []
    erp = {row["kind"]: (row["status"], row["reason"]) for row in site.rows("notifications") if row["address"] == "erp"}
    assert erp["decision_recorded"] == ("cancelled", "undone") and erp["decision_undone"] == ("suppressed", "undone")


def test_nor_when_routing_comes_after_the_undoing_and_after_the_time_to_undo(site: Site, told: list[Told]) -> None:
    """The decision's event waits for a router until long after both: it must not be told as a final one."""
    undo(site, to(told, "alice"))
    site.clock.advance(minutes=30)
    site.accept()
    heard = [one for one in site.told() if one.channel is ChannelName.CALLBACK]
    assert [(one.who, one.kind) for one in heard] == [("fast", "decision_recorded"), ("fast", "decision_undone")]


def test_what_a_receiver_was_handed_is_not_taken_back(site: Site, told: list[Told]) -> None:
    """A worker whose clock is ahead sends before our own clock says final."""
    alice = to(told, "alice")
    site.accept()
    site.clock.advance(minutes=11)
    assert {one.who for one in site.told() if one.kind == "decision_recorded"} >= {"erp"}
    site.clock.advance(minutes=-11)
    late = undo(site, alice)
    assert late.status_code == 422 and "It is too late to take the answer back here." in text(late.text)
    assert site.rows("orders")[0]["status"] == "accepted" and site.rows("decisions")[0]["undone_at"] is None


def test_people_who_were_told_of_the_order_hear_that_it_is_open_again_with_their_number(
    site: Site, told: list[Told]
) -> None:
    people = {(one.who, one.channel) for one in told if one.channel is not ChannelName.CALLBACK}
    undo(site, to(told, "alice"))
    site.accept()
    again = [one for one in site.told() if one.kind == "decision_undone" and one.channel is not ChannelName.CALLBACK]
    assert {(one.who, one.channel) for one in again} == people
    assert to(again, "alice").number == to(told, "alice").number
    assert answer(site, to(again, "alice"), "cancel").status_code == 303


def test_what_waits_for_people_about_a_decision_is_overtaken_by_its_undoing(site: Site, told: list[Told]) -> None:
    site.accept()
    undo(site, to(told, "alice"))
    site.accept()
    assert "decision_recorded" not in {one.kind for one in site.told() if one.channel is not ChannelName.CALLBACK}
