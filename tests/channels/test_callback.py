"""Callbacks: the contract, signatures that other people's libraries verify, and receivers that misbehave."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import ssl
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
import standardwebhooks
import svix
import trustme

from notifier.channels.callback import CallbackChannel, CallbackSettings, build
from notifier.config import Settings
from notifier.core import samples
from notifier.core.ids import AttemptId, NotificationId, new_id
from notifier.core.model import AttemptOutcome, ChannelName, EventType
from notifier.core.rendering import Live, Templates
from notifier.core.retrying import CEILINGS, after_error
from notifier.errors import ConfigError, DeliveryError, OutcomeUnknown, PermanentFailure, TemporaryFailure
from notifier.ports import Delivery, EndpointTarget, Receipt
from notifier.testing import ACME, NOW, templates_folder
from notifier.transport import AllowedNetworks
from tests.channels.contract import TAKEN, ChannelContract, Means, later, never, send, unknown
from tests.channels.servers import Act, Answer, Handler, http, read_request, response, serving

SECRET, OLDER = b"a secret of the ERP, thirty two b", b"the secret that it had before now"
PAYLOAD = json.dumps({"type": "coolr.alert.opened", "timestamp": "2026-11-23T10:00:00Z", "data": {"store": "Café"}})
LOOPBACK = AllowedNetworks.parse(["127.0.0.1"])
DATE = format_datetime(NOW + timedelta(seconds=70), usegmt=True)
WEBHOOK_ID = NotificationId(new_id())


def delivery(url: str, secrets: Sequence[bytes] = (SECRET,), at: datetime = NOW) -> Delivery:
    """An attempt of one notification."""
    target = EndpointTarget(url, tuple(secrets), WEBHOOK_ID)
    return Delivery(AttemptId(new_id()), WEBHOOK_ID, ACME, ChannelName.CALLBACK, target, {"payload": PAYLOAD}, at)


def channel(seconds: float = 5.0, verify: object = True) -> CallbackChannel:
    """A channel that may call this machine."""
    return CallbackChannel(CallbackSettings(LOOPBACK, verify, total=seconds))


class TestCallback(ChannelContract):
    """The contract over HTTP."""

    answers: ClassVar[Sequence[tuple[Any, Means]]] = [
        # anything from 200 to 299 is an acknowledgement
        (response(200, b"thank you"), Means(TAKEN)),
        (response(202), Means(TAKEN)),
        (response(204), Means(TAKEN)),
        (response(299), Means(TAKEN)),
        # a redirect would carry signed data to a place nobody named: not followed, another try later
        (response(301, location="https://elsewhere.example/"), later("301")),
        (response(307, location="http://169.254.169.254/latest/meta-data/"), later("307")),
        # "not for me" is usually a deployment in progress, a wrong secret gets mended
        (response(400), later("400")),
        (response(401), later("401")),
        (response(404), later("404")),
        # the receiver wants no more: the endpoint is switched off
        (response(410), never("410", disable=True)),
        # too fast: everything for this endpoint waits, as long as it says
        (response(429), later("429", lane_wide=True)),
        (response(429, retry_after="7"), later("429", lane_wide=True, retry_after=7.0)),
        (response(429, retry_after=DATE), later("429", lane_wide=True, retry_after=70.0)),
        (response(429, retry_after="soon"), later("429", lane_wide=True)),
        (response(429, retry_after="99999999999"), later("429", lane_wide=True, retry_after=86_400.0)),
        # its own trouble
        (response(500, PAYLOAD.encode()), later("500")),
        (response(502), later("502")),
        (response(503), later("503")),
        (response(503, retry_after="120"), later("503", lane_wide=True, retry_after=120.0)),
        # the status was said; what breaks off behind it leaves no doubt (P4)
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort" , Means(TAKEN)),
        (b"HTTP/1.1 500 X\r\ncontent-length: 100\r\n\r\nshort", later("500")),
        # packed so that it is no HTTP: nothing in it is believed
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\nbad\r\n", unknown()),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nbad\r\n", unknown()),
        # no status at all: the receiver may have acted
        (b"HTTP/1.1 20", unknown()),
        (b"HTTP/1.1 200 OK\r\ncontent-le", unknown()),
        (b"hello, this is a mail server\r\n\r\n", unknown()),
        (b"HTTP/1.1 200 OK\r\n" + b"x-a: " + b"a" * 20_000 + b"\r\n\r\n", unknown()),
        (b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: 1\r\n" % number for number in range(5000)) + b"\r\n", unknown()),
        # a body that unpacks to a gigabyte is not unpacked
        (response(200, gzip.compress(bytes(50_000_000)), content_encoding="gzip"), Means(TAKEN)),
    ]  # fmt: skip
    hidden: ClassVar[Sequence[str]] = [
        base64.b64encode(SECRET).decode(), repr(SECRET), "customer-7731", "Café",
    ]  # fmt: skip

    def channel(self, port: int, seconds: float = 5.0) -> CallbackChannel:
        return channel(seconds)

    def delivery(self, port: int) -> Delivery:
        return delivery(f"http://127.0.0.1:{port}/hooks/customer-7731")

    def bad_addresses(self, port: int) -> Sequence[Delivery]:
        urls = [
            f"http://user:customer-7731@127.0.0.1:{port}/",  # a password in an address ends up in logs
            f"ftp://127.0.0.1:{port}/",
            "http:///customer-7731",
            "https://[::1/customer-7731",
            "https://exa\x00mple.com/",
            f"http://erp.example:{port}/",  # plain http is for listed addresses
            "http://169.254.169.254/latest/meta-data/",
        ]
        return [delivery(url) for url in urls]

    def handler(self, answer: Answer, seen: list[bytes]) -> Handler:
        honest = isinstance(answer, bytes) and b"content-length" in answer and not answer.endswith(b"short")
        inner = http(answer, seen=seen)

        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await read_request(reader))
            writer.write(answer if isinstance(answer, bytes) else b"")
            await writer.drain()

        return inner if honest or isinstance(answer, Act) else once

    def identity(self, seen: list[bytes]) -> Sequence[bytes]:
        return [line for request in seen for line in request.split(b"\r\n") if line.startswith(b"webhook-id:")]


# -- signatures --------------------------------------------------------------------------------------------------------


def headers_of(secrets: Sequence[bytes], at: datetime) -> tuple[dict[str, str], bytes]:
    """Headers and body as they leave."""
    _, headers, body = build(delivery("https://erp.example/hook", secrets, at))
    return dict(headers), body


def spelt(secret: bytes) -> str:
    """As an endpoint's owner keeps it."""
    return "whsec_" + base64.b64encode(secret).decode()


@pytest.mark.parametrize("secret", [SECRET, OLDER])
def test_two_secrets_make_two_signatures_and_either_verifies_in_both_libraries(secret: bytes) -> None:
    headers, body = headers_of([SECRET, OLDER], datetime.now(UTC))
    assert len(headers["webhook-signature"].split()) == 2
    assert standardwebhooks.Webhook(spelt(secret)).verify(body, headers) == json.loads(PAYLOAD)
    svix.Webhook(spelt(secret)).verify(body, headers)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", "another"),  # a replay under another name
        ("webhook-timestamp", str(int(time.time()) - 30)),  # a moved time
        ("webhook-timestamp", str(int(time.time()) - 400)),  # too old
        ("webhook-signature", "v1,AAAA"),
    ],
    ids=["another id", "a moved time", "too old", "no signature"],
)
def test_the_signature_covers_id_time_and_body(name: str, value: str) -> None:
    headers, body = headers_of([SECRET], datetime.now(UTC))
    verifier = standardwebhooks.Webhook(spelt(SECRET))
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verifier.verify(body, headers | {name: value})
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verifier.verify(body.replace(b"opened", b"closed"), headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(spelt(OLDER)).verify(body, headers)


VERIFY_IN_JAVASCRIPT = """
const {body, headers, secret} = JSON.parse(require('fs').readFileSync(0, 'utf8'))
for (const name of ['standardwebhooks', 'svix']) {
  const {Webhook} = require(name)
  new Webhook(secret).verify(body, headers)
  let refused = false
  try { new Webhook(secret).verify(body + ' ', headers) } catch { refused = true }
  console.log(name, refused)
}
"""


@pytest.mark.processes
def test_the_javascript_libraries_verify_it_too(node_peers: Path) -> None:
    headers, body = headers_of([SECRET], datetime.now(UTC))
    asked = json.dumps({"body": body.decode(), "headers": headers, "secret": spelt(SECRET)})
    command = ["node", "-e", VERIFY_IN_JAVASCRIPT]
    run = subprocess.run(command, input=asked, cwd=node_peers, capture_output=True, text=True, timeout=60)
    assert run.stdout.split("\n")[:2] == ["standardwebhooks true", "svix true"], run.stderr


def test_tries_differ_in_time_and_signature_only_p4() -> None:
    (first, body), (second, again) = headers_of([SECRET], NOW), headers_of([SECRET], NOW + timedelta(hours=1))
    assert body == again == PAYLOAD.encode()
    assert {name for name in first if first[name] != second[name]} == {"webhook-timestamp", "webhook-signature"}


# -- receivers that misbehave ------------------------------------------------------------------------------------------


def call(handler: Handler, seconds: float = 5.0) -> tuple[Receipt | DeliveryError, float]:
    """One callback to such a receiver, and how long it took."""

    async def main() -> tuple[Receipt | DeliveryError, float]:
        async with serving(handler) as port:
            began = time.monotonic()
            [result] = await send(channel(seconds), delivery(f"http://127.0.0.1:{port}/"))
            return result, time.monotonic() - began

    return asyncio.run(main())


async def drip_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A header byte now and then, for ever."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nx: ")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte of body now and then, for ever."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.02)


async def continue_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Interim answers without end."""
    await read_request(reader)
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A body as fast as it goes, for ever."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n")
    while True:
        writer.write(bytes(1_000_000))
        await writer.drain()


@pytest.mark.parametrize("handler", [drip_headers, continue_for_ever])
def test_an_answer_that_never_begins_ends_with_the_time_of_a_call_p4(handler: Handler) -> None:
    result, took = call(handler, 0.4)
    assert isinstance(result, OutcomeUnknown)
    assert took < 2


@pytest.mark.parametrize("handler", [drip_body, flood])
def test_a_body_without_end_is_not_waited_for_longer_than_a_call(handler: Handler) -> None:
    result, took = call(handler, 0.4)
    assert isinstance(result, Receipt)
    assert took < 2


def test_a_redirect_is_never_followed() -> None:
    seen: list[bytes] = []

    async def main() -> list[Receipt | DeliveryError]:
        async with serving(http(response(200), seen=seen)) as other:
            location = f"http://127.0.0.1:{other}/stolen"
            async with serving(http(response(308, location=location))) as port:
                return await send(channel(), delivery(f"http://127.0.0.1:{port}/"))

    [error] = asyncio.run(main())
    assert isinstance(error, TemporaryFailure)
    assert (error.reason, seen) == ("redirect", [])


def test_the_address_arrives_as_it_was_configured() -> None:
    """A query may carry a signature of its own: not a character of it is spelt anew."""
    seen: list[bytes] = []

    async def main() -> None:
        async with serving(http(response(200), seen=seen)) as port:
            await send(channel(), delivery(f"http://127.0.0.1:{port}/a%2Fb/%7Ec?sig=x%2Bz%3D&to=%22a%22&e=%3E"))

    asyncio.run(main())
    assert seen[0].split(b"\r\n")[0] == b"POST /a%2Fb/%7Ec?sig=x%2Bz%3D&to=%22a%22&e=%3E HTTP/1.1"


def test_no_cookie_is_kept_and_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    seen: list[bytes] = []

    async def main() -> list[Receipt | DeliveryError]:
        async with serving(http(response(200, set_cookie="a=b"), seen=seen)) as port:
            url = f"http://127.0.0.1:{port}/"
            return await send(channel(), delivery(url), delivery(url))

    assert [type(result) for result in asyncio.run(main())] == [Receipt, Receipt]
    assert b"cookie" not in seen[1].lower()


# -- TLS ---------------------------------------------------------------------------------------------------------------


def https_call(names: Sequence[str], trusted: bool) -> Receipt | DeliveryError:
    """Call a receiver whose certificate has these names."""
    authority, context, client = (
        trustme.CA(),
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(),
    )
    authority.issue_cert(*names).configure_cert(context)
    if trusted:
        authority.configure_trust(client)

    async def main() -> Receipt | DeliveryError:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await http(response(204))(reader, writer)
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        async with server:
            port = server.sockets[0].getsockname()[1]
            [result] = await send(channel(5.0, client), delivery(f"https://127.0.0.1:{port}/"))
            return result

    return asyncio.run(main())


def test_a_certificate_of_a_trusted_authority_with_the_right_name_is_accepted() -> None:
    assert isinstance(https_call(["127.0.0.1"], trusted=True), Receipt)


@pytest.mark.parametrize(("names", "trusted"), [(["127.0.0.1"], False), (["other.example"], True)])
def test_any_other_certificate_is_refused_before_anything_is_sent_p4(names: Sequence[str], trusted: bool) -> None:
    error = https_call(names, trusted)
    assert isinstance(error, TemporaryFailure)
    assert error.reason == "tls"
    assert after_error(error, ChannelName.CALLBACK, 1, None, NOW, 0.5).outcome is AttemptOutcome.NOT_SENT


# -- settings ----------------------------------------------------------------------------------------------------------


def test_a_deployment_lists_what_may_be_called_although_not_public() -> None:
    made = CallbackChannel.from_settings(Settings(callback_allow=("10.0.0.0/8",)))
    assert isinstance(made, CallbackChannel)
    with pytest.raises(ConfigError, match="NOTIFIER_CALLBACK_ALLOW"):
        CallbackChannel.from_settings(Settings(callback_allow=("erp.local",)))


def test_without_listing_this_machine_is_not_called() -> None:
    seen: list[bytes] = []

    async def main() -> list[Receipt | DeliveryError]:
        async with serving(http(response(200), seen=seen)) as port:
            plain = CallbackChannel.from_settings(Settings())
            return await send(plain, delivery(f"https://127.0.0.1:{port}/"))

    [error] = asyncio.run(main())
    assert isinstance(error, PermanentFailure)
    assert (error.reason, seen) == ("address_refused", [])


# -- what the docs promise to whoever integrates -----------------------------------------------------------------------

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("type_", EventType)
def test_the_sample_of_each_type_in_the_docs_is_what_is_sent(type_: EventType) -> None:
    sample = samples.message(next(samples.facts(type_)), ChannelName.CALLBACK)
    sent = json.loads(Templates(templates_folder()).render(sample, Live(urls={}, number=None))["payload"])
    shown = json.loads((REFERENCE / "callbacks" / f"{type_.kind}.json").read_text())
    assert shown == sent
    assert set(shown) == {"type", "timestamp", "data", "sequence"}
    assert f"| `{type_}` |" in (REFERENCE / "callbacks.md").read_text()


def test_the_waiting_times_in_the_docs_are_those_of_the_product() -> None:
    [row] = [line for line in (REFERENCE / "callbacks.md").read_text().splitlines() if line.startswith("| at most |")]
    units = {"s": 1, "min": 60, "h": 3600}
    said = [int(number) * units[unit] for number, unit in (cell.split() for cell in row.split("|")[2:-1])]
    assert tuple(said) == CEILINGS[ChannelName.CALLBACK]
