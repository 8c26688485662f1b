"""One HTTP/1.1 connection: a request at a time, and what comes back for it (RFC 9112).

httptools (llhttp) reads the framing; here is decided how much of it is taken. Whatever comes back is written by
somebody who may be hostile: every count and size has a limit, the limits hold while the bytes arrive, and a connection
on which anything was odd carries no other request, so that no answer is ever taken for that of another (RFC 9112 9.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from httptools import HttpParserError, HttpResponseParser

from notifier.transport.failures import NoAnswer

MOST_HEADS = 10  #: heads of answers that come for one request, interim ones (1xx) included
MOST_FIELDS = 128  #: header lines of all these heads
MOST_FIELD = 8190  #: bytes of a header line
MOST_HEAD = 64 * 1024  #: bytes of all these heads
SWITCHING = 101  #: nothing that we send asks for it (RFC 9110 15.2.2)


class Answer(NamedTuple):
    """What came back: the status, the headers as they came, and the beginning of the body."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> str | None:
        """The first value of a header, by its name in lower case."""
        found = (value for given, value in self.headers if given.lower() == name)
        return next((value.decode("latin-1").strip() for value in found), None)


class _Stop(Exception):
    """Raised through the parser, which reads no further then."""


class Connection(asyncio.Protocol):
    """From the first byte to the last; `lost` is called when the socket is gone."""

    __slots__ = (
        "_answer",
        "_bodiless",
        "_body",
        "_closed",
        "_fields",
        "_headers",
        "_heads",
        "_loop",
        "_lost",
        "_most_body",
        "_parser",
        "_received",
        "_status",
        "_timer",
        "_transport",
        "_whole",
        "idle_since",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, lost: Callable[[Connection], None]) -> None:
        self._loop = loop
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        # What receivers in the field do and RFC 9112 lets a client take (2.2, 5.2, 7.1.1): a bare LF as the end of a
        # line, folded headers, spaces behind the size of a chunk. Each answer is read by us alone, and nobody behind
        # us could read it differently.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._answer: asyncio.Future[Answer] | None = None  #: awaited; None between requests
        self._timer: asyncio.TimerHandle | None = None
        self._received = 0
        self._whole = True  #: nothing is under way, and the other side keeps the connection
        self._closed = False
        self.idle_since = 0.0

    # -- for its owner -------------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether it may carry a request."""
        return self._whole and not self._closed and self._transport is not None and not self._transport.is_closing()

    @property
    def was_held(self) -> bool:
        """Whether it waited for this request: the other side may have closed it meanwhile."""
        return self.idle_since > 0

    def exchange(self, request: bytes, *, seconds: float, most_body: int, bodiless: bool) -> asyncio.Future[Answer]:
        """Write a request, whole; the answer, or NoAnswer. `bodiless`: it is a HEAD, whose answer has no body.

        Who stops waiting closes the connection.
        """
        assert self._transport is not None
        self._whole = False
        self._status = self._heads = self._fields = self._received = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._most_body, self._bodiless = most_body, bodiless
        self._answer = answer = self._loop.create_future()
        self._timer = self._loop.call_later(seconds, self._late)
        self._transport.write(request)
        return answer

    def close(self) -> None:
        """Cut it now: what is not written yet need not go out, and a closing handshake could be drawn out."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    # -- for the event loop --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands, TLS included."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        """Read an answer; what comes while none is awaited belongs to nobody (RFC 9112 9.2)."""
        if self._answer is None:
            self.close()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self._break_off("cut" if self._body else "bad_answer")
        else:
            if self._received > MOST_HEAD:
                self._judge_size()

    def eof_received(self) -> None:
        """The other side says no more."""
        self._break_off("cut")

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self._break_off("cut")
        self._lost(self)
        del self._parser  # it holds this object, which holds it

    def _late(self) -> None:
        self._break_off("timeout")

    def _judge_size(self) -> None:
        """Neither heads nor framing (sizes and extensions of chunks, trailers) need be taken without end."""
        if self._answer is None:  # it is whole
            return
        if not self._status:
            self._break_off("bad_answer")
        elif self._received > MOST_HEAD + 2 * self._most_body:
            self._break_off("cut")

    def _break_off(self, reason: str) -> None:
        """Nothing more is read. A status that was answered leaves no doubt, whatever befalls the body (P4)...

        ... except that of an answer which is no HTTP where its body should begin: nothing in it is believed.
        """
        if self._answer is not None:
            if self._status and reason != "bad_answer":
                self._finish(whole=False)
            else:
                self._settle(NoAnswer(reason))
        self.close()

    def _finish(self, *, whole: bool) -> None:
        self._whole = whole
        self._settle(Answer(self._status, self._headers, bytes(self._body)))

    def _settle(self, result: Answer | NoAnswer) -> None:
        answer, self._answer = self._answer, None
        assert answer is not None and self._timer is not None
        self._timer.cancel()
        if answer.done():  # nobody waits any more
            return
        if isinstance(result, Answer):
            answer.set_result(result)
        else:
            answer.set_exception(result)

    # -- for the parser ------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Another answer begins: an interim one or the final one, or one that nobody asked for."""
        if self._answer is None:
            raise _Stop

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line of a head; trailers are passed over (RFC 9110 6.5.1)."""
        if self._status:
            return
        self._fields += 1
        odd = name.endswith((b" ", b"\t")) or b"\0" in value  # RFC 9112 5.1, RFC 9110 5.5
        if odd or self._fields > MOST_FIELDS or len(name) + len(value) > MOST_FIELD:
            raise _Stop
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The end of a head, interim (RFC 9110 15.2) or final."""
        status = self._parser.get_status_code()
        self._heads += 1
        if self._heads > MOST_HEADS or status < 100 or status == SWITCHING:
            raise _Stop
        if status < 200:
            self._headers.clear()
            return
        self._status = status
        if self._bodiless:  # the parser cannot be told, and would wait for the body (RFC 9112 6.3)
            self._finish(whole=False)
            raise _Stop

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        room = self._most_body - len(self._body)
        if len(data) <= room:
            self._body += data
            return
        self._body += data[:room]
        self._finish(whole=False)
        raise _Stop

    def on_message_complete(self) -> None:
        """The end of an answer."""
        if self._status:
            assert self._transport is not None
            # A request that is answered before it is written is of a receiver that had enough of it (RFC 9112 9.3).
            sent = self._transport.get_write_buffer_size() == 0
            self._finish(whole=sent and self._parser.should_keep_alive())
