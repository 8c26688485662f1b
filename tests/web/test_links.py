"""Orders by link: what is taken once, what is refused, and what a person is told in every state."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from notifier.core.ids import OutletCode
from notifier.core.model import ChannelName, EventType
from notifier.errors import StoreError
from notifier.testing import ACME, BASE_URL
from tests.web.conftest import MakeSite
from tests.web.site import COLA, LINES, POLICY, WATER, Site, Told, answer, event, fields_of, to

ORDER = {"order_number": "1042"}


def text(page: str) -> str:
    """What people read of a page."""
    body = page.partition("<main>")[2]
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", body).split()))


def other_than(number: str) -> str:
    """A number that is not the right one."""
    return "11" if number != "11" else "12"


@pytest.fixture
def alice(site: Site) -> Told:
    """Alice's mail about order 1042."""
    return to(site.order(), "alice")


# -- one decision (P6) ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "typed", "word", "quantities"),
    [
        ("accept", {}, "accepted", {COLA: 12, WATER: 20}),
        ("modify", {f"cases.{COLA}": "٣", f"cases.{WATER}": " 15 "}, "changed", {COLA: 3, WATER: 15}),
        ("modify", {}, "accepted", {COLA: 12, WATER: 20}),  # a change that changes nothing
        ("cancel", {"reason": "Too expensive", "reason_text": "by far"}, "declined", {COLA: 0, WATER: 0}),
    ],
)
def test_a_decision_is_taken_told_and_becomes_an_event_p6(
    site: Site, alice: Told, action: str, typed: dict[str, str], word: str, quantities: dict[str, int]
) -> None:
    taken = answer(site, alice, action, **typed)
    assert (taken.status_code, taken.headers["location"]) == (303, alice.path.rpartition("/")[2])
    page = text(site.http.get(alice.path).text)
    assert f"This order was {word} by Alice (from the link in an email), Mon 23 Nov, 11:00 (store time)" in page
    recorded = next(row for row in site.rows("events") if row["type"] == "coolr.decision.recorded")
    assert word in recorded["data"] or word in ("changed", "declined")
    assert f'"total_cases":{sum(quantities.values())}' in recorded["data"]
    assert [row["action"] for row in site.rows("audit")] == [f"decision.{site.rows('decisions')[0]['action']}"]
    if action == "cancel":
        assert "Reason: Too expensive: by far" in page


def test_everybody_who_was_told_of_the_order_gets_the_receipt(site: Site) -> None:
    told = site.order()
    people = {(one.who, one.channel) for one in told if one.channel is not ChannelName.CALLBACK}
    answer(site, to(told, "alice"), "accept")
    site.accept()
    receipts = [one for one in site.told() if one.kind == "decision_recorded"]
    assert {(one.who, one.channel) for one in receipts if one.channel is not ChannelName.CALLBACK} == people


def test_receivers_at_once_hear_that_it_is_not_final_and_the_others_when_it_is(site: Site, alice: Told) -> None:
    answer(site, alice, "accept")
    site.accept()

    def heard() -> dict[str, Any]:
        return {
            one.who: one.context["data"]["final"]
            for one in site.told()
            if one.channel is ChannelName.CALLBACK and one.kind == "decision_recorded"
        }

    assert heard() == {"fast": False}
    assert "Undo until Mon 23 Nov, 11:10 (store time)" in text(site.http.get(alice.path).text)
    site.clock.advance(minutes=10)
    assert heard() == {"erp": True}
    handed_over = "Sent to the warehouse Mon 23 Nov, 11:10 (store time). To change it, please call"
    assert handed_over in text(site.http.get(alice.path).text)


def test_a_double_tap_gets_the_same_receipt_and_counts_once(site: Site, alice: Told) -> None:
    fields = fields_of(site.http.get(alice.path).text) | {"number": alice.number, "action": "accept"}
    answers = [site.http.post(alice.path, data=fields) for _ in range(2)]
    assert [one.status_code for one in answers] == [303, 303]
    assert len(site.rows("decisions")) == 1


def test_another_person_is_told_who_decided_what_and_when_and_keeps_what_was_typed_p6(site: Site) -> None:
    told = site.order()
    alice, bob = to(told, "alice"), to(told, "bob")
    page = site.http.get(bob.path).text
    answer(site, alice, "accept", name="Ana")
    fields = fields_of(page) | {"number": bob.number, "action": "modify", f"cases.{COLA}": "7"}
    late = site.http.post(bob.path, data=fields)
    seen = text(late.text)
    assert late.status_code == 409
    assert "Somebody answered this order before you. Your answer changed nothing." in seen
    assert "accepted by Ana (from the link in an email), Mon 23 Nov, 11:00 (store time)" in seen
    assert "Cola Zero 500 ml: 7 cases" in seen
    assert "@acme.example" not in seen.replace("help@acme.example", ""), "never an address"


def test_the_same_person_twice_is_not_called_somebody(site: Site, alice: Told) -> None:
    page = site.http.get(alice.path).text
    answer(site, alice, "accept")
    second = site.http.post(
        alice.path, data=fields_of(page) | {"number": alice.number, "action": "cancel", "nonce": "n" * 16}
    )
    assert "You answered this order before." in text(second.text)


@pytest.mark.parametrize("typed", ["boss@corp.example", "+34 600 111 222", "12345"])
def test_an_address_typed_as_name_is_shown_to_nobody(site: Site, alice: Told, typed: str) -> None:
    answer(site, alice, "accept", name=typed)
    assert site.rows("decisions")[0]["decided_by"] == "Alice"


# -- what a person must not do by accident ----------------------------------------------------------------------------


def test_accept_beside_changed_quantities_decides_nothing_and_asks(site: Site, alice: Told) -> None:
    """Somebody who typed quantities and presses the wrong button must not order the suggestion."""
    asked = answer(site, alice, "accept", **{f"cases.{COLA}": "3"})
    assert asked.status_code == 422
    assert "you changed quantities" in text(asked.text)
    assert fields_of(asked.text)[f"cases.{COLA}"] == "3"
    assert site.rows("decisions") == []


def test_the_button_that_enter_presses_decides_nothing_and_counts_nothing(site: Site, alice: Told) -> None:
    page = site.http.get(alice.path).text
    first = re.search(r'<button[^>]*type="submit"[^>]*value="(\w+)"', page)
    assert first and first[1] == "look"
    asked = answer(site, alice, "look", number="00", **{f"cases.{COLA}": "3"})
    assert "Nothing was sent yet. Please press the button that says what you want." in text(asked.text)
    assert fields_of(asked.text)[f"cases.{COLA}"] == "3"
    assert site.rows("decisions") == [] and site.rows("order_numbers")[0]["wrong"] == 0


# -- the number ------------------------------------------------------------------------------------------------------


def test_a_wrong_number_may_be_tried_once_more_and_everything_typed_comes_back(site: Site, alice: Told) -> None:
    typed = {f"cases.{COLA}": "3", "reason": "Other", "reason_text": "on my own", "name": "Ana"}
    wrong = answer(site, alice, "modify", other_than(alice.number), **typed)
    assert wrong.status_code == 422
    assert "That is not the number for order 1042. Look in the message about Main St and try once more." in text(
        wrong.text
    )
    back = fields_of(wrong.text)
    assert {name: back[name] for name in typed if name != "reason"} | {"reason": "Other"} == typed
    assert "<option selected>Other" in wrong.text
    assert back["number"] == "", "the wrong number is not offered again"
    assert site.http.post(alice.path, data=back | {"number": alice.number, "action": "modify"}).status_code == 303


def test_two_wrong_numbers_close_all_links_of_this_person_for_this_order(site: Site) -> None:
    told = site.order()
    alice, sms, bob = to(told, "alice"), to(told, "+34", ChannelName.SMS), to(told, "bob")
    assert alice.number == sms.number, "one number per order and person"
    answer(site, alice, "accept", other_than(alice.number))
    second = answer(site, sms, "accept", other_than(alice.number), nonce="another-form")
    assert second.status_code == 409 and "The number was wrong twice" in text(second.text)
    for closed in (alice, sms):
        page = site.http.get(closed.path).text
        assert "The number was wrong twice" in page and "<form" not in page and "+34 910 000 900" in page
        assert "Answer by " in page, "whoever calls has to know until when"
        fields = {"nonce": "n" * 16, "version": "1", "number": alice.number, "action": "accept"}
        assert site.http.post(closed.path, data=fields).status_code == 409
    assert answer(site, bob, "accept").status_code == 303, "others can still answer"


def test_a_doubled_wrong_number_counts_once(site: Site, alice: Told) -> None:
    fields = fields_of(site.http.get(alice.path).text) | {"number": other_than(alice.number), "action": "accept"}
    for _ in range(3):
        site.http.post(alice.path, data=fields)
    assert site.rows("order_numbers")[0]["wrong"] == 1


@pytest.mark.parametrize("typed", ["{}", " {} ", "#{}", "{}."])
def test_the_number_is_read_forgivingly(site: Site, alice: Told, typed: str) -> None:
    assert answer(site, alice, "accept", typed.format(alice.number)).status_code == 303


def test_no_number_is_no_try(site: Site, alice: Told) -> None:
    assert "Please type the number from your message" in text(answer(site, alice, "accept", "").text)
    assert site.rows("order_numbers")[0]["wrong"] == 0


def test_the_number_stands_nowhere_on_its_page(site: Site) -> None:
    lines = [{"sku": f"s{n}", "name": f"Product {n}", "suggested_cases": n, "max_cases": 90 - n} for n in range(1, 20)]
    alice = to(site.order(lines=lines, currency=None), "alice")
    assert alice.number not in re.findall(r"(?<!\d)\d{2}(?!\d)", text(site.http.get(alice.path).text))


def test_the_number_is_none_of_the_limits_that_only_the_page_shows(site: Site) -> None:
    lines = [{"sku": f"s{n}", "name": "Tea", "suggested_cases": 1, "max_cases": n} for n in range(10, 36)]
    told = [to(site.order(number, lines=lines), "alice") for number in range(1042, 1050)]
    assert all(int(one.number) >= 36 for one in told)
    assert len({one.number for one in told}) == len(told), "open orders of one person have different numbers"


def test_a_tenant_may_ask_for_the_button_alone(make_site: MakeSite) -> None:
    policy = POLICY.replace(
        "[[tenants.acme.rules]]", '[tenants.acme.links]\nconfirmation = "button"\n\n[[tenants.acme.rules]]', 1
    )
    site = make_site(policy)
    alice = to(site.order(), "alice")
    assert 'name="number"' not in site.http.get(alice.path).text
    assert answer(site, alice, "accept", "").status_code == 303


# -- quantities ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "typed", "told"),
    [
        (COLA, "41", "at most 40 cases"),
        (WATER, "7", "only in steps of 5: 5 or 10"),
        (COLA, "", "a whole number of cases, please; 0 leaves it out"),  # an emptied field is not the suggestion
        (COLA, "-3", "a whole number of cases, please"),
        (COLA, "1.5", "a whole number of cases, please"),
        (COLA, "1e9", "a whole number of cases, please"),
        (COLA, "9999999", "a whole number of cases, please"),
    ],
)
def test_a_mistake_stands_at_its_field_with_what_was_typed(
    site: Site, alice: Told, field: str, typed: str, told: str
) -> None:
    refused = answer(site, alice, "modify", **{f"cases.{field}": typed})
    assert refused.status_code == 422
    position = [line["sku"] for line in LINES].index(field)
    assert re.search(rf'id="rule-{position}">[^<]*<span class="mistake">→ {re.escape(told)}', refused.text)
    assert fields_of(refused.text)[f"cases.{field}"] == typed
    assert site.rows("decisions") == []


@pytest.mark.parametrize(
    ("limits", "typed", "told"),
    [
        ({"cases": {"min": 20}}, ("3", "5"), "The smallest order is 20 cases; this is 8 cases."),
        ({"cases": {"max": 20}}, ("12", "10"), "The largest order is 20 cases; this is 22 cases."),
        ({"value": {"min": 10000}}, ("1", "5"), "The smallest order is 100.00 EUR; this is 56.90 EUR."),
        ({"value": {"max": 10000}}, ("12", "5"), "The largest order is 100.00 EUR; this is 193.30 EUR."),
        ({}, ("0", "0"), "Every quantity is 0. To order nothing, decline the order."),
    ],
)
def test_smallest_and_largest_order_are_checked(site: Site, limits: Any, typed: tuple[str, str], told: str) -> None:
    alice = to(site.order(**limits), "alice")
    refused = answer(site, alice, "modify", **{f"cases.{COLA}": typed[0], f"cases.{WATER}": typed[1]})
    seen = text(refused.text)
    assert refused.status_code == 422 and f"Nothing was sent yet. {told}" in seen
    assert "marked quantities" not in seen, "no line is to blame"


# -- states ----------------------------------------------------------------------------------------------------------


def test_without_prices_and_deadline_the_page_is_complete(site: Site) -> None:
    lines = [{"sku": "1", "name": "", "suggested_cases": 1}]
    alice = to(site.order(lines=lines, currency=None, deadline=None), "alice")
    page = text(site.http.get(alice.path).text)
    assert "If nobody answers, nothing is ordered." in page and "Accept: 1 case " in page and "EUR" not in page


def test_a_newer_version_is_shown_with_the_difference_and_typed_quantities_stay_with_their_product(site: Site) -> None:
    alice = to(site.order(), "alice")
    old = fields_of(site.http.get(alice.path).text)
    turned = [
        {**LINES[1], "suggested_cases": 25},
        {**LINES[0], "case_price": 1300},
        {"sku": "3", "name": "Tea", "suggested_cases": 2},
    ]
    site.order(version=2, lines=turned)
    page = text(site.http.get(alice.path).text)
    for change in (
        "Spring Water 1. 5 l: 25 cases instead of 20",
        "Cola Zero 500 ml: now 13.00 EUR a case",
        "Tea: new, 2 cases",
    ):
        assert change.replace("1. 5", "1.5") in page, page
    asked = site.http.post(alice.path, data=old | {"number": alice.number, "action": "modify", f"cases.{COLA}": "3"})
    assert asked.status_code == 422 and "The suggestion changed while you looked at it" in text(asked.text)
    assert fields_of(asked.text)[f"cases.{COLA}"] == "3"
    assert site.rows("decisions") == []


@pytest.mark.parametrize(
    ("kind", "data", "told", "too_late"),
    [
        (
            EventType.ORDER_WITHDRAWN,
            {},
            "This order was withdrawn.",
            "Your answer changed nothing: the order was withdrawn before.",
        ),
        (
            EventType.ORDER_DECIDED,
            {"decision": "modified", "decided_at": "2026-11-23T10:00:00Z"},
            "This order was changed in Coolr. What is ordered may differ from the suggestion.",
            "This order was answered in Coolr before you. Your answer changed nothing.",
        ),
    ],
)
def test_what_happened_elsewhere_is_told_and_an_answer_to_it_changes_nothing_p6(
    site: Site, alice: Told, kind: EventType, data: dict[str, str], told: str, too_late: str
) -> None:
    fields = fields_of(site.http.get(alice.path).text) | {
        "number": alice.number,
        "action": "modify",
        f"cases.{COLA}": "3",
    }
    site.accept(event(kind, {**ORDER, **data}, "elsewhere"))
    late = site.http.post(alice.path, data=fields)
    assert late.status_code == 409 and too_late in text(late.text)
    assert told in text(late.text) and "Cola Zero 500 ml: 3 cases" in text(late.text)
    shown = site.http.get(alice.path)
    assert told in text(shown.text) and "<form" not in shown.text
    assert "Why this order" not in shown.text, "it no longer argues for what nobody can order"
    assert "What had been suggested" in shown.text
    assert site.rows("decisions") == []


def test_an_answer_counts_until_a_minute_after_the_time_that_was_shown(site: Site) -> None:
    alice = to(site.order(deadline="2026-11-23T11:15:00Z"), "alice")  # 15 minutes of margin: answer by 12:00 there
    page = site.http.get(alice.path).text
    assert "Answer by Mon 23 Nov, 12:00 (store time)" in text(page)
    site.clock.advance(hours=1, seconds=61)
    fields = fields_of(page) | {"number": alice.number, "action": "accept"}
    late = site.http.post(alice.path, data=fields)
    assert late.status_code == 409 and "The time to answer is over (it was Mon 23 Nov, 12:00, store time)" in text(
        late.text
    )
    site.clock.advance(seconds=-2)
    assert site.http.post(alice.path, data=fields).status_code == 303


def test_a_paused_order_cannot_be_answered(site: Site) -> None:
    alice = to(site.order(paused=True), "alice")
    page = site.http.get(alice.path).text
    assert "Ordering is paused for this store." in text(page) and "<form" not in page
    fields = {"nonce": "n" * 16, "version": "1", "number": alice.number, "action": "accept"}
    assert site.http.post(alice.path, data=fields).status_code == 409


def test_who_may_not_decide_sees_the_order_and_no_form(site: Site) -> None:
    charlie = to(site.order(), "charlie")
    page = site.http.get(charlie.path).text
    assert "You can look at this order." in text(page) and "<form" not in page
    fields = {"nonce": "n" * 16, "version": "1", "number": "47", "action": "accept"}
    assert site.http.post(charlie.path, data=fields).status_code == 409
    assert site.rows("decisions") == []


def test_rights_are_judged_when_they_are_used(site: Site, alice: Told) -> None:
    page = site.http.get(alice.path).text
    with site.system.store.write() as tx:
        contacts = tx.contacts(ACME, [OutletCode("ES-1001")])[OutletCode("ES-1001")]
        tx.save_contacts(
            [replace(c, recipient=replace(c.recipient, active=False)) for c in contacts if c.role == "owner"]
        )
    assert "You can look at this order." in text(site.http.get(alice.path).text)
    refused = site.http.post(alice.path, data=fields_of(page) | {"number": alice.number, "action": "accept"})
    assert refused.status_code == 409 and site.rows("decisions") == []


# -- links that are no longer open -----------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", [ChannelName.EMAIL, ChannelName.SMS])
def test_an_expired_link_says_so_and_whom_to_call_p7(site: Site, channel: ChannelName) -> None:
    told = site.order()
    path = to(told, "alice" if channel is ChannelName.EMAIL else "+34", channel).path
    site.clock.advance(days=30)
    for answered in (site.http.get(path), site.http.post(path, data={"action": "accept"})):
        assert answered.status_code == 410
        assert "This link has expired" in answered.text and "+34 910 000 900" in answered.text


def test_a_revoked_link_says_so_p7(site: Site, alice: Told) -> None:
    row = site.rows("links")[0]
    with site.system.store.write() as tx:
        tx.revoke_links(row["tenant"], row["object"], site.clock())
    answered = site.http.get(alice.path)
    assert answered.status_code == 410 and "This link was withdrawn" in answered.text


def test_a_typed_code_leads_to_its_page_however_it_is_written(site: Site) -> None:
    code = to(site.order(), "+34", ChannelName.SMS).path.removeprefix("/s/")
    typed = "-".join(code[at : at + 4] for at in range(0, 16, 4)).lower().replace("0", "o").replace("1", "l")
    found = site.http.post("/s", data={"code": f" {typed} "})
    assert (found.status_code, found.headers["location"]) == (303, f"s/{code}")
    assert site.http.get(f"/s/{typed}").status_code == 200
    assert site.http.post("/s", data={"code": "0" * 16}).status_code == 404
    site.clock.advance(days=30)
    assert site.http.post("/s", data={"code": code}).status_code == 410


# -- when the store is away ------------------------------------------------------------------------------------------


def test_without_a_database_the_page_keeps_the_answer_for_one_more_tap(site: Site, alice: Told) -> None:
    fields = fields_of(site.http.get(alice.path).text) | {
        "number": alice.number,
        "action": "modify",
        f"cases.{COLA}": "3",
    }

    class Away:
        def read(self) -> Any:
            raise StoreError("away")

        write = read

    object.__setattr__(site.system.link_service, "store", Away())
    failed = site.http.post(alice.path, data=fields)
    assert failed.status_code == 503 and "the same answer counts only once" in failed.text
    object.__setattr__(site.system.link_service, "store", site.system.store)
    again = fields_of(failed.text)
    assert again == fields
    assert site.http.post(alice.path, data=again).status_code == 303


# -- requests that are no answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://notify.example"},  # the scheme counts
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
    ],
)
def test_a_form_from_elsewhere_is_refused(site: Site, alice: Told, headers: dict[str, str]) -> None:
    fields = fields_of(site.http.get(alice.path).text) | {"number": alice.number, "action": "accept"}
    assert site.http.post(alice.path, data=fields, headers=headers).status_code == 403
    assert site.rows("decisions") == []


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": BASE_URL, "sec-fetch-site": "same-origin"}, {"origin": "null", "sec-fetch-site": "same-origin"}],
)
def test_our_own_form_is_taken(site: Site, alice: Told, headers: dict[str, str]) -> None:
    fields = fields_of(site.http.get(alice.path).text) | {"number": alice.number, "action": "accept"}
    assert site.http.post(alice.path, data=fields, headers=headers).status_code == 303


def test_a_form_of_a_hundred_kilobytes_is_not_read(site: Site, alice: Told) -> None:
    assert site.http.post(alice.path, content=b"a=" + b"x" * 100_000).status_code == 413
    assert site.http.post(alice.path, content=b"&".join([b"a=1"] * 600)).status_code == 413


@pytest.mark.parametrize("body", [b"\xff\xfe%00%ff", b"action=accept&nonce=%00", b"version=" + b"9" * 5000, b""])
def test_odd_forms_decide_nothing(site: Site, alice: Told, body: bytes) -> None:
    assert site.http.post(alice.path, content=body).status_code == 422
    assert site.rows("decisions") == []


def test_reading_by_any_method_changes_nothing_p5(site: Site) -> None:
    told = site.order()
    before = site.dump()
    for one in told:
        for url in one.urls.values():
            path = "/" + url.split("/", 3)[3]
            for method in ("GET", "HEAD", "OPTIONS"):
                for where in (path, f"{path}/picture", f"{path}/", f"{path}?action=accept&number={one.number}"):
                    seen = site.http.request(method, where)
                    assert "set-cookie" not in seen.headers
                    assert not 300 <= seen.status_code < 400, "no redirect on reading"
    assert site.dump() == before


def test_a_host_with_its_usual_port_is_our_host(site: Site, alice: Told) -> None:
    for host in ("notify.example", "notify.example:443", "NOTIFY.example"):
        assert site.http.get(alice.path, headers={"host": host}).status_code == 200, host


def test_forwarded_hosts_count_from_trusted_proxies_alone(make_site: MakeSite) -> None:
    site = make_site(trusted_proxies=["10.1.0.0/16"])
    alice = to(site.order(), "alice")
    headers = {"host": "10.1.2.4:8000", "x-forwarded-host": "notify.example"}
    proxied: TestClient = site.client(peer="10.1.2.3")
    assert proxied.get(alice.path, headers=headers).status_code == 200
    assert site.client(peer="203.0.113.1").get(alice.path, headers=headers).status_code == 404
    assert proxied.get(alice.path, headers={**headers, "x-forwarded-host": "evil.example"}).status_code == 404
