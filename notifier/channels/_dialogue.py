"""SMTP after the log-in: one mail after another over a connection that somebody else has set up.

aiosmtplib connects, encrypts and logs in; then this protocol takes the connection over. It says MAIL, RCPT and DATA in
one write where the server takes that (RFC 2920), so that a mail costs two round trips instead of four. What it reads
is bounded, and only what was asked for is believed: a server that speaks unasked is about to close, or answers to
something else, so nothing more is said to it. Without time limits: callers have theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

LONGEST_LINE = 8192  #: bytes of a line; RFC 5321 section 4.5.3.1.5 says 512, and that more should be taken
LONGEST_REPLY = 65_536  #: bytes of all lines of a reply
CLOSING = 421  #: "service not available, closing transmission channel"


class Step(StrEnum):
    """What a reply answers to."""

    RESET = "RSET"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    CONTENT = "content"
    QUIT = "QUIT"


#: The first digit of a reply that lets the dialogue go on; 2 where nothing is said.
_AGREES = {Step.DATA: 3}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server says to one command."""

    code: int
    text: str  #: without the codes, lines joined by line feeds


class Refused(Exception):
    """The server did not agree to a step. After any code but 421 the connection is good for another mail."""

    def __init__(self, step: Step, reply: Reply) -> None:
        super().__init__(f"{step.value} was answered {reply.code}")
        self.step = step
        self.reply = reply


class Cut(ConnectionError):
    """The connection ended, or had to be ended, before the answer came."""


class Dialogue(asyncio.Protocol):
    """One connection on which mails are handed over, one at a time."""

    def __init__(self, transport: asyncio.Transport, *, pipelining: bool) -> None:
        self._transport = transport
        self._pipelining = pipelining
        self._buffer = b""
        self._lines: list[bytes] = []  #: of a reply whose last line has not come
        self._length = 0  #: bytes of them
        self._replies: list[Reply] = []
        self._wanted = 0  #: replies to what was said and is not answered yet
        self._answered: asyncio.Future[None] | None = None
        self._end: Cut | None = None
        self._half_said = False  #: the server may still hold the envelope of a mail it did not take
        self._content_next = False  #: whatever is said now is a mail's content
        transport.set_protocol(self)

    @property
    def usable(self) -> bool:
        """Whether another mail can be said."""
        busy = self._wanted or self._content_next
        return self._end is None and not busy and not self._transport.is_closing()

    async def begin(self, sender: str, recipient: str) -> None:
        """Say the envelope and DATA; the content comes next. Raises Refused, Cut."""
        said = [
            (Step.MAIL, b"MAIL FROM:<" + _argument(sender) + b">\r\n"),
            (Step.RCPT, b"RCPT TO:<" + _argument(recipient) + b">\r\n"),
            (Step.DATA, b"DATA\r\n"),
        ]
        if self._half_said:
            said.insert(0, (Step.RESET, b"RSET\r\n"))
        self._half_said = True
        if self._pipelining:
            await self._say(said)
        else:
            for command in said:
                await self._say([command])
        self._content_next = True

    async def content(self, content: bytes) -> Reply:
        """Say the mail, whose lines end with CRLF, the last one too. Raises Refused, Cut."""
        self._content_next = False
        if content.startswith(b"."):
            content = b"." + content
        reply = await self._say([(Step.CONTENT, content.replace(b"\r\n.", b"\r\n..") + b".\r\n")])
        self._half_said = False
        return reply

    async def quit(self) -> None:
        """Say goodbye. Raises Refused, Cut."""
        await self._say([(Step.QUIT, b"QUIT\r\n")])

    def abort(self) -> None:
        """End the connection at once: a polite end of TLS would hold its socket until the server agrees."""
        self._fail(Cut("we ended it"))

    async def _say(self, said: Sequence[tuple[Step, bytes]]) -> Reply:
        """Return the last reply. Raises Refused for the first step that is not agreed to, Cut."""
        if self._end is not None:
            raise self._end
        self._wanted = len(said)
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(b"".join(command for _, command in said))
        await self._answered
        replies, self._replies, self._wanted = self._replies, [], 0
        return self._judged([step for step, _ in said], replies)

    def _judged(self, steps: Sequence[Step], replies: Sequence[Reply]) -> Reply:
        for step, reply in zip(steps, replies, strict=False):
            if not _agrees(step, reply):
                data = replies[len(steps) - 1] if steps[-1] is Step.DATA and len(replies) >= len(steps) else None
                if _is_last(step, reply) or (data is not None and _agrees(Step.DATA, data)):
                    self.abort()  # or it waits for a mail that has nobody to go to
                raise Refused(step, reply)
        if len(replies) < len(steps):
            assert self._end is not None
            raise self._end
        return replies[len(steps) - 1]

    # -- what comes ---------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Read replies; the last one that is wanted wakes whoever waits."""
        if not self._wanted:
            self._fail(Cut("the server spoke unasked"))
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            if self._end is None:
                self._take(line.removesuffix(b"\r"))
        if len(self._buffer) > LONGEST_LINE:
            self._fail(Cut("a line of the server has no end"))
        elif len(self._replies) > self._wanted:
            self._fail(Cut("the server spoke unasked"))
        elif self._replies and len(self._replies) == self._wanted:
            self._wake()

    def _take(self, line: bytes) -> None:
        code, separator = line[:3], line[3:4]
        if len(code) != 3 or not code.isdigit() or separator not in (b"", b" ", b"-"):
            self._fail(Cut("the server does not speak SMTP"))
            return
        self._lines.append(line[4:].strip())
        self._length += len(line)
        if len(line) > LONGEST_LINE or self._length > LONGEST_REPLY:
            self._fail(Cut("a reply of the server has no end"))
        elif separator != b"-":
            self._replies.append(Reply(int(code), b"\n".join(self._lines).decode("utf-8", "replace")))
            self._lines, self._length = [], 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits is told."""
        self._fail(Cut("the server closed the connection"))

    def _fail(self, end: Cut) -> None:
        if self._end is None:
            self._end = end
            self._transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)


def _is_last(step: Step, reply: Reply) -> bool:
    """Whether nothing good can follow: it closes, will not forget a mail, or does not know SMTP's codes."""
    return step is Step.RESET or reply.code == CLOSING or not 400 <= reply.code < 600


def _agrees(step: Step, reply: Reply) -> bool:
    return reply.code // 100 == _AGREES.get(step, 2)


def _argument(address: str) -> bytes:
    """An address as a command holds it. Raises ValueError for what would be another command."""
    if not address.isascii() or not address.isprintable():
        raise ValueError("an address has a character that SMTP does not take")
    return address.encode()
