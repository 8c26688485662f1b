"""Heads of requests that are too large or never whole, over a real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from fastapi import FastAPI

from notifier.cli.run import WEB_LIMITS
from notifier.web.protocol import BoundedProtocol
from tests.web.served import served


class Impatient(BoundedProtocol):
    """As in production, but for the time."""

    head_seconds = 0.3


@pytest.fixture
def port() -> Iterator[int]:
    app = FastAPI()
    app.get("/")(lambda: "ok")
    with served(app, log_config=None, http=Impatient, h11_max_incomplete_event_size=32_768) as port:
        yield port


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: "])
def test_a_head_that_does_not_come_is_not_waited_for(port: int, begun: bytes) -> None:
    with connect(port) as connection:
        connection.sendall(begun)
        assert connection.recv(4096) == b""


def test_a_second_head_on_a_held_connection_is_not_waited_for_either(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET / HT")
        rest = b""
        while part := connection.recv(4096):
            rest += part
        assert b"HTTP/1.1" not in rest


def test_a_head_without_end_is_not_read_to_its_end(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-A: " + b"a" * 40_000)
        assert connection.recv(4096).startswith(b"HTTP/1.1 400")


def test_the_web_process_uses_it() -> None:
    at = WEB_LIMITS.index("--http")
    assert WEB_LIMITS[at + 1] == f"{BoundedProtocol.__module__}:{BoundedProtocol.__name__}"
