"""Held connections: used again only when nothing speaks against it, never for another origin, and so many at most."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
import trustme
import uvloop

from notifier.errors import OutcomeUnknown, PermanentFailure, TemporaryFailure
from notifier.transport import AllowedNetworks, Answer, GuardedTransport, pool
from notifier.transport.connection import Connection
from notifier.transport.names import Address
from notifier.transport.request import Origin
from tests.channels.servers import Handler, http, read_request, response, serving

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run[Any]:
    """The loop of a worker, and that of everybody else; neither may have anything to complain of."""

    def run(main: Coroutine[Any, Any, T]) -> T:
        complaints: list[dict[str, Any]] = []

        async def watched() -> T:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
            return await main

        def ours(complaint: dict[str, Any]) -> bool:
            return "incoming" not in complaint["message"]  # a server whose certificate we refused may complain

        with asyncio.Runner(loop_factory=request.param) as runner:
            result = runner.run(watched())
        assert not [complaint for complaint in complaints if ours(complaint)]
        return result

    return run


@asynccontextmanager
async def calling(**limits: Any) -> AsyncIterator[GuardedTransport]:
    transport = GuardedTransport(AllowedNetworks.parse(["127.0.0.0/8"]), **limits)
    try:
        yield transport
    finally:
        await transport.aclose()


async def wait_for(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # what is waited for happens inside, where no event is set
            await asyncio.sleep(0.001)


async def post(transport: GuardedTransport, port: int, method: str = "POST") -> Answer:
    return await transport.call(method, f"http://127.0.0.1:{port}/", [], b"{}")


def counted(handler: Handler, connections: list[asyncio.Event]) -> Handler:
    """Notes each connection, and that it ended."""

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = asyncio.Event()
        connections.append(ended)
        try:
            await handler(reader, writer)
        finally:
            ended.set()

    return count


def answers(*said: bytes, then_close: bool = False) -> Handler:
    """One answer per request, and then nothing: the connection stays, or is closed."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in said:
            await read_request(reader)
            writer.write(answer)
            await writer.drain()
        if not then_close:
            await reader.read()

    return handle


def test_calls_one_after_another_share_a_connection_and_calls_at_once_do_not(run: Run[Any]) -> None:
    async def main() -> None:
        connections: list[asyncio.Event] = []
        async with serving(counted(http(response(200)), connections)) as port, calling() as transport:
            for _ in range(3):
                await post(transport, port)
            assert len(connections) == 1
            await asyncio.gather(*(post(transport, port) for _ in range(3)))
            assert len(connections) == 3
            await asyncio.gather(*(post(transport, port) for _ in range(3)))
            assert len(connections) == 3

    run(main())


def test_a_connection_belongs_to_its_origin(run: Run[Any]) -> None:
    """The same address under another port, or another name, is somebody else."""

    async def main() -> None:
        first, second = list[bytes](), list[bytes]()
        async with (
            serving(http(response(200), seen=first)) as one,
            serving(http(response(200), seen=second)) as two,
            calling() as transport,
        ):
            for port in (one, two, one):
                await post(transport, port)
            await transport.call("POST", f"http://localhost:{one}/", [], b"")
        assert [b"host: 127.0.0.1" in request for request in first] == [True, True, False]
        assert len(second) == 1

    run(main())


def test_what_a_receiver_appends_to_an_answer_is_not_the_answer_to_the_next_request_p11(run: Run[Any]) -> None:
    """The endpoints of two tenants may share a host: neither can answer for the other."""

    async def main() -> None:
        connections: list[asyncio.Event] = []
        poisoned = response(200) + response(410)
        async with serving(counted(http(poisoned), connections)) as port, calling() as transport:
            assert [(await post(transport, port)).status for _ in range(3)] == [200, 200, 200]
            assert len(connections) == 3

    run(main())


def test_a_held_connection_that_was_closed_meanwhile_is_not_used(run: Run[Any]) -> None:
    async def main() -> None:
        connections: list[asyncio.Event] = []
        handler = counted(answers(response(200), then_close=True), connections)
        async with serving(handler) as port, calling() as transport:
            for count in range(1, 4):
                assert (await post(transport, port)).status == 200
                await connections[-1].wait()
                await wait_for(lambda: not transport._pool._held)  # its end was heard here too
                assert len(connections) == count

    run(main())


@pytest.mark.parametrize(("method", "again"), [("POST", False), ("PUT", False), ("GET", True)])
def test_only_what_changes_nothing_is_sent_again_when_a_held_connection_turns_out_to_be_gone_p4(
    run: Run[Any], method: str, again: bool
) -> None:
    """The receiver closes on the second request without a word: perhaps it acted."""
    seen: list[bytes] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(response(200))
        await writer.drain()
        seen.append(await read_request(reader))

    async def main() -> Any:
        async with serving(once) as port, calling() as transport:
            await post(transport, port, method)
            try:
                return (await post(transport, port, method)).status
            except OutcomeUnknown as error:
                return error.reason

    assert run(main()) == (200 if again else "cut")
    assert len(seen) == (3 if again else 2)


def test_a_new_connection_that_is_cut_is_not_tried_again(run: Run[Any]) -> None:
    seen: list[bytes] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))

    async def main() -> None:
        async with serving(silent) as port, calling() as transport:
            with pytest.raises(OutcomeUnknown):
                await post(transport, port, "GET")

    run(main())
    assert len(seen) == 1


def test_an_idle_connection_is_closed_after_a_while(run: Run[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE", 0.05)

    async def main() -> None:
        connections: list[asyncio.Event] = []
        async with serving(counted(http(response(200)), connections)) as port, calling() as transport:
            await asyncio.gather(post(transport, port), post(transport, port))
            await asyncio.wait_for(asyncio.gather(*(ended.wait() for ended in connections)), 10)
            assert len(connections) == 2
            assert not transport._pool._idle and transport._pool._sweep is None

    run(main())


def test_one_that_was_idle_for_too_long_is_not_used_even_before_it_is_closed(
    run: Run[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        connections: list[asyncio.Event] = []
        async with serving(counted(http(response(200)), connections)) as port, calling() as transport:
            await post(transport, port)
            monkeypatch.setattr(pool, "IDLE", 0.0)
            await post(transport, port)
            assert len(connections) == 2

    run(main())


def test_when_there_is_no_room_the_longest_idle_makes_some(run: Run[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CONNECTIONS", 2)

    async def main() -> None:
        ends: dict[str, list[asyncio.Event]] = {"a": [], "b": [], "c": []}
        async with (
            serving(counted(http(response(200)), ends["a"])) as a,
            serving(counted(http(response(200)), ends["b"])) as b,
            serving(counted(http(response(200)), ends["c"])) as c,
            calling() as transport,
        ):
            for port in (a, b, a, c):
                await post(transport, port)
            await asyncio.wait_for(ends["b"][0].wait(), 10)
            await post(transport, a)
            assert {name: len(connections) for name, connections in ends.items()} == {"a": 1, "b": 1, "c": 1}

    run(main())


def held_back(may_answer: asyncio.Event) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_request(reader):
            await may_answer.wait()
            writer.write(response(200))
            await writer.drain()

    return handle


def test_when_all_are_busy_calls_wait_their_turn(run: Run[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CONNECTIONS", 2)

    async def main() -> None:
        may_answer, connections = asyncio.Event(), list[asyncio.Event]()
        async with (
            serving(counted(held_back(may_answer), connections)) as one,
            serving(counted(held_back(may_answer), connections)) as two,
            calling() as transport,
        ):
            calls = [asyncio.ensure_future(post(transport, port)) for port in (one, two) * 10]
            await wait_for(lambda: len(transport._pool._waiting) == 18)
            calls[2].cancel()  # who gives up does not take the turn with it
            may_answer.set()
            done = await asyncio.gather(*calls, return_exceptions=True)
            assert [isinstance(answer, Answer) for answer in done] == [True, True, False] + [True] * 17
            assert len(transport._pool._held) <= 2

    run(main())


def test_a_call_that_waited_takes_the_connection_that_came_back(run: Run[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CONNECTIONS", 1)

    async def main() -> None:
        connections: list[asyncio.Event] = []
        async with serving(counted(http(response(200)), connections)) as port, calling() as transport:
            await asyncio.gather(*(post(transport, port) for _ in range(5)))
            assert len(connections) == 1

    run(main())


def test_who_gives_up_in_the_moment_of_its_turn_passes_it_on(run: Run[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CONNECTIONS", 1)

    async def main() -> None:
        may_answer = asyncio.Event()
        async with (
            serving(held_back(may_answer)) as busy,
            serving(http(response(200))) as port,
            calling(connect=2.0) as transport,
        ):
            calls = [asyncio.ensure_future(post(transport, to)) for to in (busy, port, port)]
            await wait_for(lambda: len(transport._pool._waiting) == 2)
            [connection] = transport._pool._held
            transport._pool._lost(connection)
            calls[1].cancel()
            assert (await calls[2]).status == 200
            may_answer.set()
            assert (await calls[0]).status == 200

    run(main())


def test_a_call_that_gets_no_turn_was_not_sent_p4(run: Run[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CONNECTIONS", 1)

    async def main() -> None:
        may_answer = asyncio.Event()
        async with serving(held_back(may_answer)) as port, calling(connect=0.1) as transport:
            first = asyncio.ensure_future(post(transport, port))
            await wait_for(lambda: len(transport._pool._held) == 1)
            with pytest.raises(TemporaryFailure) as told:
                await post(transport, port)
            assert (told.value.reason, told.value.code) == ("connect_timeout", None)
            may_answer.set()
            assert (await first).status == 200

    run(main())


def test_a_cancelled_call_takes_its_connection_with_it(run: Run[Any]) -> None:
    async def main() -> None:
        connections: list[asyncio.Event] = []
        async with serving(counted(held_back(asyncio.Event()), connections)) as port, calling() as transport:
            call = asyncio.ensure_future(post(transport, port))
            await wait_for(lambda: len(connections) == 1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await wait_for(lambda: not transport._pool._held)

    run(main())


def test_closing_cuts_calls_that_are_under_way_and_the_transport_can_be_used_again(run: Run[Any]) -> None:
    async def main() -> None:
        may_answer, connections = asyncio.Event(), list[asyncio.Event]()
        async with serving(counted(held_back(may_answer), connections)) as port, calling() as transport:
            call = asyncio.ensure_future(post(transport, port))
            await wait_for(lambda: len(connections) == 1)
            await wait_for(lambda: any(not one._whole for one in transport._pool._held))
            await transport.aclose()
            with pytest.raises(OutcomeUnknown) as told:
                await call
            assert told.value.reason == "cut"
            may_answer.set()
            assert (await post(transport, port)).status == 200

    run(main())


def test_what_check_raises_keeps_the_request_here_and_the_connection_good_p4(run: Run[Any]) -> None:
    class Withdrawn(Exception):
        pass

    def withdrawn() -> None:
        raise Withdrawn

    async def main() -> None:
        connections, seen = list[asyncio.Event](), list[bytes]()
        async with serving(counted(http(response(200), seen=seen), connections)) as port, calling() as transport:
            for _ in range(2):
                with pytest.raises(Withdrawn):
                    await transport.call("POST", f"http://127.0.0.1:{port}/", [], b"{}", withdrawn)
            assert seen == []
            await post(transport, port)
            assert len(connections) == 1

    run(main())


def test_a_connection_that_ends_before_it_is_written_to_was_not_sent_p4(
    run: Run[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []

    async def main() -> None:
        async with serving(http(response(200), seen=seen)) as port, calling() as transport:
            make = transport._pool.make

            async def make_and_lose(origin: Origin, seconds: float) -> Connection:
                connection = await make(origin, seconds)
                connection.eof_received()
                return connection

            monkeypatch.setattr(transport._pool, "make", make_and_lose)
            with pytest.raises(TemporaryFailure) as told:
                await post(transport, port)
            assert (told.value.reason, told.value.code) == ("cut", None)

    run(main())
    assert seen == []


def test_the_answer_to_a_head_is_not_waited_for_beyond_its_head(run: Run[Any]) -> None:
    async def main() -> None:
        says = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
        async with serving(answers(says)) as port, calling() as transport:
            answer = await transport.call("HEAD", f"http://127.0.0.1:{port}/", [])
            assert (answer.status, answer.body) == (200, b"")

    run(main())


# -- names with several addresses, TLS ---------------------------------------------------------------------------------


def leads_to(*addresses: str) -> Callable[[str], Awaitable[Sequence[str]]]:
    async def resolve(_: str) -> Sequence[str]:
        return addresses

    return resolve


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        # nobody listens there, there is no way there, it may not be dialled, it is not even an address of a host
        ["127.0.0.2", "127.0.0.1"],
        ["::1", "127.0.0.1"],
        ["10.0.0.1", "169.254.169.254", "127.0.0.1"],
    ],
)
def test_the_addresses_of_a_name_are_tried_in_turn(run: Run[Any], addresses: list[str]) -> None:
    async def main() -> int:
        async with serving(http(response(200))) as port, calling(resolver=leads_to(*addresses)) as transport:
            return (await transport.call("POST", f"http://localhost:{port}/", [], b"")).status

    assert run(main()) == 200


def test_only_public_and_listed_addresses_are_dialled_and_not_without_end(
    run: Run[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled: list[str] = []

    async def nobody_there(address: Address) -> socket.socket:
        dialled.append(address.ip)
        raise OSError

    monkeypatch.setattr(pool, "_connected", nobody_there)

    async def main() -> None:
        names = leads_to("10.0.0.1", "8.8.8.8", "127.0.0.2", "::1", "2606:4700:4700::1111", *["1.1.1.1"] * 100)
        async with calling(resolver=names) as transport:
            with pytest.raises(TemporaryFailure):
                await transport.call("POST", "https://erp.example/", [], b"")

    run(main())
    assert dialled == ["8.8.8.8", "127.0.0.2", "2606:4700:4700::1111", "1.1.1.1", "1.1.1.1", "1.1.1.1"]


def test_an_address_that_is_silent_leaves_time_for_the_next(run: Run[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    connected = pool._connected

    async def silent_at_first(address: Address) -> socket.socket:
        if address.ip == "127.0.0.2":
            await asyncio.Event().wait()
        return await connected(address)

    monkeypatch.setattr(pool, "_connected", silent_at_first)

    async def main() -> int:
        names = leads_to("127.0.0.2", "127.0.0.1")
        async with serving(http(response(200))) as port, calling(resolver=names, connect=1.0) as transport:
            return (await transport.call("POST", f"http://localhost:{port}/", [], b"")).status

    assert run(main()) == 200


def test_a_refused_address_beside_one_that_does_not_answer_is_no_reason_to_give_up_for_good(run: Run[Any]) -> None:
    async def main() -> None:
        async with serving(http(response(200))) as port:
            pass
        async with calling(resolver=leads_to("10.0.0.1", "127.0.0.1")) as transport:
            with pytest.raises(TemporaryFailure) as told:
                await transport.call("POST", f"http://localhost:{port}/", [], b"")
            assert told.value.reason == "connect"
        async with calling(resolver=leads_to("10.0.0.1")) as transport:
            with pytest.raises(PermanentFailure):
                await transport.call("POST", f"http://localhost:{port}/", [], b"")

    run(main())


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def serving_tls(authority: trustme.CA, handler: Handler, *names: str) -> AsyncIterator[tuple[int, list[Any]]]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert(*names).configure_cert(context)
    agreed: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        agreed.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await handler(reader, writer)

    async with serving(serve, context) as port:
        yield port, agreed


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.parametrize("host", ["erp.example", "ERP.example", "erp.example."])
def test_the_certificate_is_held_against_the_name_and_the_protocol_is_agreed_on(
    run: Run[Any], authority: trustme.CA, host: str
) -> None:
    """A receiver that prefers HTTP/2 is not spoken to in HTTP/1.1 by accident (RFC 9113 3.2)."""

    async def main() -> None:
        async with serving_tls(authority, http(response(200)), "erp.example") as (port, agreed):
            names = leads_to("127.0.0.1")
            async with calling(verify=trusting(authority), resolver=names) as transport:
                for _ in range(2):
                    answer = await transport.call("POST", f"https://{host}:{port}/", [], b"{}" * 100_000)
                    assert answer.status == 200
                with pytest.raises(TemporaryFailure) as told:
                    await transport.call("POST", f"https://other.example:{port}/", [], b"")
            assert told.value.reason == "tls"
            assert agreed == ["http/1.1"]

    run(main())


def test_a_handshake_that_is_not_answered_is_given_up_and_nothing_was_sent_p4(
    run: Run[Any], authority: trustme.CA
) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await reader.read()

    async def main() -> None:
        async with serving(silent) as port, calling(verify=trusting(authority), connect=0.2) as transport:
            with pytest.raises(TemporaryFailure) as told:
                await transport.call("POST", f"https://127.0.0.1:{port}/", [], b"")
            assert told.value.reason == "connect_timeout"
            await wait_for(lambda: not transport._pool._held)

    run(main())


def test_a_receiver_without_tls_is_sent_nothing_p4(run: Run[Any]) -> None:
    async def main() -> None:
        async with serving(http(response(200))) as port, calling() as transport:
            with pytest.raises(TemporaryFailure) as told:
                await transport.call("POST", f"https://127.0.0.1:{port}/", [], b"")
            assert told.value.reason in ("tls", "connect", "connect_timeout")

    run(main())


def test_an_encrypted_answer_may_end_with_the_connection(run: Run[Any], authority: trustme.CA) -> None:
    async def until_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await writer.drain()

    async def main() -> None:
        async with (
            serving_tls(authority, until_the_end, "127.0.0.1") as (port, _),
            calling(verify=trusting(authority)) as transport,
        ):
            answer = await transport.call("POST", f"https://127.0.0.1:{port}/", [], b"")
            assert (answer.status, answer.body) == (200, b"hello")

    run(main())
