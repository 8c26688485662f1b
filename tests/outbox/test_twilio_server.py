"""The Twilio-shaped server, asked by Twilio's own client; its status call-backs checked by Twilio's own validator."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from notifier.outbox.twilio_api import LONGEST_BODY, Refusal, Sms, page_of, read_request
from tests.outbox.conftest import MAIN, SID, TOKEN, RunningOutbox, Show, environment
from tests.peers.process import answers, find_free_port, running, wait_until

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
SERVICE = "MG" + "1a" * 16


class Local(TwilioHttpClient):  # type: ignore[misc]  # the client is not typed
    """Sends what is meant for api.twilio.com to the outbox."""

    def __init__(self, base: str) -> None:
        super().__init__(timeout=10, max_retries=0)
        self.base = base

    def request(self, method: str, uri: str, *rest: Any, **more: Any) -> Any:
        parts = urlsplit(uri)
        query = f"?{parts.query}" if parts.query else ""
        return super().request(method, self.base + parts.path + query, *rest, **more)


@pytest.fixture(scope="module")
def client(outbox: RunningOutbox) -> Client:
    return Client(SID, TOKEN, http_client=Local(outbox.url))


# -- messages ----------------------------------------------------------------------------------------------------------


def test_a_message_is_logged_as_the_checks_read_it(outbox: RunningOutbox, client: Client) -> None:
    """demo/people.py and demo/check.py rely on these fields."""
    made = client.messages.create(to="+34600000010", from_="+15005550006", body="Cooler warm: 9.2 C")
    assert (made.status, made.num_segments, made.error_code) == ("queued", "1", None)
    sms = next(sms for sms in outbox.log("sms") if sms["sid"] == made.sid)
    assert sms["to"] == "+34600000010"
    assert sms["from"] == "+15005550006"
    assert sms["body"] == "Cooler warm: 9.2 C"
    assert (sms["encoding"], sms["segments"], sms["units"]) == ("GSM-7", 1, 18)


def test_segments_are_counted_as_carriers_bill_them(client: Client) -> None:
    """70 UCS-2 characters fit in one message, 71 need two of 67."""
    for body, count in [("я" * 70, "1"), ("я" * 71, "2"), ("a" * 160, "1"), ("a" * 161, "2"), ("€" * 81, "2")]:
        assert client.messages.create(to="+34600000011", from_="COOLR", body=body).num_segments == count


def test_a_message_moves_on_to_delivered(client: Client) -> None:
    sid = client.messages.create(to="+34600000012", messaging_service_sid=SERVICE, body="x").sid
    assert sid is not None
    wait_until(lambda: client.messages(sid).fetch().status == "delivered", "delivered", 5)


def test_a_lost_answer_is_looked_up_by_recipient(client: Client) -> None:
    """P4: also on the same day, while it is still queued."""
    made = client.messages.create(to="+34600000013", from_="COOLR", body="first")
    client.messages.create(to="+34600000014", from_="COOLR", body="somebody else's")
    today = datetime.now(UTC).date()
    assert [found.sid for found in client.messages.list(to="+34600000013", date_sent_after=today)] == [made.sid]
    assert client.messages.list(to="+34600000013", date_sent_after=today + timedelta(days=1)) == []


def test_a_list_longer_than_a_page_is_read_whole_by_the_client(client: Client) -> None:
    for number in range(7):
        client.messages.create(to="+34600000015", from_="COOLR", body=f"number {number}")
    found = client.messages.list(to="+34600000015", page_size=3)
    assert [sms.body for sms in found] == [f"number {number}" for number in reversed(range(7))]


@pytest.mark.parametrize(
    ("form", "code"),
    [
        # Twilio's own test numbers
        ({"to": "+15005550001"}, 21211),
        ({"to": "+15005550002"}, 21612),
        ({"to": "+15005550003"}, 21408),
        ({"to": "+15005550004"}, 21610),
        ({"to": "+15005550009"}, 21614),
        ({"from_": "+15005550001"}, 21212),
        ({"from_": "+15005550007"}, 21606),
        ({"from_": "+15005550008"}, 21611),
        # what is wrong by itself
        ({"to": "34600000001"}, 21211),
        ({"to": "+34 600 000 001"}, 21211),
        ({"to": "alice@example.com"}, 21211),
        ({"from_": "a name too long"}, 21212),
        ({"body": ""}, 21602),
        ({"body": "x" * (LONGEST_BODY + 1)}, 21617),
        ({"status_callback": "not a url"}, 21609),
        ({"status_callback": "ftp://x.example/"}, 21609),
        ({"from_": "", "messaging_service_sid": "MG1"}, 21701),
    ],
)
def test_refusals_carry_twilios_codes(client: Client, form: dict[str, str], code: int) -> None:
    with pytest.raises(TwilioRestException) as raised:
        client.messages.create(**{"to": "+34600000001", "from_": "+15005550006", "body": "x", **form})
    assert (raised.value.status, raised.value.code) == (400, code)


@pytest.mark.parametrize(("missing", "code"), [("To", 21604), ("From", 21603), ("Body", 21602)])
def test_a_missing_field_is_named_by_its_code(outbox: RunningOutbox, missing: str, code: int) -> None:
    assert outbox.sms(**{missing: ""}).json()["code"] == code


@pytest.mark.parametrize(
    ("account", "auth"),
    [
        (SID, (SID, "0" * 32)),
        (SID, ("AC" + "1" * 32, TOKEN)),
        ("AC" + "1" * 32, (SID, TOKEN)),  # somebody else's account
        (SID, None),
        (SID, ("é", "ñ")),
    ],
)
def test_without_the_accounts_credentials_there_is_no_entry(
    outbox: RunningOutbox, account: str, auth: tuple[str, str] | None
) -> None:
    url = f"{outbox.url}/2010-04-01/Accounts/{account}/Messages.json"
    credentials = httpx.BasicAuth(*auth) if auth else httpx.Auth()
    with httpx.Client(trust_env=False) as anybody:
        for answer in (anybody.get(url, auth=credentials), anybody.post(url, data={"To": "+1"}, auth=credentials)):
            assert (answer.status_code, answer.json()["code"]) == (401, 20003)


def test_a_broken_authorization_is_a_missing_one(outbox: RunningOutbox) -> None:
    url = f"{outbox.url}/2010-04-01/Accounts/{SID}/Messages.json"
    for value in ("Basic", "Basic !!!!", f"Bearer {TOKEN}", "Basic \xff"):
        answer = httpx.get(url, headers={b"Authorization": value.encode("latin-1")}, trust_env=False)
        assert answer.status_code == 401


def test_a_request_that_is_too_large_is_refused(outbox: RunningOutbox) -> None:
    assert outbox.sms(Body="x" * 70_000).status_code == 413
    assert outbox.sms(**{f"Field{number}": "x" for number in range(101)}).status_code == 413


def test_an_unknown_message_is_not_found(client: Client) -> None:
    with pytest.raises(TwilioRestException) as raised:
        client.messages("SM" + "0" * 32).fetch()
    assert (raised.value.status, raised.value.code) == (404, 20404)


def test_a_restarted_outbox_still_finds_what_it_took_before(tmp_path: Path) -> None:
    """P4: a provider that forgets would have its callers send again."""
    port = find_free_port()
    up = RunningOutbox(tmp_path, port, find_free_port())
    variables = environment(tmp_path, up.http_port, up.smtp_port)
    for number in range(2):
        with running(MAIN, lambda: answers(port), log=tmp_path / "log", environment=variables):
            if number == 0:
                sid = up.sms(Body="before", StatusCallback="http://127.0.0.1:1/").json()["sid"]
                service = up.sms(Body="service", From="", MessagingServiceSid=SERVICE).json()["sid"]
            again = Client(SID, TOKEN, http_client=Local(up.url))
            assert sorted(sms.sid or "" for sms in again.messages.list(to="+34600000001")) == sorted([sid, service])
    assert len(up.log("sms")) == 2


# -- status call-backs ---------------------------------------------------------------------------------------------


class Receiver(ThreadingHTTPServer):
    """Takes status call-backs."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:  # self is the receiver
                form = dict(parse_qsl(handler.rfile.read(int(handler.headers["Content-Length"])).decode()))
                self.got.append((handler.path, form, handler.headers["X-Twilio-Signature"]))
                handler.send_response(204)
                handler.end_headers()

            def log_message(handler, *_: Any) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_status_call_backs_are_signed_as_twilio_signs_them(
    client: Client, receiver: Receiver, show: Show, outbox: RunningOutbox
) -> None:
    url = f"{receiver.url}/v1/hooks/twilio/acme?attempt=42"
    made = client.messages.create(to="+34600000016", from_="+15005550006", body="x", status_callback=url)
    wait_until(lambda: len(receiver.got) == 2, "two call-backs", 5)
    assert [form["MessageStatus"] for _, form, _ in receiver.got] == ["sent", "delivered"]
    for path, form, signature in receiver.got:
        assert path == "/v1/hooks/twilio/acme?attempt=42"
        assert (form["MessageSid"], form["To"], form["AccountSid"]) == (made.sid, "+34600000016", SID)
        assert RequestValidator(TOKEN).validate(url, form, signature)
        assert not RequestValidator("0" * 32).validate(url, form, signature)
        assert not RequestValidator(TOKEN).validate(url, {**form, "MessageStatus": "failed"}, signature)
    id_ = next(sms["id"] for sms in outbox.log("sms") if sms["sid"] == made.sid)
    wait_until(lambda: "delivered: answered 204" in show(f"/sms/{id_}").text, "the page to tell", 5)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        # The outbox is on this machine; what it is asked to call must be too.
        ("http://192.0.2.1/x", "not told, the outbox calls nobody outside this machine"),
        ("http://127.0.0.1.evil.example/x", "not told, the outbox calls nobody outside this machine"),
        ("http://127.0.0.1:1/x", "no answer (ConnectError)"),
        ("http://127.0.0.1:1/\x7f", "no answer (InvalidURL)"),
    ],
)
def test_a_call_back_that_cannot_be_made_is_told_on_the_page(
    outbox: RunningOutbox, client: Client, show: Show, url: str, told: str
) -> None:
    made = client.messages.create(to="+34600000017", from_="COOLR", body="x", status_callback=url)
    id_ = next(sms["id"] for sms in outbox.log("sms") if sms["sid"] == made.sid)
    wait_until(lambda: f"sent: {told}" in show(f"/sms/{id_}").text, told, 8)


# -- what has no I/O ---------------------------------------------------------------------------------------------------


def message(
    to: str = "+34600000001", *, at: datetime = NOW, sent: datetime | None = None, sender: str = "COOLR"
) -> Sms:
    made = read_request({"To": to, "From": sender, "Body": "x"}, SID, "SM" + "0" * 32, at)
    assert isinstance(made, Sms)
    made.sent = sent
    return made


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, True),
        ({"To": "+34600000001"}, True),
        ({"To": "+34600000002"}, False),
        ({"From": "OTHER"}, False),
        ({"DateSent": "2026-11-25"}, True),
        ({"DateSent": "2026-11-24"}, False),
        ({"DateSent>": "2026-11-25"}, True),
        ({"DateSent>": "2026-11-26"}, False),
        ({"DateSent>": "2026-11-25T12:00:01Z"}, False),
        ({"DateSent<": "2026-11-25"}, True),
        ({"DateSent<": "2026-11-24"}, False),
    ],
)
def test_lists_are_filtered_as_twilio_filters_them(query: dict[str, str], found: bool) -> None:
    page = page_of([message()], query, SID)
    assert isinstance(page, dict)
    assert bool(page["messages"]) is found


@pytest.mark.parametrize(
    "query", [{"PageSize": "x"}, {"Page": "x"}, {"DateSent": "yesterday"}, {"DateSent>": "2026-99-99"}]
)
def test_nonsense_in_a_list_request_is_refused(query: dict[str, str]) -> None:
    assert page_of([message()], query, SID) == Refusal(400, 20001, "A parameter of the list is not valid.")
