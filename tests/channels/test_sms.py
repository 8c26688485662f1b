"""SMS: the contract over HTTP, Twilio's own description of its API, the look-up, and the signature of call-backs."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any, ClassVar
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from pydantic import SecretStr
from twilio.request_validator import RequestValidator

from notifier.channels.sms import SmsChannel, SmsSettings, verify_signature
from notifier.config import Settings
from notifier.core.ids import AttemptId, NotificationId, new_id
from notifier.core.model import ChannelName
from notifier.errors import ConfigError, DeliveryError, PermanentFailure, TemporaryFailure
from notifier.ports import Delivery, Receipt, SmsTarget
from notifier.testing import ACME, NOW
from notifier.transport import AllowedNetworks
from tests.channels.contract import TAKEN, ChannelContract, Means, Result, later, never, send, unknown
from tests.channels.servers import Answer, Handler, http, response, serving

ACCOUNT, TOKEN = "AC" + "0" * 32, "a token of the Twilio account"
TO, SENDER = "+34600111222", "+15005550006"
TEXT = "Main St: order 1042 (12 cases), your number 47 https://n.example/s/ABCD"
NOTIFICATION = NotificationId(new_id())
LOOPBACK = AllowedNetworks.parse(["127.0.0.1"])


def delivery(to: str = TO, sender: str = SENDER, **target: Any) -> Delivery:
    """An attempt of one notification; each has a status call-back of its own."""
    attempt = AttemptId(new_id())
    facts: dict[str, Any] = {"status_callback": f"https://n.example/v1/hooks/twilio/{attempt}", "valid_seconds": 3600}
    sms = SmsTarget(to, sender, **(facts | target))
    return Delivery(attempt, NOTIFICATION, ACME, ChannelName.SMS, sms, {"text": TEXT}, NOW)


def channel(base_url: str, seconds: float = 5.0) -> SmsChannel:
    """A channel to a Twilio on this machine."""
    return SmsChannel(SmsSettings(ACCOUNT, SecretStr(TOKEN), base_url, LOOPBACK, seconds))


def says(status: int, code: int | None = None, **headers: str) -> bytes:
    """Twilio's answer."""
    body = {"sid": "SM1", "status": "queued"} if status == 201 else {"code": code, "message": f"to {TO}: no"}
    return response(status, json.dumps(body).encode(), content_type="application/json", **headers)


class TestSms(ChannelContract):
    """The contract."""

    answers: ClassVar[Sequence[tuple[Any, Means]]] = [
        (says(201), Means(TAKEN)),
        # taken, although the answer broke off: a repeat would be a second SMS (P4)
        (b"HTTP/1.1 201 Created\r\ncontent-length: 900\r\n\r\n{\"sid\": \"SM", Means(TAKEN)),
        # the recipient
        (says(400, 21211), never("21211")),
        (says(400, 21408), never("21408")),
        (says(400, 21610), never("21610", disable=True)),  # replied STOP
        (says(400, 21612), never("21612")),
        (says(400, 21614), never("21614")),
        (says(400, 99999), never("99999")),  # a code we do not know yet
        (says(404, 20404), never("20404")),
        # the account or sender, for every message: the lane waits, and as long as Twilio says
        (says(401, 20003), later("20003", lane_wide=True)),
        (says(429, 20429, retry_after="9"), later("20429", lane_wide=True, retry_after=9.0)),
        (response(429), later("429", lane_wide=True)),
        (response(429, retry_after="²"), later("429", lane_wide=True)),
        (says(400, 21611), later("21611", lane_wide=True)),
        (says(429, 63038), later("63038", lane_wide=True)),
        # not taken, and that is sure
        (says(503, 20503), later("20503")),
        (response(503), later("503")),
        # a gateway that lost the answer: looked up before it is sent again (P4)
        (response(500), unknown("500")),
        (response(502, b"<html>bad gateway</html>"), unknown("502")),
        (response(504), unknown("504")),
        # never followed: it would carry the account's token elsewhere
        (response(302, location="http://169.254.169.254/"), never("302")),
        # nonsense
        (response(400, b"[1, 2"), never("400")),
        (response(400, b'{"code": {"a": 1}}'), never("400")),
        (b"HTTP/1.1 20", unknown()),
    ]  # fmt: skip
    hidden: ClassVar[Sequence[str]] = [TOKEN, b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode(), TO, "n.example/s/"]

    def channel(self, port: int, seconds: float = 5.0) -> SmsChannel:
        return channel(f"http://127.0.0.1:{port}", seconds)

    def delivery(self, port: int) -> Delivery:
        return delivery()

    def bad_addresses(self, port: int) -> Sequence[Delivery]:
        return [delivery(sender=""), delivery(to=""), delivery(to="600111222"), delivery(to="+34 600; DROP")]

    def handler(self, answer: Answer, seen: list[bytes]) -> Handler:
        broken = answer in (self.answers[1][0], self.answers[-1][0])
        inner = http(answer, seen=seen)

        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer if isinstance(answer, bytes) else b"")
            await writer.drain()

        return once if broken else inner

    def identity(self, seen: list[bytes]) -> Sequence[bytes]:
        """Twilio has no key for repeats: it is number and text, which the look-up searches for."""
        forms = [dict(parse_qsl(request.partition(b"\r\n\r\n")[2].decode())) for request in seen]
        return [f"{form['To']} {form['Body']}".encode() for form in forms]


def talk(*answers: Answer, deliveries: Sequence[Delivery]) -> tuple[list[Result], list[dict[str, list[str]]]]:
    """Send to a Twilio that answers so in this order; what came out, and the forms it got."""
    seen: list[bytes] = []

    async def main() -> list[Result]:
        async with serving(http(*answers, seen=seen)) as port:
            return await send(channel(f"http://127.0.0.1:{port}"), *deliveries)

    results = asyncio.run(main())
    return results, [parse_qs(request.partition(b"\r\n\r\n")[2].decode(), strict_parsing=True) for request in seen]


@pytest.mark.parametrize(
    "answer", [says(400, 21211), says(429, 20429), says(503), response(502), b"HTTP/1.1 20\r\n\r\n"]
)
def test_a_post_is_never_repeated_within_a_send_p4(answer: bytes) -> None:
    _, forms = talk(answer, deliveries=[delivery()])
    assert len(forms) == 1


def test_a_call_back_address_that_twilio_does_not_take_costs_the_status_not_the_sms() -> None:
    [receipt], [first, second] = talk(says(400, 21609), says(201), deliveries=[delivery()])
    assert isinstance(receipt, Receipt)
    assert "StatusCallback" in first
    assert second == {name: value for name, value in first.items() if name != "StatusCallback"}


def test_the_form_says_recipient_sender_text_life_and_call_back() -> None:
    sent = delivery()
    _, [form] = talk(says(201), deliveries=[sent])
    assert form == {
        "To": [TO],
        "From": [SENDER],
        "Body": [TEXT],
        "ValidityPeriod": ["3600"],
        "StatusCallback": [f"https://n.example/v1/hooks/twilio/{sent.attempt_id}"],
    }
    _, [form] = talk(says(201), deliveries=[delivery(sender="MG" + "1" * 32, valid_seconds=None)])
    assert form["MessagingServiceSid"] == ["MG" + "1" * 32]
    assert "From" not in form and "ValidityPeriod" not in form


def test_the_receipt_names_twilios_message() -> None:
    [receipt], _ = talk(says(201), deliveries=[delivery()])
    assert receipt == Receipt(provider_id="SM1", detail="queued")


@pytest.mark.processes
def test_twilios_own_description_of_its_api_finds_no_fault(prism_twilio: str) -> None:
    results = asyncio.run(send(channel(prism_twilio, 20.0), delivery(), delivery(sender="MG" + "1" * 32)))
    assert [type(result) for result in results] == [Receipt] * 2, results


@pytest.mark.processes
@pytest.mark.parametrize(("more", "faults"), [("", {"response"}), ("&PageSize=many", {"query"})])
def test_it_finds_no_fault_with_a_look_up_either(prism_twilio: str, more: str, faults: set[str]) -> None:
    """Twilio's own example of a list breaks its description (relative links), so only our side is looked at."""
    seen: list[bytes] = []
    look_up(page(), seen)
    credentials = next(line for line in seen[0].decode().split("\r\n") if line.startswith("authorization:"))
    request = urllib.request.Request(f"{prism_twilio}{seen[0].split()[1].decode()}{more}")
    request.add_header(*credentials.split(": ", 1))
    with pytest.raises(urllib.error.HTTPError) as answered:
        urllib.request.urlopen(request, timeout=20)
    with answered.value as answer:
        assert {fault["location"][0] for fault in json.load(answer)["validation"]} == faults


# -- look-up (P4) ------------------------------------------------------------------------------------------------------


def listed(at: datetime | None = NOW, to: str = TO, body: str = TEXT, sid: str = "SM1") -> dict[str, Any]:
    """A message in Twilio's list."""
    return {"to": to, "body": body, "sid": sid, "status": "sent", "date_created": format_datetime(at) if at else None}


def look_up(
    answer: Answer, seen: list[bytes] | None = None, known: Collection[str] = ()
) -> Receipt | DeliveryError | None:
    """What a look-up for our message says."""

    async def main() -> Receipt | DeliveryError | None:
        async with serving(http(answer, seen=seen)) as port:
            one = channel(f"http://127.0.0.1:{port}")
            try:
                return await one.lookup(TO, TEXT, NOW, known)
            except DeliveryError as error:
                return error
            finally:
                await one.close()

    return asyncio.run(main())


def page(*messages: dict[str, Any], **more: Any) -> bytes:
    """A page of the list."""
    return response(200, json.dumps({"messages": list(messages), **more}).encode())


@pytest.mark.parametrize(
    ("messages", "sid"),
    [
        ([], None),
        ([listed()], "SM1"),
        ([listed(body="another"), listed(sid="SM2")], "SM2"),
        # Twilio's clock is behind ours
        ([listed(NOW - timedelta(seconds=30))], "SM1"),
        # the same words to the same number an hour ago are another message
        ([listed(NOW - timedelta(hours=1))], None),
        ([listed(to="+34600111223")], None),
        # without a time: rather believed than sent twice
        ([listed(None)], "SM1"),
    ],
)
def test_a_message_is_found_by_number_text_and_time_p4(messages: list[dict[str, Any]], sid: str | None) -> None:
    found = look_up(page(*messages))
    assert (found.provider_id if isinstance(found, Receipt) else found) == sid


def test_the_same_words_of_another_attempt_are_not_taken_for_the_lost_one_p4() -> None:
    """An order withdrawn twice says the same twice to the same number within minutes."""
    assert look_up(page(listed(sid="SM1")), known={"SM1"}) is None
    found = look_up(page(listed(sid="SM1"), listed(sid="SM2")), known={"SM1"})
    assert isinstance(found, Receipt) and found.provider_id == "SM2"


@pytest.mark.parametrize(
    "answer",
    [
        response(500),
        response(429),
        response(200, b"<html>maintenance</html>"),
        response(200, b"{}"),
        response(200, b'{"messages": [1]}'),
        response(200, page(listed())[:-40].partition(b"\r\n\r\n")[2]),  # cut
        page(*(listed(sid=f"SM{number}", body="x" * 8000) for number in range(200))),  # more than is read
        page(listed(body="another"), next_page_uri="/2010-04-01/next"),  # it may stand on the next page
    ],
)
def test_a_list_that_was_not_read_to_its_end_does_not_say_not_there_p4(answer: bytes) -> None:
    error = look_up(answer)
    assert isinstance(error, TemporaryFailure)
    assert error.reason == "look_up"


def test_a_look_up_asks_from_the_day_of_the_attempt() -> None:
    seen: list[bytes] = []
    look_up(page(), seen)
    target = urlsplit(seen[0].split(b" ")[1].decode())
    assert target.path == f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    assert parse_qs(target.query) == {"To": [TO], "DateSent>": ["2026-11-23"], "PageSize": ["200"]}


# -- settings and call-backs -------------------------------------------------------------------------------------------


def test_an_account_makes_the_channel_and_needs_its_token() -> None:
    assert SmsChannel.from_settings(Settings()) is None
    assert isinstance(
        SmsChannel.from_settings(Settings(twilio_account_sid=ACCOUNT, twilio_auth_token=SecretStr(TOKEN))), SmsChannel
    )
    with pytest.raises(ConfigError, match="NOTIFIER_TWILIO_AUTH_TOKEN"):
        SmsChannel.from_settings(Settings(twilio_account_sid=ACCOUNT))


def test_plain_http_is_for_a_twilio_on_this_machine_only() -> None:
    [error] = asyncio.run(send(channel("http://twilio.example"), delivery()))
    assert isinstance(error, PermanentFailure)
    assert error.reason == "not_https"


URL = "https://n.example/v1/hooks/twilio/0193"
FIELDS = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": TO}
GOOD = RequestValidator(TOKEN).compute_signature(URL, FIELDS)


@pytest.mark.parametrize(
    ("url", "fields", "signature", "expected"),
    [
        (URL, FIELDS, GOOD, True),
        (URL + "4", FIELDS, GOOD, False),  # another attempt
        (URL, FIELDS | {"MessageStatus": "failed"}, GOOD, False),
        (URL, FIELDS, "", False),
        (URL, FIELDS, "ÄÖ", False),
        (URL, FIELDS, RequestValidator("another token").compute_signature(URL, FIELDS), False),
    ],
)
def test_a_call_back_is_believed_with_twilios_signature_only(
    url: str, fields: dict[str, str], signature: str, expected: bool
) -> None:
    assert verify_signature(TOKEN)(url, fields, signature) is expected


def test_without_a_token_no_call_back_is_believed() -> None:
    forged = RequestValidator("").compute_signature(URL, FIELDS)
    assert verify_signature("")(URL, FIELDS, forged) is False
