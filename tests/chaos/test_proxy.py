"""The proxy before the broker drops or doubles hints, and lets everything else through as it is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chaos.ledger import Ledger, Tail
from chaos.proxy import Proxy, is_hint, packed

HINT = [b"LPUSH", b"deliver", b"a hint"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ([b"LPUSH", b"deliver", b"x"], True),
        ([b"LPUSH", b"route", b"x"], True),
        ([b"LPUSH", b"route\x06\x163", b"x"], True),  # kombu's name of a queue with a priority
        ([b"LPUSH", b"intake", b"x"], False),  # an event: it is not ours to lose
        ([b"BRPOP", b"deliver", b"1"], False),
    ],
)
def test_only_what_is_put_into_the_queues_of_hints_is_one(command: list[bytes], expected: bool) -> None:
    assert is_hint(command) is expected


async def exchange(folder: Path, mode: str, command: list[bytes]) -> tuple[bytes, bytes]:
    """What the broker got and what the client was answered."""
    got: list[bytes] = []
    served = asyncio.Event()

    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while some := await reader.read(1000):
            got.append(some)
            writer.write(b":7\r\n")
        writer.close()
        await writer.wait_closed()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await proxy.serve(reader, writer)
        served.set()

    ledger = Ledger(folder / "hints.jsonl")
    proxy = Proxy(str(folder / "broker"), ledger)
    proxy.mode = mode
    async with (
        await asyncio.start_unix_server(broker, str(folder / "broker")),
        await asyncio.start_unix_server(serve, str(folder / "proxy")),
    ):
        reader, writer = await asyncio.open_unix_connection(str(folder / "proxy"))
        writer.write(packed(command))
        answer = await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        await writer.wait_closed()
        await asyncio.wait_for(served.wait(), 5)
    ledger.close()
    return b"".join(got), answer


@pytest.mark.parametrize(
    ("mode", "command", "arrives", "answer"),
    [
        ("pass", HINT, packed(HINT), b":7\r\n"),
        ("drop", HINT, b"", b":1\r\n"),
        ("double", HINT, packed([*HINT, b"a hint"]), b":7\r\n"),
        ("drop", [b"LPUSH", b"intake", b"an event"], packed([b"LPUSH", b"intake", b"an event"]), b":7\r\n"),
        ("double", [b"PING"], packed([b"PING"]), b":7\r\n"),
    ],
)
def test_hints_are_passed_dropped_or_doubled(
    tmp_path: Path, mode: str, command: list[bytes], arrives: bytes, answer: bytes
) -> None:
    assert asyncio.run(exchange(tmp_path, mode, command)) == (arrives, answer)
    assert len(Tail(tmp_path / "hints.jsonl").more()) == is_hint(command)
