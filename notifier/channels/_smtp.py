"""Held SMTP connections: a few per server, set up by aiosmtplib, used again, closed when idle or in doubt.

A refused recipient or mail leaves a connection good; a lost answer, a 421 or a cancelled send does not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib

from notifier.channels._dialogue import CLOSING, Cut, Dialogue, Refused, Step
from notifier.errors import ConfigError, Problem

IDLE = 20.0  #: seconds after which an unused connection is not trusted any more
TIMEOUT = 20.0  #: seconds for one command while a connection is set up
GOODBYE = 2.0  #: seconds
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


class SmtpPool:
    """Lends connections; one that failed is never used again."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._held: list[tuple[Dialogue, float]] = []  #: free ones, and since when (monotonic)
        self._room = asyncio.Semaphore(server.connections)
        self._closed = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The right to one connection, of as many as there may be; others wait meanwhile."""
        async with self._room:
            yield

    @asynccontextmanager
    async def begun(self, sender: str, recipient: str) -> AsyncIterator[Dialogue]:
        """A connection on which the envelope was taken: the content is next. Within a turn.

        Raises Refused, Cut, and aiosmtplib's errors while a connection is set up.
        """
        dialogue = await self._begun(sender, recipient)
        try:
            yield dialogue
        finally:
            self._keep(dialogue)

    async def _begun(self, sender: str, recipient: str) -> Dialogue:
        """The envelope is the question whether a held connection still lives; when it does not, nothing is lost yet."""
        while True:
            held = self._take()
            dialogue = held or await self._connect()
            try:
                await dialogue.begin(sender, recipient)
            except BaseException as error:
                self._keep(dialogue)
                if held is None or not _has_ended(error):
                    raise
            else:
                return dialogue

    def _take(self) -> Dialogue | None:
        """The one used last, so that those not needed become old."""
        while self._held:
            dialogue, since = self._held.pop()
            if time.monotonic() - since < IDLE and dialogue.usable:
                return dialogue
            dialogue.abort()
        return None

    def _keep(self, dialogue: Dialogue) -> None:
        if dialogue.usable and not self._closed:
            self._held.append((dialogue, time.monotonic()))
        else:
            dialogue.abort()

    async def _connect(self) -> Dialogue:
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
            await _say_hello(client)
        except BaseException:
            transport = client.transport
            client.close()
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()  # a polite end of TLS would hold its socket until the server agrees
            raise
        return Dialogue(cast(asyncio.Transport, client.transport), pipelining=client.supports_extension("pipelining"))

    async def close(self) -> None:
        """Say goodbye on every free connection; what is still in use is closed when it comes back."""
        self._closed = True
        held, self._held = self._held, []
        await asyncio.gather(*(_say_goodbye(dialogue) for dialogue, _ in held))


async def _say_hello(client: aiosmtplib.SMTP) -> None:
    """EHLO, unless encryption or log-in needed it before; HELO where that is not known."""
    if client.is_ehlo_or_helo_needed:
        try:
            await client.ehlo()
        except aiosmtplib.SMTPHeloError:
            await client.helo()


async def _say_goodbye(dialogue: Dialogue) -> None:
    with suppress(Refused, Cut, TimeoutError):  # it ends all the same
        await asyncio.wait_for(dialogue.quit(), GOODBYE)
    dialogue.abort()


def _has_ended(error: BaseException) -> bool:
    """Whether it tells no more than that the server has had enough of this connection."""
    return isinstance(error, Cut) or (
        isinstance(error, Refused) and (error.reply.code == CLOSING or error.step is Step.RESET)
    )
