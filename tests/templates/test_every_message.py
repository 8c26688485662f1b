"""Every template with every sample on every channel: complete, in order, and true to who reads it (outcome 5)."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta

import pytest

from notifier.core import samples
from notifier.core.model import ChannelName, EventType
from notifier.core.rendering import masked
from notifier.core.sms_text import segments
from tests.templates.messages import FOLDER, IDS, NUMBER, SAMPLES, SHORT, facts, live, mail, parts, sms, templates

NUMBER_LINE = re.compile(r"[Nn]umber[^:\n]{0,40}:\s*(\d{2})\b")
PEOPLE = (ChannelName.EMAIL, ChannelName.SMS)


def test_there_is_a_template_for_every_event_on_every_channel_that_writes_to_people() -> None:
    wanted = {
        f"{channel}/{type_.kind}.{ending}"
        for type_ in EventType
        for channel, endings in {
            "email": ("subject.txt", "html", "txt"),
            "sms": ("txt",),
        }.items()
        for ending in endings
    }
    folders = [FOLDER / name for name in ("email", "sms")]
    found = {f"{folder.name}/{file.name}" for folder in folders for file in folder.iterdir() if file.name[0] != "_"}
    assert found == wanted


def test_every_sample_renders_on_every_channel_with_and_without_links() -> None:
    assert templates().check(samples.messages()) == []


@pytest.mark.parametrize(("type_", "index"), SAMPLES, ids=IDS)
@pytest.mark.parametrize("channel", PEOPLE, ids=lambda channel: channel.value)
def test_masked_values_open_nothing_p10(type_: EventType, index: int, channel: ChannelName) -> None:
    message = samples.message(facts(type_, index), channel)
    shown = "".join(templates().render(message, masked(message)).values())
    assert NUMBER_LINE.search(shown) is None
    assert all("*" in url for url in re.findall(r"https?://\S+/[ls]/\S+", shown))


@pytest.mark.parametrize(("type_", "index"), SAMPLES, ids=IDS)
def test_the_subject_says_store_and_order_first(type_: EventType, index: int) -> None:
    subject = mail(type_, index)["subject"]
    store = "Main St" if samples.DATA[type_][index]["outlet"] != {"code": "X"} else "X"
    assert subject.startswith(f"{store} · ")
    if "order." in type_.value or "decision." in type_.value:
        assert subject.startswith(f"{store} · Order {samples.DATA[type_][index]['order_number']}")
    assert len(subject) <= 100
    assert "\n" not in subject


@pytest.mark.parametrize(("type_", "index"), SAMPLES, ids=IDS)
def test_the_text_part_has_every_link_whole_and_on_a_line_of_its_own(type_: EventType, index: int) -> None:
    message = samples.message(facts(type_, index), ChannelName.EMAIL)
    lines = parts(message)["text"].splitlines()
    assert [url for url in live(message).urls.values() if url not in lines] == []


@pytest.mark.parametrize(("type_", "index"), SAMPLES, ids=IDS)
def test_every_mail_says_why_whom_to_call_and_how_to_know_it_is_ours(type_: EventType, index: int) -> None:
    for part in ("html", "text"):
        shown = mail(type_, index)[part]
        assert "You get this because Acme Beverages lists you as owner of" in shown
        assert "Questions? Acme store support" in shown
        assert "+34 600 000 000" in shown
        assert "help@acme.example" in shown
        assert "Is this message really from us?" in shown


#: Kinds whose reader is asked for an answer.
ASKING = (EventType.ORDER_RECOMMENDED, EventType.DECISION_UNDONE)


@pytest.mark.parametrize("type_", ASKING, ids=lambda type_: type_.kind)
def test_the_number_is_live_text_near_the_button_in_the_preheader_and_in_the_text(type_: EventType) -> None:
    shown = mail(type_)
    assert "Your number for this order: 47" in shown["text"]
    preheader, _, body = shown["html"].partition("</div>")
    assert f"Your number for this order: {NUMBER}." in preheader
    after_button = body[body.index("See the order</a>") :]
    assert "Your number for this order: <strong" in after_button[:400]
    assert [match[1] for match in NUMBER_LINE.finditer(shown["text"])] == [NUMBER]


@pytest.mark.parametrize("type_", ASKING, ids=lambda type_: type_.kind)
def test_in_an_sms_the_number_stands_just_before_the_link(type_: EventType) -> None:
    assert f"Your number for this order: {NUMBER} {SHORT}order" in sms(type_)


@pytest.mark.parametrize(("type_", "index"), [row for row in SAMPLES if row[0] not in ASKING])
def test_the_number_stands_nowhere_else(type_: EventType, index: int) -> None:
    shown = mail(type_, index)
    assert NUMBER_LINE.search(shown["text"]) is None
    assert "Your number" not in shown["html"] + sms(type_, index)


def test_who_may_not_decide_is_told_so_and_gets_no_number() -> None:
    shown = mail(EventType.ORDER_RECOMMENDED, may_act=False)
    assert "the people responsible for the store answer this order" in shown["text"]
    assert "the people responsible for the store answer this order" in shown["html"]
    for text in (shown["html"], shown["text"], sms(EventType.ORDER_RECOMMENDED, may_act=False)):
        assert "Your number" not in text


def test_a_paused_order_asks_for_nothing() -> None:
    shown = mail(EventType.ORDER_RECOMMENDED, 2)
    for text in (shown["html"], shown["text"], sms(EventType.ORDER_RECOMMENDED, 2)):
        assert "Ordering is paused" in text
        assert "Your number" not in text
        assert "Answer by" not in text


def test_what_silence_means_stands_beside_the_time_to_answer() -> None:
    sentence = "Answer by Fri 27 Nov, 14:00 (store time). If nobody answers, nothing is ordered."
    shown = mail(EventType.ORDER_RECOMMENDED)
    assert sentence in shown["text"].splitlines()
    assert shown["html"].count(sentence) == 2  # preheader and lead
    assert "Answer by Fri 27 Nov, 14:00, else nothing is ordered." in sms(EventType.ORDER_RECOMMENDED)


def test_an_order_without_deadline_or_prices_is_complete() -> None:
    shown = mail(EventType.ORDER_RECOMMENDED, 1)
    assert "If nobody answers, nothing is ordered." in shown["text"]
    assert "No answer: nothing is ordered." in sms(EventType.ORDER_RECOMMENDED, 1)
    assert "Answer by" not in shown["text"]
    assert ">Price<" not in shown["html"]


def test_a_receipt_says_what_is_ordered_by_whom_and_what_to_do_if_it_is_wrong() -> None:
    text = mail(EventType.DECISION_RECORDED)["text"]
    assert "Order 1042 was changed, 36 cases ordered, 386.72 EUR" in text
    assert "Alice decided on Mon 23 Nov, 10:32 (store time), from the link in an email." in text
    assert "Undo it on the page until Mon 23 Nov, 10:42, with the number from the first message" in text
    assert "Or call Acme store support (+34 600 000 000) before then." in text
    told = mail(EventType.DECISION_RECORDED, may_act=False)["text"]
    assert "Is this wrong? Call Acme store support (+34 600 000 000) before Mon 23 Nov, 10:42." in told
    assert '- 10 cases: "Cola Zero 500 ml", case of 24, suggested 12, 124.00 EUR' in text
    assert "nothing is ordered" in mail(EventType.DECISION_RECORDED, 2)["text"]


def test_an_undoing_says_who_took_what_back_and_what_comes_next() -> None:
    shown = mail(EventType.DECISION_UNDONE)
    said = (
        "Bob took the decision of Alice (accepted, 38 cases) back on Mon 23 Nov, 10:38 (store time), "
        "from the link in a text message. The order can be answered again."
    )
    assert said in shown["text"] and said in shown["html"]


def test_an_order_that_was_taken_back_too_late_to_be_answered_again_asks_for_nothing() -> None:
    made = facts(EventType.DECISION_UNDONE, 0)
    assert made.order is not None
    over = replace(made, order=replace(made.order, answer_by=made.event.time - timedelta(seconds=1)))
    for channel in (ChannelName.EMAIL, ChannelName.SMS):
        for part in parts(samples.message(over, channel)).values():
            assert "Your number" not in part and "open again" not in part and "answered again" not in part
            assert "is not ordered any more" in part


#: (kind, words its SMS must carry: the demo's people read them)
WORDS = (
    (EventType.ORDER_RECOMMENDED, ("1042", "suggested", "38 cases")),
    (EventType.ORDER_WITHDRAWN, ("1042", "withdrawn")),
    (EventType.ORDER_DECIDED, ("1042", "decided", "changed")),
    (EventType.DECISION_RECORDED, ("1042", "changed", "36 cases")),
    (EventType.DECISION_UNDONE, ("1042", "open again")),
    (EventType.ALERT_OPENED, ("Out of stock", "Cola Zero 500 ml", "10:12")),
    (EventType.ALERT_CLOSED, ("solved", "Out of stock")),
    (EventType.IMAGE_PROCESSED, ("2 products missing",)),
    (EventType.OPPORTUNITY_MISSED, ("184.00 EUR",)),
)


@pytest.mark.parametrize(("type_", "words"), WORDS, ids=[row[0].kind for row in WORDS])
def test_an_sms_names_store_object_and_news(type_: EventType, words: tuple[str, ...]) -> None:
    text = sms(type_)
    assert text.startswith("Main St: ")
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(("type_", "index"), SAMPLES, ids=IDS)
def test_an_sms_is_in_the_cheap_alphabet_and_at_most_two_segments(type_: EventType, index: int) -> None:
    size = segments(sms(type_, index))
    assert size.encoding == "GSM-7"
    assert size.count <= 2


#: What carriers and Twilio act upon when it is sent back, and what a hurried person would send back if told to.
KEYWORDS = re.compile(r"(?i)\b(stop|stopall|unsubscribe|cancel|end|quit|start|unstop|yes|help|info|reply|respond)\b")


@pytest.mark.parametrize(("type_", "index"), SAMPLES, ids=IDS)
def test_no_sms_suggests_a_word_to_send_back(type_: EventType, index: int) -> None:
    assert KEYWORDS.search(sms(type_, index).replace(SHORT, "")) is None


@pytest.mark.parametrize(("type_", "index"), SAMPLES, ids=IDS)
def test_a_payload_is_the_event_as_it_came_and_carries_no_link_p10(type_: EventType, index: int) -> None:
    message = samples.message(facts(type_, index), ChannelName.CALLBACK)
    payload = json.loads(parts(message)["payload"])
    assert set(payload) == {"type", "timestamp", "data", "sequence"}
    assert payload["type"] == type_.value
    assert payload["data"]["event_id"] == message.context["data"]["event_id"]
    assert "/l/" not in json.dumps(payload)
    sent = dict(facts(type_, index).event.data)
    if type_ is EventType.DECISION_RECORDED:
        sent["final"] = True  # the sample is told after the time to undo
    assert {name: payload["data"][name] for name in sent} == json.loads(json.dumps(sent))
