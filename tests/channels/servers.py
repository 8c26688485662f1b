"""Servers that say and do exactly what a test wants, on a loopback port: for answers that no honest server gives."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from enum import Enum, auto

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Act(Enum):
    """What a server may do instead of answering."""

    SILENT = auto()  #: reads and says nothing
    CUT = auto()  #: closes the connection
    RESET = auto()  #: closes it with RST


Answer = bytes | Act


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Listen; the port. Connections that are still open are closed at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> bool:
    """Answer, or do what stands for it; whether the connection is still there."""
    match answer:
        case bytes():
            writer.write(answer)
            await writer.drain()
            return True
        case Act.SILENT:
            await reader.read()  # until the client goes
        case Act.RESET:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        case Act.CUT:
            pass
    return False


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One HTTP request with a Content-Length; b"" at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    return head + await reader.readexactly(length)


def http(*answers: Answer, seen: list[bytes] | None = None) -> Handler:
    """Answer requests in this order over all connections; the last answer is repeated."""
    left = list(answers)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await read_request(reader):
            if seen is not None:
                seen.append(request)
            if not await say(reader, writer, left.pop(0) if len(left) > 1 else left[0]):
                return

    return handle


def response(status: int, body: bytes = b"", **headers: str) -> bytes:
    """An honest HTTP answer; underscores in header names become hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()} | {"content-length": str(len(body))}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in named.items()), "", ""]
    return "\r\n".join(lines).encode() + body


#: What a mail server says at each step when nothing is wrong.
SMTP_SAYS: Mapping[str, Answer] = {
    "greeting": b"220 mail.example.test ESMTP\r\n",
    "EHLO": b"250-mail.example.test\r\n250 8BITMIME\r\n",
    "MAIL": b"250 2.1.0 Ok\r\n",
    "MAIL again": b"250 2.1.0 Ok\r\n",  # on a connection that has taken a mail
    "RCPT": b"250 2.1.5 Ok\r\n",
    "DATA": b"354 go on\r\n",
    "content": b"250 2.0.0 Ok: queued as 4BxK2q1\r\n",
    "RSET": b"250 2.0.0 Ok\r\n",
    "QUIT": b"221 2.0.0 Bye\r\n",
}


def smtp(says: Mapping[str, Answer] | None = None, seen: list[bytes] | None = None, mails: int = 100) -> Handler:
    """A mail server that differs from an honest one in these steps and closes after so many mails.

    `seen` gets "+" per connection, commands, mails.
    """
    says = says or {}
    script = {**SMTP_SAYS, **says}
    seen = [] if seen is None else seen

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(b"+")
        again, taken, refused = "", 0, False
        if not await say(reader, writer, script["greeting"]):
            return
        while line := await reader.readline():
            seen.append(line.strip())
            step = line[:4].decode("ascii", "replace").strip().upper()
            answer = script.get(step + again if step == "MAIL" else step, b"502 5.5.2 what?\r\n")
            refused = step != "RSET" and (refused or (isinstance(answer, bytes) and answer.startswith((b"4", b"5"))))
            if step == "DATA" and refused and "DATA" not in says:
                answer = b"554 5.5.1 no valid recipients\r\n"
            if not await say(reader, writer, answer):
                return
            if answer == SMTP_SAYS["QUIT"]:
                return
            if step == "DATA" and isinstance(answer, bytes) and answer.startswith(b"354"):
                seen.append(await reader.readuntil(b"\r\n.\r\n"))
                again, taken = " again", taken + 1
                if not await say(reader, writer, script["content"]) or taken == mails:
                    return

    return handle
