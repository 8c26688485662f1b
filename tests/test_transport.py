"""The guard against server-side request forgery: which addresses are called, however they are spelt or resolved."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.errors import ConfigError, DeliveryError, OutcomeUnknown, PermanentFailure, TemporaryFailure
from notifier.transport import AllowedNetworks, GuardedTransport, public
from tests.channels.servers import http, response, serving
from tests.peers.process import find_free_port

NOT_PUBLIC = [
    # this machine
    "127.0.0.1", "127.255.255.254", "::1", "0.0.0.0", "::", "0.1.2.3",  # noqa: S104  # nothing is bound
    # private networks
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12:3456::1",
    # link-local: metadata services of the clouds live here
    "169.254.169.254", "169.254.170.2", "fe80::1", "fe80::1%eth0", "fe80::a9fe:a9fe",
    # metadata elsewhere: Azure, AWS over IPv6, Alibaba
    "168.63.129.16", "fd00:ec2::254", "100.100.100.200",
    # carriers' own (CGNAT), benchmarks, IETF, documentation
    "100.64.0.1", "100.127.255.255", "198.18.0.1", "192.0.0.192", "192.0.2.1", "198.51.100.1", "203.0.113.1",
    "2001:db8::1", "3fff::1", "5f00::1", "100::1",
    # many at once, and nobody
    "224.0.0.1", "239.255.255.255", "ff02::1", "255.255.255.255", "240.0.0.1",
    # an IPv4 address inside: mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP's link-local
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    "2001:0:7f00:1::", "fe80::5efe:127.0.0.1", "192.88.99.1",
    # site-local, long gone and still routed by some
    "fec0::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "192.169.0.1", "100.128.0.1", "2606:4700:4700::1111", "2a00:1450::200e"]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_on_the_internet_is_not_public(address: str) -> None:
    assert not public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_ordinary_address_is(address: str) -> None:
    assert public(address)


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_becomes_public_by_putting_it_into_ipv6(address: Any) -> None:
    for prefix in ("::ffff:", "::", "64:ff9b::"):
        assert not public(f"{prefix}{address}")


class Names:
    """Names lead where the test says, in turn; the last answer is repeated."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


def fetch(url: str, *allowed: str, names: Names | None = None, times: int = 1, **limits: Any) -> list[Any]:
    """Ask for a URL; statuses and errors."""

    async def main() -> list[Any]:
        transport = GuardedTransport(AllowedNetworks.parse(allowed), resolver=names, **{"total": 5.0, **limits})
        found: list[Any] = []
        try:
            for _ in range(times):
                try:
                    found.append((await transport.handle_async_request(httpx.Request("GET", url))).status_code)
                except DeliveryError as error:
                    found.append(error)
        finally:
            await transport.aclose()
        return found

    return asyncio.run(main())


def refused(error: Any) -> bool:
    """Whether the guard refused, for good, and names no address."""
    named = [text for text in ("169.254", "127.0", "::1", "://") if text in str(error)]
    return isinstance(error, PermanentFailure) and error.reason == "address_refused" and not named


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::1]",
        "[::]",
        "127.0.0.1",
        "127.0.0.1.",
        "localhost",
        "localhost.",
        "LOCALHOST",
        # other spellings of 127.0.0.1 that resolvers know: decimal, hexadecimal, octal, short
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0",
        # full-width digits become ASCII ones
        "１２７.０.０.１",
    ],
)
def test_no_spelling_of_an_inner_address_is_called(host: str) -> None:
    """The port listens, so that what gets through is seen."""

    async def main() -> tuple[Any, list[bytes]]:
        seen: list[bytes] = []
        async with serving(http(response(200), seen=seen)) as port:
            transport = GuardedTransport(total=5.0)
            try:
                answer: Any = await transport.handle_async_request(httpx.Request("GET", f"https://{host}:{port}/"))
            except (DeliveryError, httpx.InvalidURL) as error:
                answer = error
            finally:
                await transport.aclose()
            return answer, seen

    answer, seen = asyncio.run(main())
    assert seen == []
    # What nobody can read is no address (the channel says so), or does not resolve; the rest is refused for good.
    unread = isinstance(answer, httpx.InvalidURL) or (
        isinstance(answer, DeliveryError) and answer.reason in ("dns", "bad_url")
    )
    assert unread or refused(answer)


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe"])
def test_a_name_that_leads_to_an_inner_address_is_not_called(address: str) -> None:
    [error] = fetch("https://metadata.example/", names=Names([address]))
    assert refused(error)


def test_a_name_with_several_inner_addresses_is_refused_too() -> None:
    [error] = fetch("https://metadata.example/", names=Names(["10.0.0.1", "::1", "169.254.169.254"]))
    assert refused(error)


def test_a_public_address_does_not_open_the_way_to_an_inner_one_beside_it() -> None:
    """Happy eyeballs tries the next address when one does not answer: each is looked at by itself."""

    async def main() -> tuple[Any, list[bytes]]:
        seen: list[bytes] = []
        async with serving(http(response(200), seen=seen)) as port:
            transport = GuardedTransport(resolver=Names(["192.0.2.1", "127.0.0.1"]), total=2.0, connect=1.0)
            try:
                await transport.handle_async_request(httpx.Request("GET", f"https://two.example:{port}/"))
            except DeliveryError as error:
                return error, seen
            finally:
                await transport.aclose()
        return None, seen

    error, seen = asyncio.run(main())
    assert refused(error)
    assert seen == []


def test_a_name_that_moves_inside_after_it_was_looked_at_is_refused_p4() -> None:
    """DNS rebinding: first to an address that may be called, then elsewhere. The guard sees what is dialled."""
    dialled = []

    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialled.append(await reader.read(1))
        writer.write(response(400))
        await writer.drain()

    async def main() -> list[Any]:
        async with serving(no_tls) as port:
            names = Names(["127.0.0.1"], ["127.0.0.2"], ["169.254.169.254"])
            transport = GuardedTransport(AllowedNetworks.parse([f"127.0.0.1:{port}"]), resolver=names, dns_cache=0)
            found: list[Any] = []
            for _ in range(3):
                try:
                    await transport.handle_async_request(httpx.Request("GET", f"https://moving.example:{port}/"))
                except DeliveryError as error:
                    found.append(error)
            await transport.aclose()
            return found

    first, second, third = asyncio.run(main())
    assert isinstance(first, TemporaryFailure)
    assert len(dialled) == 1
    assert refused(second) and refused(third)


@pytest.mark.parametrize(
    ("allowed", "ok"),
    [
        (["127.0.0.0/8"], True),
        (["127.0.0.1"], True),
        (["127.0.0.1:{port}"], True),
        (["10.0.0.0/8", "127.0.0.1:{port}"], True),
        # another port, another network, nothing
        (["127.0.0.1:1"], False),
        (["127.0.0.2"], False),
        (["::1"], False),
        ([], False),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_listed_network_passes_and_only_on_its_port(allowed: list[str], ok: bool, host: str) -> None:
    async def main() -> Any:
        async with serving(http(response(200))) as port:
            networks = AllowedNetworks.parse([text.format(port=port) for text in allowed])
            transport = GuardedTransport(networks, total=5.0)
            try:
                return (
                    await transport.handle_async_request(httpx.Request("GET", f"http://{host}:{port}/"))
                ).status_code
            except DeliveryError as error:
                return error
            finally:
                await transport.aclose()

    answer = asyncio.run(main())
    assert answer == 200 if ok else isinstance(answer, PermanentFailure)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.com/", "not_https"),
        ("http://169.254.169.254/latest/meta-data/", "not_https"),
        ("http://2130706433/", "not_https"),
        ("http://localhost/", "not_https"),
        ("http://[fe80::1]/", "not_https"),
        ("https://user@example.com/", "bad_url"),
        ("https://example.com@127.0.0.1/", "bad_url"),
        ("gopher://127.0.0.1/", "bad_url"),
        ("file:///etc/passwd", "bad_url"),
        ("https:///path", "bad_url"),
    ],
)
def test_what_is_no_plain_https_address_is_refused_without_asking_for_a_name(url: str, reason: str) -> None:
    names = Names(["127.0.0.1"])
    [error] = fetch(url, names=names)
    assert isinstance(error, PermanentFailure)
    assert (error.reason, names.asked) == (reason, 0)


@pytest.mark.parametrize(
    "url", ["https://example.com/\r\nx-injected: 1", "https://example.com/a b", "https://exa\x00mple.com/"]
)
def test_an_address_that_would_break_a_line_of_the_request_is_refused_without_asking_for_a_name(url: str) -> None:
    names = Names(["127.0.0.1"])

    async def main() -> None:
        transport = GuardedTransport(resolver=names)
        try:
            await transport.call("POST", url, [])
        finally:
            await transport.aclose()

    with pytest.raises(PermanentFailure) as told:
        asyncio.run(main())
    assert (told.value.reason, names.asked) == ("bad_url", 0)


def test_a_name_that_does_not_resolve_was_not_sent_and_may_resolve_later_p4() -> None:
    class Nowhere(Names):
        async def __call__(self, host: str) -> Sequence[str]:
            raise OSError("no such name")

    [error] = fetch("https://gone.example/", names=Nowhere())
    assert isinstance(error, TemporaryFailure)
    assert (error.reason, error.code) == ("dns", None)
    assert "gone.example" not in str(error)


def test_a_receiver_that_does_not_take_the_connection_was_not_sent_p4() -> None:
    """A listener with a full backlog: connect hangs."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        [error] = fetch(f"http://127.0.0.1:{port}/", "127.0.0.1", connect=0.3, total=5.0)
        for one in waiting:
            one.close()
    assert isinstance(error, TemporaryFailure)
    assert (error.reason, error.code) == ("connect_timeout", None)


def test_a_redirect_is_an_answer_and_nothing_more() -> None:
    async def main() -> httpx.Response:
        async with serving(http(response(302, location=f"http://127.0.0.1:{find_free_port()}/"))) as port:
            transport = GuardedTransport(AllowedNetworks.parse(["127.0.0.1"]))
            answer = await transport.handle_async_request(httpx.Request("GET", f"http://127.0.0.1:{port}/"))
            await transport.aclose()
            return answer

    assert asyncio.run(main()).status_code == 302


def test_of_a_body_no_more_is_read_than_asked_for() -> None:
    async def main() -> bytes:
        async with serving(http(response(200, b"x" * 500_000))) as port:
            transport = GuardedTransport(AllowedNetworks.parse(["127.0.0.1"]), most_body=1000)
            answer = await transport.handle_async_request(httpx.Request("GET", f"http://127.0.0.1:{port}/"))
            await transport.aclose()
            return answer.content

    assert asyncio.run(main()) == b"x" * 1000


def test_interim_answers_are_passed_over() -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"

    async def main() -> Any:
        async with serving(http(hint * 3 + response(200, b"taken"))) as port:
            transport = GuardedTransport(AllowedNetworks.parse(["127.0.0.1"]))
            answers = [await transport.call("POST", f"http://127.0.0.1:{port}/", [], b"{}") for _ in range(8)]
            await transport.aclose()
            return answers

    assert [(answer.status, answer.body) for answer in asyncio.run(main())] == [(200, b"taken")] * 8


def test_a_flood_of_interim_answers_is_cut_off_and_does_not_hold_the_loop() -> None:
    """Read and kept for as long as they come, they would let one receiver stop every delivery."""
    sent: list[int] = []

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for count in range(1, 1001):
            sent[:] = [count]
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
            await writer.drain()

    async def main() -> BaseException:
        async with serving(flood) as port:
            transport = GuardedTransport(AllowedNetworks.parse(["127.0.0.1"]), total=60.0)
            with pytest.raises(DeliveryError) as told:
                await transport.call("POST", f"http://127.0.0.1:{port}/", [], b"{}")
            await transport.aclose()
            return told.value

    error = asyncio.run(main())
    assert isinstance(error, OutcomeUnknown) and error.reason == "bad_answer"
    assert sent[0] < 1000, "the connection was cut long before the flood was over"


def test_a_held_connection_on_which_answers_come_unasked_is_closed() -> None:
    cut = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(200))
        await writer.drain()
        try:
            while True:
                await asyncio.sleep(0)
                writer.write(response(200) * 1000)
                await writer.drain()
        finally:
            cut.set()

    async def main() -> int:
        async with serving(flood) as port:
            transport = GuardedTransport(AllowedNetworks.parse(["127.0.0.1"]))
            answer = await transport.call("POST", f"http://127.0.0.1:{port}/", [], b"")
            await asyncio.wait_for(cut.wait(), 10)
            await transport.aclose()
            return answer.status

    assert asyncio.run(main()) == 200


@pytest.mark.parametrize(
    "text", ["10.0.0.1/8", "erp.local", "127.0.0.1:port", "127.0.0.1:99999", "[::1", "", "::1/200"]
)
def test_a_mistake_in_the_list_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="NOTIFIER_CALLBACK_ALLOW"):
        AllowedNetworks.parse(["10.0.0.0/8", text])


@pytest.mark.parametrize(
    ("text", "address", "port", "expected"),
    [
        ("[::1]:8080", "::1", 8080, True),
        ("[::1]:8080", "::1", 8081, False),
        ("::1", "::1", 5, True),
        ("fd00::/8", "fd12::1", 443, True),
        ("fe80::/10", "fe80::1%eth0", 443, True),
        ("10.0.0.0/8:443", "10.1.2.3", 443, True),
        ("10.0.0.0/8:443", "10.1.2.3", 80, False),
        # a listed IPv4 network is not opened by an IPv6 spelling of it
        ("127.0.0.0/8", "::ffff:127.0.0.1", 80, False),
    ],
)
def test_the_list_holds_networks_with_or_without_a_port(text: str, address: str, port: int, expected: bool) -> None:
    assert AllowedNetworks.parse([text]).hold(address, port) is expected
