"""Where names lead: asked once for all, kept for a while, and a silent name server holds nobody else up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from notifier.transport import names
from notifier.transport.failures import NoConnection
from notifier.transport.names import Names


class Directory:
    """A resolver that answers when the test lets it."""

    def __init__(self, addresses: Sequence[str] = ("192.0.2.1",), *, open_: bool = True) -> None:
        self.addresses = addresses
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        if open_:
            self.may_answer.set()

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        await self.may_answer.wait()
        if not self.addresses:
            raise OSError("no such name")
        return self.addresses


def test_who_asks_at_the_same_time_waits_for_one_answer_and_who_asks_soon_after_is_told_it() -> None:
    async def main() -> None:
        directory = Directory(open_=False)
        looking = Names(directory)
        asking = [asyncio.ensure_future(looking.look_up("a.example", 443)) for _ in range(5)]
        await asyncio.sleep(0)
        asking[0].cancel()  # it had asked first; the others still want to know
        directory.may_answer.set()
        found = await asyncio.gather(*asking[1:])
        assert {(address.ip, address.port) for answer in found for address in answer} == {("192.0.2.1", 443)}
        assert [address.port for address in await looking.look_up("a.example", 444)] == [444]
        assert directory.asked == ["a.example"]

    asyncio.run(main())


def test_an_answer_is_kept_no_longer_than_it_may_be() -> None:
    async def main() -> None:
        directory = Directory()
        looking = Names(directory, kept=0)
        await looking.look_up("a.example", 443)
        await looking.look_up("a.example", 443)
        assert len(directory.asked) == 2

    asyncio.run(main())


def test_that_a_name_leads_nowhere_is_not_kept() -> None:
    async def main() -> None:
        directory = Directory([])
        looking = Names(directory)
        for _ in range(2):
            with pytest.raises(NoConnection) as told:
                await looking.look_up("a.example", 443)
            assert told.value.reason == "dns"
        directory.addresses = ["192.0.2.1"]
        assert await looking.look_up("a.example", 443)

    asyncio.run(main())


def test_answers_are_kept_of_so_many_names_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MOST_NAMES", 2)

    async def main() -> None:
        directory = Directory()
        looking = Names(directory)
        for host in ("a.example", "b.example", "c.example", "c.example", "b.example", "a.example"):
            await looking.look_up(host, 443)
        assert directory.asked == ["a.example", "b.example", "c.example", "a.example"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("host", "ip"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("::ffff:7f00:1", "::ffff:127.0.0.1"),
        ("0:0::1", "::1"),
    ],
)
def test_an_address_in_numbers_is_read_as_the_system_reads_it_and_nobody_is_asked(host: str, ip: str) -> None:
    async def main() -> None:
        directory = Directory()
        assert [address.ip for address in await Names(directory).look_up(host, 443)] == [ip]
        assert directory.asked == []

    asyncio.run(main())


def test_names_whose_servers_are_silent_do_not_hold_up_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's look-up blocks a thread: there are several."""
    silence = threading.Event()

    def getaddrinfo(host: str) -> list[str]:
        if host == "silent.example":
            assert silence.wait(30)
        return ["192.0.2.1"]

    monkeypatch.setattr(names, "_getaddrinfo", getaddrinfo)

    async def main() -> None:
        looking = Names()
        waiting = asyncio.ensure_future(looking.look_up("silent.example", 443))
        assert len(await asyncio.wait_for(looking.look_up("a.example", 443), 10)) == 1
        assert not waiting.done()
        looking.close()
        with pytest.raises(NoConnection):
            await asyncio.wait_for(waiting, 10)
        silence.set()

    asyncio.run(main())


def test_the_system_is_asked() -> None:
    async def main() -> list[str]:
        looking = Names()
        found = await looking.look_up("localhost", 80)
        looking.close()
        return [address.ip for address in found]

    assert set(asyncio.run(main())) & {"127.0.0.1", "::1"}
