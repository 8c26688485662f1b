"""A proxy before the broker that drops or doubles hints on their way in, and nothing else.

Hints are the LPUSHes to the queues `route` and `deliver`. Events (`intake`) pass untouched: of what becomes of those,
senders are told otherwise. A dropped one is answered as if it had been queued, as a broker does that then loses it.
Modes come by standard input, one word a line: "pass", "drop", "double".

    python -m chaos.proxy LISTEN_SOCKET BROKER_SOCKET LEDGER
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from chaos.ledger import Ledger
from chaos.receivers import lines

HINTS = (b"route", b"deliver")


class Proxy:
    """One broker behind one socket."""

    def __init__(self, broker: str, ledger: Ledger) -> None:
        self.mode = "pass"
        self._broker, self._ledger = broker, ledger

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        try:
            there, onward = await asyncio.open_unix_connection(self._broker, limit=2**24)
        except OSError:
            writer.close()
            return
        back = asyncio.create_task(_pump(there, writer))
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
            while command := await _command(reader):
                words, raw = command
                if is_hint(words):
                    raw = self._judge(words, raw, writer)
                onward.write(raw)
                await onward.drain()
        back.cancel()
        for end in (onward, writer):
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()

    def _judge(self, words: list[bytes], raw: bytes, writer: asyncio.StreamWriter) -> bytes:
        self._ledger.write(hint=words[1].decode(), mode=self.mode)
        if self.mode == "drop":
            writer.write(b":1\r\n")  # redis clients ask one thing at a time: no answer of the broker is on its way
            return b""
        return packed([*words[:2], *words[2:] * 2]) if self.mode == "double" else raw


def is_hint(words: list[bytes]) -> bool:
    """Whether a command puts a hint into its queue."""
    return len(words) > 2 and words[0].upper() == b"LPUSH" and words[1].split(b"\x06")[0] in HINTS


def packed(words: list[bytes]) -> bytes:
    """A command as it travels."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


async def _command(reader: asyncio.StreamReader) -> tuple[list[bytes], bytes] | None:
    """The next command, and its bytes; None at the end."""
    head = await reader.readline()
    if not head:
        return None
    if not head.startswith(b"*"):
        raise ValueError("not a command of a client")
    words: list[bytes] = []
    raw = [head]
    for _ in range(int(head[1:])):
        size = await reader.readline()
        word = await reader.readexactly(int(size[1:]) + 2)
        words.append(word[:-2])
        raw += [size, word]
    return words, b"".join(raw)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while some := await reader.read(65536):
            writer.write(some)
            await writer.drain()
    writer.close()


async def main(listen: str, broker: str, ledger: Path) -> None:
    """Until standard input ends."""
    proxy = Proxy(broker, Ledger(ledger))
    server = await asyncio.start_unix_server(proxy.serve, listen, limit=2**24)
    async for line in lines(sys.stdin):
        proxy.mode = line.strip()
    server.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
