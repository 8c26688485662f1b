"""The whole road on both databases: accept, route, claim, prepare, send, settle, sweep."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import MetaData, select, update

from notifier.core.acceptance import AnswerStatus
from notifier.core.event_data import DATA_MODELS
from notifier.core.events import RawItem
from notifier.core.ids import EventId, OrderId, RecipientKey, SessionId, new_id
from notifier.core.links import LinkPurpose, LinkSigner
from notifier.core.model import ChannelName, Event, EventType, NewNotification
from notifier.core.records import WorkerSession
from notifier.core.samples import DATA
from notifier.errors import EventError, OutcomeUnknown, PermanentFailure, TemporaryFailure
from notifier.pipeline import ROUTE_CHUNK, ROUTE_ENOUGH
from notifier.planning import Planner
from notifier.ports import EmailTarget, EndpointTarget, Receipt, SmsTarget
from notifier.store import SqlStore, migrate, open_store
from notifier.store.tables import events, messages
from notifier.testing import (
    ACME,
    BOREALIS,
    LINK_KEYS,
    NOW,
    POLICY,
    FakeClock,
    FakeSms,
    alert,
    as_sent,
    credential,
    envelope,
    furnish,
    order,
    pipeline,
    templates_folder,
)
from notifier.unit import Writer
from tests.pipeline.road import Road, sweep

pytestmark = pytest.mark.usefixtures("proven_lanes")

EMAIL, SMS, CALLBACK = ChannelName.EMAIL, ChannelName.SMS, ChannelName.CALLBACK
PICTURE = {"guid": "6f0b6c1e-5d0e-4a53-9b59-2f1f1f7f3c11"}


def ending(type_: EventType, number: int = 1042, **data: Any) -> RawItem:
    """An event that ends an order."""
    facts = {"order_number": f"{number}", "outlet": {"code": "ES-1001"}}
    return as_sent(envelope(type_, facts | data, f"{type_.value}-{number}"))


# -- all the way ---------------------------------------------------------------------------------------------------


def test_an_order_reaches_everybody_whom_the_rules_name(road: Road) -> None:
    [answer] = road.accept(order())
    assert answer.status is AnswerStatus.ACCEPTED
    assert (road.route(), road.deliver()) == (1, 4)
    assert road.states(answer.id) == {
        "email owner": "sent",
        "sms owner": "sent",
        "email sales_rep": "sent",
        "callback endpoint": "sent",
    }
    assert road.hints.said == ["route", "deliver"]


def test_a_callback_that_was_taken_is_delivered(road: Road) -> None:
    road.channels[CALLBACK].answer = lambda _: Receipt(delivered=True)
    [answer] = road.accept(alert())
    road.route()
    road.deliver()
    assert road.states(answer.id)["callback endpoint"] == "delivered"


def test_a_mail_names_its_event_its_sender_and_a_stable_id(road: Road) -> None:
    road.accept(order())
    road.route()
    [owner, _] = road.claim(EMAIL)
    target = road.pipe.prepare(owner, road.begin(owner) or pytest.fail("not ours")).target
    assert isinstance(target, EmailTarget)
    assert (target.to, target.sender) == ("alice@acme.example", "Coolr <alerts@notify.example>")
    assert target.message_id == f"<{owner.id}@notify.example>"
    assert dict(target.headers)["X-Coolr-Type"] == "coolr.order.recommended"
    assert dict(target.headers).get("X-Coolr-Subject", "order/1042") == "order/1042"


def test_an_sms_asks_for_a_report_of_its_attempt_and_lives_no_longer_than_the_order(road: Road) -> None:
    road.accept(order(deadline="2026-11-23T11:00:00Z"))
    road.route()
    road.later(minutes=5)
    [row] = road.claim(SMS)
    attempt = road.begin(row)
    assert attempt
    target = road.pipe.prepare(row, attempt).target
    assert isinstance(target, SmsTarget)
    assert target.status_callback == f"https://notify.example/v1/hooks/twilio/{attempt}"
    assert target.valid_seconds == 40 * 60  # 11:00, less a margin of 15 minutes, seen at 10:05


def test_a_callback_has_the_notification_as_its_webhook_id_on_every_try(road: Road) -> None:
    road.channels[CALLBACK].answer = lambda _: TemporaryFailure("busy", code="503")
    road.accept(alert())
    road.route()
    for _ in range(3):
        road.deliver(CALLBACK)
        road.later(hours=1)
    [row] = road.rows("notifications", channel="callback")
    targets = [item.target for item in road.channels[CALLBACK].sent]
    assert [target.webhook_id for target in targets if isinstance(target, EndpointTarget)] == [row["id"]] * 3


# -- accept ----------------------------------------------------------------------------------------------------------


def test_a_repeated_event_is_a_duplicate_and_tells_nobody_again_p2(road: Road) -> None:
    [first] = road.accept(alert())
    [again, other] = road.accept(alert(), alert(text="something else"))
    assert (again.status, again.id) == (AnswerStatus.DUPLICATE, first.id)
    assert (other.status, other.code, other.field) == (AnswerStatus.CONFLICT, "conflict", "id")
    road.route()
    assert len(road.rows("notifications")) == 2
    assert [row["code"] for row in road.rows("quarantine")] == ["conflict"]


def test_bad_neighbours_are_kept_and_named_and_harm_nobody_p8(road: Road) -> None:
    broken = RawItem(None, '{"id": ', EventError("not JSON: ends too early"))
    wrong = alert(2, value="warm")
    answers = road.accept(alert(1), broken, wrong, alert(3))
    assert [answer.status.value for answer in answers] == ["accepted", "rejected", "rejected", "accepted"]
    assert answers[2].field == "data.value"
    kept = {row["id"]: row for row in road.rows("quarantine")}
    assert kept[answers[2].quarantine_id]["source_id"] == "alert-2-open"
    assert road.route() == 2


def test_a_quarantined_body_keeps_what_no_database_stores(road: Road) -> None:
    body = "NUL \x00 and half a pair \ud800"
    [answer] = road.accept(RawItem(None, body, EventError("has a NUL")))
    assert answer.quarantine_id
    with road.store.read() as tx:
        entry = tx.quarantined(ACME, answer.quarantine_id)
    assert entry is not None and entry.body == "NUL \\u0000 and half a pair \\ud800"


def test_more_events_than_one_transaction_takes_are_accepted_in_order(road: Road) -> None:
    answers = road.accept(*(alert(number) for number in range(230)))
    assert {answer.status for answer in answers} == {AnswerStatus.ACCEPTED}
    assert [answer.index for answer in answers] == list(range(230))
    assert road.route() == 230


def test_events_with_many_receivers_are_routed_in_shorter_transactions_the_oldest_first_p2(road: Road) -> None:
    each = 4  # notifications of an order
    answers = road.accept(*(order(2000 + number) for number in range(ROUTE_ENOUGH // each + 5)))
    assert road.pipe.route() == ROUTE_ENOUGH // each < ROUTE_CHUNK
    told = {row["event_id"] for row in road.rows("notifications")}
    assert told == {answer.id for answer in answers[:-5]}
    assert (road.pipe.route(), road.pipe.route()) == (5, 0)
    assert len(road.rows("notifications")) == each * len(answers)


@pytest.mark.parametrize(
    "deadline",
    [
        "0001-01-01T00:00:00Z",  # less the margin, before the calendar begins
        "9999-12-31T23:59:59Z",  # plus a day, after it ends
        "0001-01-01T00:00:00+14:00",  # before it in UTC
    ],
)
def test_a_deadline_outside_the_calendar_harms_no_neighbour_p8(road: Road, deadline: str) -> None:
    answers = road.accept(alert(1), order(1, deadline=deadline), alert(2))
    assert [answer.status.value for answer in answers][::2] == ["accepted", "accepted"]
    assert answers[1].status in (AnswerStatus.ACCEPTED, AnswerStatus.REJECTED)
    road.route()
    assert len(road.rows("notifications", kind="alert_opened")) == 4


# -- orders ----------------------------------------------------------------------------------------------------------


def test_orders_follow_their_events(road: Road) -> None:
    road.accept(order(1, version=1), order(1, version=2), order(2), order(3))
    withdrawn = ending(EventType.ORDER_WITHDRAWN, 2)
    decided = ending(EventType.ORDER_DECIDED, 3, decision="accepted", decided_at="2026-11-23T09:00:00Z")
    road.accept(withdrawn, decided)
    found = {row["number"]: (row["status"], row["version"], row["decided_elsewhere"]) for row in road.rows("orders")}
    assert found == {"1": ("pending", 2, False), "2": ("withdrawn", 2, False), "3": ("accepted", 2, True)}


def test_only_those_told_of_an_order_are_told_of_its_withdrawal(road: Road) -> None:
    road.accept(order())
    road.route()
    road.deliver()
    [answer] = road.accept(ending(EventType.ORDER_WITHDRAWN))
    road.route()
    road.deliver()
    told = road.states(answer.id)
    assert {told["email owner"], told["sms owner"], told["email sales_rep"]} == {"sent"}


# -- what is overtaken -----------------------------------------------------------------------------------------------


def test_a_closing_cancels_what_is_still_due_for_people_only(road: Road) -> None:
    [opened] = road.accept(alert())
    road.route()
    [closed] = road.accept(alert(status="closed"))
    road.route()
    assert road.states(opened.id) == {"email owner": "cancelled", "callback endpoint": "due"}
    assert road.story(opened.id)["email owner"]["reason"] == "overtaken by coolr.alert.closed"
    assert road.states(closed.id) == {"email owner": "suppressed", "callback endpoint": "due"}


def test_an_opening_and_its_closing_that_wait_together_are_routed_in_their_order(road: Road) -> None:
    """In one transaction the closing would not see whom the opening is for."""
    opened, closed = road.accept(alert(), alert(status="closed"))
    road.route()
    assert road.states(opened.id)["email owner"] == "cancelled"
    assert road.story(closed.id)["email owner"]["reason"] == "not_told_of_opening"


def test_the_closing_reaches_those_who_were_told_of_the_opening(road: Road) -> None:
    road.accept(alert())
    road.route()
    road.deliver()
    [closed] = road.accept(alert(status="closed"))
    road.route()
    road.deliver()
    assert road.states(closed.id) == {"email owner": "sent", "callback endpoint": "sent"}


# -- routing that fails ----------------------------------------------------------------------------------------------


def damage(store: SqlStore, event_id: str | None, **values: Any) -> None:
    """Change an event's row behind the pipeline's back."""
    with store.engine.begin() as connection:
        connection.execute(update(events).where(events.c.id == event_id).values(**values))


def test_an_event_that_cannot_be_planned_is_set_aside_with_the_reason_p12(road: Road, store: SqlStore) -> None:
    bad, *good = road.accept(*(alert(number) for number in range(30)))
    damage(store, bad.id, data={"from": "another version"})
    assert road.route() == 30
    found = {row["id"]: row["routing_problem"] for row in road.rows("events")}
    assert found[bad.id] == "routing failed: ValidationError"
    assert all(road.states(answer.id) for answer in good)
    assert road.states(bad.id) == {}


def test_an_event_whose_notifications_cannot_be_stored_is_set_aside_too_p12(postgres_url: str) -> None:
    """PostgreSQL refuses a NUL; SQLite does not mind."""
    migrate(postgres_url)
    with closing(open_store(postgres_url)) as store:
        road = Road(store)
        bad, good = road.accept(alert(1), alert(2))
        damage(store, bad.id, recipients=[{"channel": "email", "address": "\x00", "name": "", "language": None}])
        with store.write() as tx:
            tx.save_policy(POLICY.replace('"role:owner", by = ["email"]', '"carried"'), "test", NOW)
        assert road.route() == 2
        assert road.states(good.id) == {"callback endpoint": "due"}
        assert road.states(bad.id) == {}
        assert [row["routing_problem"] for row in road.rows("events")] == ["routing failed: StoreError", None]


@dataclass(frozen=True)
class PlansWithoutAddress:
    """A planner that makes of one event what breaks a constraint of the tables, each time."""

    planner: Planner
    bad: str | None

    def reading(self, tx: Writer, events: Sequence[Event]) -> PlansWithoutAddress:
        """For these events."""
        return replace(self, planner=self.planner.reading(tx, events))

    def plan(self, tx: Writer, event: Event, now: datetime) -> list[NewNotification]:
        """Plan as usual; without an address for the bad one."""
        made = self.planner.plan(tx, event, now)
        if event.id != self.bad:
            return list(made)
        return [replace(one, address=cast("str", None)) for one in made]


def test_an_event_that_breaks_a_constraint_is_set_aside_and_holds_up_no_other_p12(road: Road) -> None:
    bad, good = road.accept(alert(1), alert(2))
    road.pipe = replace(road.pipe, planner=cast("Planner", PlansWithoutAddress(road.pipe.planner, bad.id)))
    assert road.route() == 2
    assert road.states(good.id)
    assert [row["routing_problem"] for row in road.rows("events")] == ["routing failed: StoreError", None]


def test_an_event_of_a_tenant_that_is_not_configured_waits_visibly_p12(road: Road, store: SqlStore) -> None:
    ours, theirs = POLICY.split("[tenants.borealis]")
    with store.write() as tx:
        tx.save_policy(ours, "test", NOW)
    [answer] = road.accept(alert(), tenant=BOREALIS)
    assert answer.status is AnswerStatus.ACCEPTED
    road.route()
    [row] = road.rows("events", BOREALIS)
    assert row["routing_problem"] == "its tenant is not configured"
    with store.write() as tx:
        tx.save_policy(f"{ours}[tenants.borealis]{theirs}", "test", NOW)
    assert road.route() == 1
    assert road.states(answer.id, BOREALIS) == {"email owner": "due"}


def test_a_configuration_is_followed_at_once_by_routing(road: Road, store: SqlStore) -> None:
    road.route()
    with store.write() as tx:
        tx.save_policy(POLICY.replace('by = ["email"] }]', 'by = ["sms"] }]'), "test", NOW)
    [answer] = road.accept(alert())
    road.route()
    assert road.states(answer.id) == {"sms owner": "due", "callback endpoint": "due"}


def test_an_order_of_a_tenant_that_is_configured_later_is_not_lost(store: SqlStore) -> None:
    pipe = pipeline(store, FakeClock())
    pipe.accept([order()], credential())
    pipe.route()
    furnish(store)
    assert pipe.route() == 1
    with store.read() as tx:
        assert tx.orders_by_number(ACME, ["1042"])["1042"].status == "pending"
        rows, _ = tx.list_rows("notifications", ACME, start=0, limit=10, filters={"status": "due"})
    assert len(rows) == 4


# -- messages --------------------------------------------------------------------------------------------------------


def test_a_message_is_the_same_bytes_on_every_try_p4(road: Road, store: SqlStore) -> None:
    road.accept(order(image=PICTURE))
    road.route()
    for channel in road.channels.values():
        channel.answer = lambda _: TemporaryFailure("busy", code="450")
    road.deliver()
    with store.write() as tx:  # neither directory nor configuration changes what was frozen
        tx.save_policy(POLICY.replace("Acme store support", "Somebody else"), "test", NOW)
    road.later(hours=2)
    road.deliver()
    for channel in road.channels.values():
        first, second = channel.sent[: len(channel.sent) // 2], channel.sent[len(channel.sent) // 2 :]
        before = {item.notification_id: item.parts for item in first}
        assert before and {item.notification_id: item.parts for item in second} == before
        for item in channel.sent:
            assert item.attempt_id not in repr(item.parts)


def test_a_broken_template_sends_the_plain_form_and_tells_the_operator_p9(store: SqlStore, tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    shutil.copytree(templates_folder(), folder)
    for name in ("email/alert_opened.html", "email/alert_opened.txt"):
        (folder / name).write_text("{{ nothing.like.that }}")
    road = Road(store, options={"templates": folder})
    [answer] = road.accept(alert(image=PICTURE))
    road.route()
    road.deliver()
    assert road.states(answer.id)["email owner"] == "sent"
    [mail] = road.channels[EMAIL].sent
    assert "Main St" in mail.parts["text"] and "https://notify.example/l/" in mail.parts["text"]


def test_nothing_that_opens_or_decides_is_stored_anywhere_p10(road: Road, store: SqlStore) -> None:
    """Every column of every table, after a full run with decisions in it."""
    road.accept(order(1, image=PICTURE), order(2, image=PICTURE), alert(1, image=PICTURE))
    road.route()
    road.deliver()
    live = [text for channel in road.channels.values() for item in channel.sent for text in item.parts.values()]
    secrets = secrets_of(store)
    assert len(secrets) >= 10
    assert all(any(secret in text for text in live) for secret in secrets)  # they did go out
    stored = everything_stored(store)
    assert not [secret for secret in secrets for text in stored if secret in text]
    for number in numbers_of(store):
        assert not [text for text in stored if text == number]
        assert not [text for text in stored if holds_number(text, number)]


def secrets_of(store: SqlStore) -> list[str]:
    """Every token and short code there is, derived as the sender does."""
    signer = LinkSigner(LINK_KEYS)
    with store.engine.connect() as connection:
        found = connection.execute(select(messages.c.context)).scalars()
        references = [link for context in found for link in context.get("links", {}).values()]
        rows = [link for link in references if "id" in link]
    return [
        signer.sms_code(row["id"])
        if row["short"]
        else signer.token(LinkPurpose(row["purpose"]), row["id"], datetime.fromtimestamp(row["expires"], UTC))
        for row in rows
    ]


def numbers_of(store: SqlStore) -> list[str]:
    """Every match number."""
    signer = LinkSigner(LINK_KEYS)
    with store.engine.connect() as connection:
        contexts = connection.execute(select(messages.c.context)).scalars().all()
    references = [context["number"] for context in contexts if context.get("number")]
    assert references
    return [
        signer.number(OrderId(n["order_id"]), RecipientKey(n["recipient_key"]), n["round"], n["key_id"])
        for n in references
    ]


def everything_stored(store: SqlStore) -> list[str]:
    """Every value of every column of every table, as text."""
    everything = MetaData()
    everything.reflect(store.engine)
    assert len(everything.tables) > 20
    with store.engine.connect() as connection:
        return [
            str(value)
            for table in everything.tables.values()
            for row in connection.execute(table.select())
            for value in row
            if value is not None
        ]


def holds_number(text: str, number: str) -> bool:
    """Whether a stored JSON structure has the number as a value of its own."""
    try:
        waiting = [json.loads(text)]
    except ValueError:
        return False
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and value == number:
            return True
    return False


# -- outcomes --------------------------------------------------------------------------------------------------------


def test_a_temporary_failure_is_tried_again_at_its_time_and_told_p12(road: Road) -> None:
    road.channels[EMAIL].answer = lambda _: TemporaryFailure("greylisted", "451 later", code="451")
    [answer] = road.accept(alert())
    road.route()
    road.deliver()
    told = road.story(answer.id)["email owner"]
    assert (told["status"], told["reason"], told["last_outcome"]) == ("due", "greylisted", "refused")
    assert road.deliver() == 0
    road.channels[EMAIL].answer = lambda _: Receipt()
    road.later(seconds=15)  # half of the first ceiling
    road.deliver()
    told = road.story(answer.id)["email owner"]
    assert (told["status"], [tried["number"] for tried in told["attempts"]]) == ("sent", [1, 2])


def test_a_permanent_failure_ends_and_stops_the_address_when_asked_to(road: Road) -> None:
    road.channels[EMAIL].answer = lambda _: PermanentFailure("no_mailbox", "550", code="550", disable=True)
    [answer] = road.accept(alert(1))
    road.route()
    road.deliver()
    assert road.states(answer.id)["email owner"] == "failed"
    [next_] = road.accept(alert(2))
    road.route()
    assert road.story(next_.id)["email owner"]["reason"] == "opted_out"


def test_a_mail_whose_answer_was_lost_is_sent_again_under_the_same_id_p4(road: Road) -> None:
    road.channels[EMAIL].answer = lambda _: OutcomeUnknown("timeout")
    [answer] = road.accept(alert())
    road.route()
    road.deliver()
    told = road.story(answer.id)["email owner"]
    assert (told["status"], told["last_outcome"]) == ("due", "unknown")
    road.channels[EMAIL].answer = lambda _: Receipt()
    road.later(minutes=5)
    road.deliver()
    ids = {item.target.message_id for item in road.channels[EMAIL].sent if isinstance(item.target, EmailTarget)}
    assert (len(road.channels[EMAIL].sent), len(ids)) == (2, 1)


def test_what_a_receiver_says_cannot_stop_a_bulk_of_outcomes(road: Road) -> None:
    """NUL, half a surrogate pair and endless codes: no database takes them, and the neighbours must be settled."""
    awkward = "\x00\ud800" + "x" * 5000
    road.channels[EMAIL].answer = lambda _: TemporaryFailure("busy", awkward, code=awkward)
    road.channels[CALLBACK].answer = lambda _: Receipt(provider_id=awkward, detail=awkward)
    [answer] = road.accept(alert())
    road.route()
    road.deliver()
    told = road.story(answer.id)
    assert told["email owner"]["attempts"][0]["detail"].startswith("\\u0000\\ud800xxx")
    assert told["callback endpoint"]["status"] == "sent"


def test_what_is_past_its_life_is_not_sent_and_says_so_p12(road: Road) -> None:
    [answer] = road.accept(order(deadline="2026-11-23T11:00:00Z"))
    road.route()
    road.later(minutes=45)  # the order's margin before its deadline
    road.deliver(EMAIL, SMS)
    sweep(road.pipe)
    told = road.story(answer.id)
    assert {told[who]["status"] for who in ("email owner", "sms owner", "email sales_rep")} == {"expired"}
    assert told["email owner"]["reason"] == "too_late"
    assert road.channels[EMAIL].sent == []


def test_a_message_whose_tenant_is_gone_fails_with_the_reason(road: Road, store: SqlStore) -> None:
    [answer] = road.accept(alert())
    road.route()
    with store.write() as tx:
        tx.save_policy("[tenants.borealis]\nname = 'Borealis'\n", "test", NOW)
    road.pipe.refresh()
    road.deliver()
    assert road.story(answer.id)["email owner"]["reason"] == "tenant_gone"


def test_a_message_whose_link_key_is_gone_fails_with_the_reason(road: Road, store: SqlStore) -> None:
    """A short code derives from its key: with another key it would open nothing."""
    [answer] = road.accept(order())
    road.route()
    other = pipeline(store, road.clock, link_keys=(b"another link key of the tests, 32 b",))
    road.pipe = other
    road.deliver(SMS)
    assert road.story(answer.id)["sms owner"]["reason"] == "link_key_gone"


# -- death and lost answers ------------------------------------------------------------------------------------------


def test_a_killed_worker_loses_nothing_and_doubles_at_most_what_it_was_sending_p1_p4(road: Road) -> None:
    """One mail was claimed only; one was sent and its outcome never settled."""
    answers = road.accept(alert(1), alert(2))
    road.route()
    first, _ = road.claim(EMAIL)
    attempt = road.begin(first)
    assert attempt
    road.send(first, attempt)  # ... and the kill comes here
    killed, road.session = road.session, SessionId(new_id())
    road.clock.advance(seconds=11)
    road.pipe.start_session(WorkerSession(road.session, "host", 2, road.clock(), road.clock()))
    swept = sweep(road.pipe)
    assert (swept.dead_sessions, swept.freed, swept.unknown) == (1, 1, 1)
    road.deliver(EMAIL)
    assert {state["email owner"] for state in map(road.states, (a.id for a in answers))} == {"sent"}
    sent = [item.notification_id for item in road.channels[EMAIL].sent]
    assert (len(sent), len(set(sent))) == (3, 2)
    assert not road.pipe.beat_session(killed)


def lose_sms(road: Road) -> tuple[EventId, FakeSms, tuple[str, str]]:
    """An SMS whose answer was lost, at the time of its look-up: its event, the provider, its number and body."""
    sms = road.channels[SMS]
    assert isinstance(sms, FakeSms)
    sms.answer = lambda _: OutcomeUnknown("timeout")
    [answer] = road.accept(order())
    road.route()
    road.deliver(SMS)
    assert road.states(answer.id)["sms owner"] == "unknown"
    road.later(minutes=2)
    lost = sms.sent[-1]
    assert answer.id and isinstance(lost.target, SmsTarget)
    return answer.id, sms, (lost.target.to, lost.parts["text"])


def test_an_sms_whose_answer_was_lost_is_asked_about_before_it_is_repeated_p4(road: Road) -> None:
    event_id, sms, lost = lose_sms(road)
    assert road.deliver(SMS) == 0
    sms.taken = {lost: Receipt(provider_id="SM1")}
    assert road.look_up() == 1
    told = road.story(event_id)["sms owner"]
    assert (told["status"], told["attempts"][0]["provider_id"]) == ("sent", "SM1")


def test_an_sms_that_the_provider_never_had_is_sent_once_more_p4(road: Road) -> None:
    event_id, sms, _ = lose_sms(road)
    sms.answer = lambda _: Receipt(provider_id="SM2")
    assert road.look_up() == 1
    assert road.deliver(SMS) == 1
    assert [tried["outcome"] for tried in road.story(event_id)["sms owner"]["attempts"]] == ["unknown", "sent"]
    assert road.look_up() == 0


def test_what_another_attempt_handed_over_is_not_taken_for_the_lost_one_p4(road: Road) -> None:
    """The same words may have gone to the same number minutes ago: an order withdrawn twice."""
    road.channels[SMS].answer = lambda _: Receipt(provider_id="SM1")
    road.accept(order(1041))
    road.route()
    assert road.deliver(SMS) == 1
    event_id, sms, lost = lose_sms(road)
    sms.taken = {lost: Receipt(provider_id="SM1")}
    assert road.look_up() == 1
    assert road.states(event_id)["sms owner"] == "due"


def test_an_unknown_sms_is_not_repeated_after_its_life_p4(road: Road) -> None:
    event_id, _, _ = lose_sms(road)
    road.later(days=4)
    assert road.look_up() == 1
    told = road.story(event_id)["sms owner"]
    assert (told["status"], told["reason"]) == ("expired", "unknown_until_expiry")


def test_a_look_up_that_fails_holds_up_no_other(road: Road, store: SqlStore) -> None:
    """The text of a tenant that is gone cannot be made again; the next unknown is asked about all the same."""
    event_id, sms, lost = lose_sms(road)
    sms.taken = {lost: TemporaryFailure("look_up")}
    assert road.look_up() == 1
    with store.write() as tx:
        tx.save_policy("[tenants.borealis]\nname = 'Borealis'\n", "test", NOW)
    road.pipe.refresh()
    road.later(minutes=3)
    assert road.look_up() == 1
    assert road.states(event_id)["sms owner"] == "unknown"


def test_an_sms_that_cannot_be_looked_up_is_not_asked_about_for_ever(road: Road) -> None:
    event_id, sms, lost = lose_sms(road)
    sms.taken = {lost: TemporaryFailure("look_up")}
    road.later(days=4)
    assert road.look_up() == 1
    told = road.story(event_id)["sms owner"]
    assert (told["status"], told["reason"]) == ("expired", "unknown_until_expiry")
    road.later(minutes=3)
    assert road.look_up() == 0


def test_every_type_of_event_is_carried(road: Road) -> None:
    """Nothing of the outside's types is left without a way."""
    kinds = [type_ for type_ in DATA_MODELS if not type_.reserved]
    items = [as_sent(envelope(type_, DATA[type_][0], type_.value)) for type_ in kinds]
    answers = road.accept(*items)
    assert {answer.status for answer in answers} == {AnswerStatus.ACCEPTED}
    road.route()
    assert [row["routing_problem"] for row in road.rows("events")] == [None] * len(kinds)
    assert road.deliver(CALLBACK) == len(kinds)
