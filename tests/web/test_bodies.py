"""Forms of anybody, over a real socket: what is cut off or slow costs no lines of the log and no connection."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator

import pytest
from fastapi import FastAPI, Request, Response

from notifier.web.bodies import form_body
from tests.peers.process import wait_until
from tests.web.served import served


@pytest.fixture
def seen() -> list[bytes | None]:
    return []


@pytest.fixture
def port(seen: list[bytes | None]) -> Iterator[int]:
    app = FastAPI()

    @app.post("/form")
    async def form(request: Request) -> Response:
        seen.append(await form_body(request, most=1000, seconds=0.5))
        return Response(status_code=204)

    with served(app, log_config=None, ws="none") as port:
        yield port


def begin(port: int, length: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(f"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
    return connection


def test_a_form_that_is_cut_off_is_no_error_of_ours(
    port: int, seen: list[bytes | None], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        with begin(port, 100) as connection:
            connection.sendall(b"a=")
        wait_until(lambda: bool(seen), "the form was given up")
        with begin(port, 3) as connection:
            connection.sendall(b"a=b")
            assert connection.recv(4096).startswith(b"HTTP/1.1 204 ")
    assert seen == [None, b"a=b"]
    assert caplog.records == []


def test_a_form_that_does_not_come_is_not_waited_for(port: int, seen: list[bytes | None]) -> None:
    began = time.monotonic()
    with begin(port, 100) as connection:
        assert connection.recv(4096).startswith(b"HTTP/1.1 204 ")
    assert time.monotonic() - began < 5
    assert seen == [None]


def test_a_large_form_is_not_read_to_its_end(port: int, seen: list[bytes | None]) -> None:
    with begin(port, 1001) as connection:
        connection.sendall(b"a" * 1001)
        assert connection.recv(4096).startswith(b"HTTP/1.1 204 ")
    assert seen == [None]
