"""Held SMTP connections: a few per server, used again, closed when idle or when the server says so.

A refused recipient or mail leaves a connection good; a lost answer, a 421 or a cancelled send does not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib

from notifier.errors import ConfigError, Problem

IDLE = 20.0  #: seconds after which an unused connection is not trusted any more
TIMEOUT = 20.0  #: seconds for one command
CLOSING = 421  #: "service not available, closing transmission channel"
PORTS = {"smtp": 587, "smtps": 465}


class StartTls(StrEnum):
    """Whether the connection is encrypted by STARTTLS."""

    REQUIRED = "required"
    OPPORTUNISTIC = "opportunistic"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is handed over."""

    host: str
    port: int
    tls: bool = False  #: TLS from the first byte (smtps)
    start_tls: StartTls = StartTls.REQUIRED
    user: str = ""
    password: str = ""
    connections: int = 10
    tls_context: Any = None

    def __repr__(self) -> str:
        return f"SmtpServer({self.host}:{self.port})"


def parse_url(url: str) -> SmtpServer:
    """Read smtp://user:password@host:587?starttls=required&connections=10, or smtps://. Raises ConfigError.

    STARTTLS is required unless the host is this machine.
    """
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    try:
        if parts.scheme not in PORTS or not parts.hostname:
            raise ValueError("must be smtp://host:port or smtps://host:port")
        local = parts.hostname in ("127.0.0.1", "localhost", "::1")
        usual = StartTls.OPPORTUNISTIC if local else StartTls.REQUIRED
        start_tls = StartTls(options.get("starttls", usual))
        if parts.password and parts.scheme == "smtp" and start_tls is not StartTls.REQUIRED and not local:
            raise ValueError("a password needs starttls=required or smtps://, else anybody on the way can ask for it")
        return SmtpServer(
            host=parts.hostname,
            port=parts.port or PORTS[parts.scheme],
            tls=parts.scheme == "smtps",
            start_tls=start_tls,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            connections=max(1, min(100, int(options.get("connections", "10")))),
        )
    except ValueError as error:
        raise ConfigError([Problem("NOTIFIER_SMTP_URL", str(error))]) from None


@dataclass(frozen=True, slots=True)
class _Idle:
    client: aiosmtplib.SMTP
    since: float  #: monotonic
    clean: bool  #: nothing is half said


class SmtpPool:
    """Lends connections; one that failed is never used again."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._idle: list[_Idle] = []
        self._room = asyncio.Semaphore(server.connections)
        self._closed = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The right to one connection, of as many as there may be; others wait meanwhile."""
        async with self._room:
            yield

    @asynccontextmanager
    async def mail_from(self, sender: str) -> AsyncIterator[aiosmtplib.SMTP]:
        """A connection on which MAIL was taken, ready for RCPT; within a turn. Raises aiosmtplib's errors."""
        client = await self._said_mail(sender)
        try:
            yield client
        except aiosmtplib.SMTPResponseException as error:
            self._keep(client, good=_goes_on(error), clean=False)
            raise
        except BaseException:
            _drop(client)
            raise
        self._keep(client, good=True, clean=True)

    def _keep(self, client: aiosmtplib.SMTP, *, good: bool, clean: bool) -> None:
        if good and client.is_connected and not self._closed:
            self._idle.append(_Idle(client, time.monotonic(), clean))
        else:
            _drop(client)

    async def _said_mail(self, sender: str) -> aiosmtplib.SMTP:
        """MAIL is the question whether a held connection still lives; when it does not, nothing is lost yet."""
        while self._idle:
            idle = self._idle.pop()
            if time.monotonic() - idle.since < IDLE and idle.client.is_connected and await self._taken(idle, sender):
                return idle.client
            _drop(idle.client)
        client = await self._connect()
        try:
            await client.mail(sender)
        except BaseException as error:
            goes_on = isinstance(error, aiosmtplib.SMTPResponseException) and _goes_on(error)
            self._keep(client, good=goes_on, clean=False)
            raise
        return client

    async def _taken(self, idle: _Idle, sender: str) -> bool:
        """Whether it took MAIL; False when the server has ended it. Raises when the sender is refused."""
        try:
            if not idle.clean:  # what was refused before is still half said
                await idle.client.rset()
            await idle.client.mail(sender)
        except aiosmtplib.SMTPResponseException as error:
            if not _goes_on(error):
                return False
            self._keep(idle.client, good=True, clean=False)
            raise
        except (aiosmtplib.SMTPException, OSError):
            return False
        except BaseException:
            _drop(idle.client)
            raise
        return True

    async def _connect(self) -> aiosmtplib.SMTP:
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            timeout=TIMEOUT,
            use_tls=server.tls,
            start_tls={StartTls.REQUIRED: True, StartTls.OFF: False}.get(server.start_tls) if not server.tls else False,
            tls_context=server.tls_context,
        )
        try:
            await client.connect()
            if server.user:
                await client.login(server.user, server.password)
        except BaseException:
            _drop(client)
            raise
        return client

    async def close(self) -> None:
        """Say goodbye on every idle connection; what is still in use is closed when it comes back."""
        self._closed = True
        idle, self._idle = self._idle, []
        for client in (one.client for one in idle):
            transport = client.transport
            with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):  # it ends all the same
                await asyncio.wait_for(client.quit(), 2)
            _drop(client, transport)


def _goes_on(error: aiosmtplib.SMTPResponseException) -> bool:
    """Whether the connection is good after this answer."""
    return 400 <= error.code < 600 and error.code != CLOSING


def _drop(client: aiosmtplib.SMTP, transport: asyncio.BaseTransport | None = None) -> None:
    """End a connection at once: a polite end of TLS would hold its socket until the server agrees."""
    transport = transport or client.transport
    client.close()
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
