"""What is believed of an answer: each byte of it may be written by somebody hostile, and come in any pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.transport.connection import MOST_FIELD, MOST_FIELDS, MOST_HEAD, MOST_HEADS, Connection
from notifier.transport.failures import NoAnswer

REQUEST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
MOST_BODY = 100


class Wire(asyncio.Transport):
    """The other end: what is written, and whether it was cut."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.cut = False
        self.unsent = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.cut

    def abort(self) -> None:
        self.cut = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Talk:
    """A connection with a request under way, fed by hand."""

    def __init__(self, loop: asyncio.AbstractEventLoop, method: str = "POST", most_body: int = MOST_BODY) -> None:
        self.wire = Wire()
        self.connection = Connection(loop, lambda _: None)
        self.connection.connection_made(self.wire)
        self.most_body, self.bodiless = most_body, method == "HEAD"
        self.ask()

    def ask(self, seconds: float = 60) -> None:
        self.answer = self.connection.exchange(
            REQUEST, seconds=seconds, most_body=self.most_body, bodiless=self.bodiless
        )

    def hear(self, *pieces: bytes) -> None:
        """As a transport does: nothing comes any more once the connection was cut."""
        for piece in pieces:
            if not self.wire.cut:
                self.connection.data_received(piece)

    def end(self) -> None:
        """The other side closes."""
        if not self.wire.cut:
            self.connection.eof_received()
        self.connection.connection_lost(None)

    def outcome(self) -> tuple[int, bytes] | str | None:
        """Status and body, the reason that there are none, or None while they are awaited."""
        if not self.answer.done():
            return None
        error = self.answer.exception()
        if error is None:
            return self.answer.result().status, self.answer.result().body
        assert isinstance(error, NoAnswer)
        return error.reason


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


#: Answer, status and body (or the reason that there is none), and whether the connection carries another request.
ANSWERS: Sequence[tuple[bytes, tuple[int, bytes] | str, bool]] = [
    # RFC 9112 6.3: as long as it says
    (OK + b"content-length: 5\r\n\r\nhello", (200, b"hello"), True),
    (OK + b"content-length: 0\r\n\r\n", (200, b""), True),
    (OK + b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\nx: y\r\n\r\n", (200, b"hello"), True),
    # statuses that have no body, whatever they say of its length
    (b"HTTP/1.1 204 X\r\ncontent-length: 5\r\n\r\n", (204, b""), True),
    (b"HTTP/1.1 304 X\r\ntransfer-encoding: chunked\r\n\r\n", (304, b""), True),
    # interim answers (RFC 9110 15.2), with headers that are none of the final one's
    (b"HTTP/1.1 103 X\r\nretry-after: 9\r\n\r\n" + OK + b"content-length: 1\r\n\r\na", (200, b"a"), True),
    # RFC 9112 9.3: the receiver closes, or will not say when
    (OK + b"connection: close\r\ncontent-length: 1\r\n\r\na", (200, b"a"), False),
    (b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na", (200, b"a"), False),
    (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\na", (200, b"a"), True),
    # what receivers do although they should not, and a client may take (RFC 9112 2.2, 5.2)
    (b"HTTP/1.1 200 OK\ncontent-length: 1\n\na", (200, b"a"), True),
    (OK + b"x: a\r\n b\r\ncontent-length: 1\r\n\r\na", (200, b"a"), True),
    (b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", (200, b""), True),
    # two ends in one answer (RFC 9112 6.3): one of them would be the beginning of the next answer
    (OK + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "bad_answer", False),
    (OK + b"transfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n0\r\n\r\n", "bad_answer", False),
    (OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab", "bad_answer", False),
    (OK + b"content-length: 1, 2\r\n\r\nab", "bad_answer", False),
    (OK + b"content-length: -1\r\n\r\n", "bad_answer", False),
    (OK + b"content-length: 99999999999999999999\r\n\r\n", "bad_answer", False),
    (OK + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n", "bad_answer", False),
    # more than was asked for: nobody's (RFC 9112 9.2)
    (OK + b"content-length: 1\r\n\r\nab", (200, b"a"), False),
    (OK + b"content-length: 0\r\n\r\n" + b"HTTP/1.1 410 X\r\ncontent-length: 0\r\n\r\n", (200, b""), False),
    (b"HTTP/1.1 204 X\r\ncontent-length: 1\r\n\r\na", (204, b""), False),
    (OK + b"content-length: 0\r\n\r\n" + b"HTTP/1.1 41", (200, b""), False),
    # a protocol that nobody asked for (RFC 9110 15.2.2)
    (b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", "bad_answer", False),
    # no HTTP
    (b"HTTP/1.1 099 X\r\n\r\n", "bad_answer", False),
    (b"HTTP/1.1 2000 X\r\n\r\n", "bad_answer", False),
    (b"220 mail.example ESMTP\r\n", "bad_answer", False),
    (b"\x15\x03\x03\x00\x02\x02\x28", "bad_answer", False),
    (OK + b"x: \0\r\ncontent-length: 0\r\n\r\n", "bad_answer", False),
    (OK + b"x: a\rb\r\ncontent-length: 0\r\n\r\n", "bad_answer", False),
    # no HTTP where the body should begin: nothing is believed; further on the status was answered (P4)
    (OK + b"transfer-encoding: chunked\r\n\r\nZZ\r\n", "bad_answer", False),
    (OK + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\nZZ\r\n", (200, b"a"), False),
    # a body beyond what is read
    (OK + b"content-length: 100\r\n\r\n" + b"a" * 100, (200, b"a" * 100), True),
    (OK + b"content-length: 101\r\n\r\n" + b"a" * 101, (200, b"a" * 100), False),
    # heads without end
    (b"HTTP/1.1 100 X\r\n\r\n" * (MOST_HEADS - 1) + OK + b"content-length: 0\r\n\r\n", (200, b""), True),
    (b"HTTP/1.1 100 X\r\n\r\n" * MOST_HEADS + OK + b"content-length: 0\r\n\r\n", "bad_answer", False),
    (OK + b"a:b\r\n" * (MOST_FIELDS - 1) + b"content-length: 0\r\n\r\n", (200, b""), True),
    (OK + b"a:b\r\n" * MOST_FIELDS + b"content-length: 0\r\n\r\n", "bad_answer", False),
    (OK + b"a:" + b"b" * (MOST_FIELD - 1) + b"\r\ncontent-length: 0\r\n\r\n", (200, b""), True),
    (OK + b"a:" + b"b" * MOST_FIELD + b"\r\ncontent-length: 0\r\n\r\n", "bad_answer", False),
]  # fmt: skip


def pieces(answer: bytes) -> dict[str, list[bytes]]:
    return {
        "whole": [answer],
        "byte by byte": [answer[at : at + 1] for at in range(len(answer))],
        "in two": [answer[: len(answer) // 2], answer[len(answer) // 2 :]],
    }


@pytest.mark.parametrize("how", ["whole", "byte by byte", "in two"])
@pytest.mark.parametrize(("answer", "expected", "kept"), ANSWERS)
def test_an_answer_means_the_same_in_whatever_pieces_it_comes(
    loop: asyncio.AbstractEventLoop, answer: bytes, expected: tuple[int, bytes] | str, kept: bool, how: str
) -> None:
    talk = Talk(loop)
    talk.hear(*pieces(answer)[how])
    assert talk.outcome() == expected, "and it is not waited for the other side to close"
    assert talk.connection.usable is kept


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        # without a length the body ends where the connection does (RFC 9112 6.3)
        (OK + b"\r\nhello", (200, b"hello")),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", (200, b"hello")),
        (OK + b"transfer-encoding: gzip\r\n\r\nhello", (200, b"hello")),
        # cut short, and the status was answered (P4)
        (OK + b"content-length: 9\r\n\r\nhello", (200, b"hello")),
        (OK + b"transfer-encoding: chunked\r\n\r\n9\r\nhello", (200, b"hello")),
        (OK + b"transfer-encoding: chunked\r\n\r\n", (200, b"")),
        # no status
        (b"", "cut"),
        (b"HTTP/1.1 20", "cut"),
        (OK + b"content-length: 0\r\n", "cut"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "cut"),
    ],
)
@pytest.mark.parametrize("end", ["closed", "lost", "late"])
def test_a_status_that_was_answered_counts_however_the_rest_ends_p4(
    loop: asyncio.AbstractEventLoop, answer: bytes, expected: tuple[int, bytes] | str, end: str
) -> None:
    talk = Talk(loop)
    talk.hear(answer)
    assert talk.outcome() is None
    ends: dict[str, Callable[[], None]] = {
        "closed": talk.end,
        "lost": lambda: talk.connection.connection_lost(ConnectionResetError()),
        "late": talk.connection._late,
    }
    ends[end]()
    assert talk.outcome() == ("timeout" if (expected, end) == ("cut", "late") else expected)
    assert not talk.connection.usable


def test_the_answer_to_a_head_has_no_body_and_its_connection_carries_no_other(loop: asyncio.AbstractEventLoop) -> None:
    """The parser cannot be told and would take the next answer for the body."""
    talk = Talk(loop, "HEAD")
    talk.hear(OK + b"content-length: 5\r\n\r\n")
    assert talk.outcome() == (200, b"")
    assert not talk.connection.usable


@pytest.mark.parametrize("unasked", [OK + b"content-length: 0\r\n\r\n", b"\r\n", b"x"])
def test_what_comes_while_nothing_is_awaited_cuts_the_connection(
    loop: asyncio.AbstractEventLoop, unasked: bytes
) -> None:
    """It would be the answer to a request that was not sent yet, perhaps another tenant's (P11)."""
    talk = Talk(loop)
    talk.hear(OK + b"content-length: 0\r\n\r\n")
    assert talk.connection.usable
    talk.hear(unasked)
    assert talk.wire.cut and not talk.connection.usable


def test_one_connection_carries_requests_one_after_another(loop: asyncio.AbstractEventLoop) -> None:
    talk = Talk(loop)
    for number in range(3):
        talk.hear(b"HTTP/1.1 20%d X\r\nx: %d\r\ncontent-length: 1\r\n\r\n%d" % (number, number, number))
        assert talk.outcome() == (200 + number, b"%d" % number)
        assert talk.answer.result().header(b"x") == str(number)
        talk.ask()
    assert talk.wire.written == REQUEST * 4


def test_headers_of_interim_answers_are_not_those_of_the_final_one(loop: asyncio.AbstractEventLoop) -> None:
    talk = Talk(loop)
    talk.hear(b"HTTP/1.1 103 X\r\nretry-after: 9\r\n\r\nHTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n")
    assert talk.answer.result().header(b"retry-after") is None
    assert talk.answer.result().header(b"content-length") == "0"


def test_the_time_of_one_request_is_not_that_of_the_next(loop: asyncio.AbstractEventLoop) -> None:
    talk = Talk(loop)
    talk.hear(OK + b"content-length: 0\r\n\r\n")
    talk.ask(seconds=0)
    talk.hear(OK + b"content-length: 0\r\n\r\n")
    talk.ask()
    loop.run_until_complete(asyncio.sleep(0.01))
    assert talk.outcome() is None and not talk.wire.cut


def test_an_answer_before_the_request_was_written_ends_the_connection(loop: asyncio.AbstractEventLoop) -> None:
    talk = Talk(loop)
    talk.wire.unsent = 1
    talk.hear(b"HTTP/1.1 413 X\r\ncontent-length: 0\r\n\r\n")
    assert talk.outcome() == (413, b"")
    assert not talk.connection.usable


@pytest.mark.parametrize(
    ("begin", "rest", "expected"),
    [
        # a line that does not end: of the status, of a header, of a name
        (b"HTTP/1.1 200 ", b"a" * 1000, "bad_answer"),
        (OK + b"x: ", b"a" * 1000, "bad_answer"),
        (OK, b"a" * 1000, "bad_answer"),
        # chunks whose sizes say more than they hold, and trailers: the status was answered
        (OK + b"transfer-encoding: chunked\r\n\r\n1;", b"a" * 1000, (200, b"")),
        (OK + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 100, (200, b"")),
        (OK + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: ", b"b" * 1000, (200, b"a")),
    ],
)
def test_what_is_no_body_is_not_read_without_end(
    loop: asyncio.AbstractEventLoop, begin: bytes, rest: bytes, expected: tuple[int, bytes] | str
) -> None:
    talk = Talk(loop)
    talk.hear(begin)
    heard = 0
    while talk.outcome() is None:
        assert heard < 2 * MOST_HEAD
        talk.hear(rest)
        heard += len(rest)
    assert talk.outcome() == expected
    assert talk.wire.cut


def test_who_stops_waiting_gets_no_answer_and_the_connection_none_either(loop: asyncio.AbstractEventLoop) -> None:
    talk = Talk(loop)
    talk.answer.cancel()
    talk.hear(OK + b"content-length: 0\r\n\r\n")
    talk.connection.close()
    talk.end()
    assert talk.answer.cancelled()
    assert not talk.connection.usable


#: So that much of what is made is nearly right.
PIECES = [
    OK, b"HTTP/1.1 100 X\r\n\r\n", b"content-length: 3\r\n", b"transfer-encoding: chunked\r\n",
    b"connection: close\r\n", b"\r\n", b"3\r\n", b"0\r\n", b"abc", b"\n", b":", b"\0", b" ",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_bytes_whatever_raise_or_leave_a_call_waiting_after_the_end(data: st.DataObject) -> None:
    parts = data.draw(st.lists(st.sampled_from(PIECES) | st.binary(max_size=8), max_size=12))
    loop = asyncio.new_event_loop()
    try:
        talk = Talk(loop, data.draw(st.sampled_from(["POST", "HEAD"])), most_body=5)
        talk.hear(*parts)
        before = talk.outcome()
        assert not (talk.connection.usable and before is None)
        talk.end()
        after = talk.outcome()
        assert after is not None and (before is None or after == before)
        assert isinstance(after, str) or (200 <= after[0] <= 999 and len(after[1]) <= 5)
    finally:
        loop.close()
