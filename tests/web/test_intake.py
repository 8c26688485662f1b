"""A body that does not come in time: over a real socket, with a short limit."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence

import pytest
from fastapi import FastAPI

from notifier.core.acceptance import Answer, AnswerStatus
from notifier.core.events import RawItem
from notifier.core.ids import TenantId
from notifier.core.model import Credential
from notifier.web import intake, problems
from tests.web.served import served

KEY = Credential("k", TenantId("acme"), ("*",), ("*",))


class Accepting:
    """Takes everything."""

    def __init__(self) -> None:
        self.taken: list[RawItem] = []

    def __call__(self, items: Sequence[RawItem], credential: Credential) -> list[Answer]:
        self.taken += items
        return [Answer(index, AnswerStatus.ACCEPTED) for index in range(len(items))]


@pytest.fixture
def accepting() -> Accepting:
    return Accepting()


@pytest.fixture
def port(accepting: Accepting) -> Iterator[int]:
    app = FastAPI()
    problems.install(app)
    app.include_router(intake.create_router(accepting, lambda: KEY, body_seconds=0.5))
    with served(app, log_level="error", ws="none") as port:
        yield port


def begin(port: int, length: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def test_a_body_that_comes_byte_by_byte_is_ended(port: int, accepting: Accepting) -> None:
    began = time.monotonic()
    with begin(port, 1000) as connection:
        connection.settimeout(0.1)
        answer = b""
        while not answer and time.monotonic() - began < 10:
            connection.sendall(b" ")
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"nothing was accepted" in answer
    assert time.monotonic() - began < 5
    assert accepting.taken == []


def test_a_body_that_is_cut_off_accepts_nothing_and_breaks_nothing(port: int, accepting: Accepting) -> None:
    with begin(port, 1000) as connection:
        connection.sendall(b"[{}]")
    with begin(port, 4) as connection:
        connection.sendall(b"[{}]")
        assert connection.recv(4096).startswith(b"HTTP/1.1 202 ")
    assert len(accepting.taken) == 1
