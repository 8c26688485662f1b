"""The receivers every contestant sends to: HTTP and SMTP servers that take everything and note when it came.

`python -m bench.sink HTTP_PORT SMTP_PORT` is one process. An arrival is (id, monotonic time of its first byte); that
clock is the same in all processes of a machine, so that it can be held against the time of an accept commit.
Control: GET /arrivals, POST /reset. Paths that begin with /slow answer after 50 ms, every hundredth after 2 s; /dead
never answers.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from dataclasses import dataclass, field
from typing import cast

import uvloop

LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
WEBHOOK_ID = re.compile(rb"(?i)\r\nwebhook-id: *([^\r]+)")
MESSAGE_ID = re.compile(rb"(?im)^message-id: *<([^@>\r]+)")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}"
USUAL, RARE, EVERY = 0.05, 2.0, 100  #: seconds, seconds, every so many: how slow the slow receiver is
MEAN_WAIT = (USUAL * (EVERY - 1) + RARE) / EVERY  #: seconds


@dataclass
class Ledger:
    """What came."""

    arrivals: list[tuple[str, float]] = field(default_factory=list)
    slow: int = 0  #: requests to the slow receiver


class HttpReceiver(asyncio.Protocol):
    """Requests with a Content-Length on kept connections; that is all our contestants send."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._buffer = bytearray()
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        """Collect; answer each whole request."""
        if not self._buffer:
            self._began = time.monotonic()
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end])
            length = LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < whole:
                return
            del self._buffer[:whole]
            self._answer(head)
            self._began = time.monotonic()

    def _answer(self, head: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if path == b"/arrivals":
            return self._write(json.dumps(self._ledger.arrivals).encode())
        if path == b"/count":
            ends = self._ledger.arrivals[:1] + self._ledger.arrivals[-1:]
            return self._write(json.dumps([len(self._ledger.arrivals), *(at for _, at in ends)]).encode())
        if path == b"/reset":
            self._ledger.arrivals.clear()
            self._ledger.slow = 0
            return self._transport.write(OK)
        named = WEBHOOK_ID.search(head)
        self._ledger.arrivals.append((f"{path.decode()} {named[1].decode() if named else ''}", self._began))
        if path.startswith(b"/dead"):
            return None
        if path.startswith(b"/slow"):
            self._ledger.slow += 1
            wait = USUAL if self._ledger.slow % EVERY else RARE
            asyncio.get_running_loop().call_later(wait, self._transport.write, OK)
            return None
        return self._transport.write(OK)

    def _write(self, body: bytes) -> None:
        self._transport.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)


class SmtpReceiver(asyncio.Protocol):
    """Takes every mail. Pipelined commands are answered in order."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._buffer = bytearray()
        self._in_data = False
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without saying so
        self._transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """Take what is whole: lines, or a mail up to its dot."""
        self._buffer += data
        while True:
            mark = b"\r\n.\r\n" if self._in_data else b"\r\n"
            end = self._buffer.find(mark)
            if end < 0:
                return
            piece = bytes(self._buffer[:end])
            del self._buffer[: end + len(mark)]
            if self._in_data:
                self._mail(piece)
            else:
                self._command(piece)

    def _mail(self, mail: bytes) -> None:
        self._in_data = False
        named = MESSAGE_ID.search(mail)
        self._ledger.arrivals.append((f"mail {named[1].decode() if named else ''}", self._began))
        self._transport.write(b"250 2.0.0 Ok: queued as SINK12345\r\n")

    def _command(self, line: bytes) -> None:
        match line[:4].upper():
            case b"EHLO":
                self._transport.write(b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 10000000\r\n")
            case b"MAIL":
                self._began = time.monotonic()
                self._transport.write(b"250 2.1.0 Ok\r\n")
            case b"DATA":
                self._in_data = True
                self._transport.write(b"354 Go on\r\n")
            case b"QUIT":
                self._transport.write(b"221 Bye\r\n")
                self._transport.close()
            case _:
                self._transport.write(b"250 2.0.0 Ok\r\n")


async def serve(http_port: int, smtp_port: int) -> None:
    """Serve both until ended."""
    ledger, loop = Ledger(), asyncio.get_running_loop()
    http = await loop.create_server(lambda: HttpReceiver(ledger), "127.0.0.1", http_port, backlog=1000)
    smtp = await loop.create_server(lambda: SmtpReceiver(ledger), "127.0.0.1", smtp_port, backlog=1000)
    async with http, smtp:
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
