"""Puts the three servers together in one process and one event loop, and ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from notifier.errors import ConfigError, Problem
from notifier.outbox import callbacks, mail, portal, sms
from notifier.outbox.guard import Guard
from notifier.outbox.journal import Journal
from notifier.outbox.page import Channel, Page
from notifier.outbox.settings import HOST, OutboxSettings

log = structlog.get_logger(__name__)

STOP_WITHIN = 3  #: seconds for requests in flight


class Outbox:
    """The three servers and their logs. Make it inside the event loop it runs on."""

    def __init__(self, settings: OutboxSettings) -> None:
        folder = settings.folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.mails = Journal(folder / "smtp.jsonl", mail.summarise)
        self.texts = Journal(folder / "sms.jsonl", sms.summarise)
        self.callbacks = Journal(folder / "callbacks.jsonl", callbacks.summarise)
        self.handler = mail.MailHandler(self.mails, lambda: _now().isoformat())
        self.sms = sms.SmsServer(settings, self.texts, _now)
        self._settings = settings

    def app(self) -> ASGIApp:
        """Everything that speaks HTTP; the callback receiver takes what is left."""
        journals = {Channel.EMAIL: self.mails, Channel.SMS: self.texts, Channel.CALLBACK: self.callbacks}
        receiver = callbacks.CallbackServer(self._settings, self.callbacks, _now)
        page = Page(self._settings, journals, self.sms.status_of)
        routes = [*page.routes(), *self.sms.routes(), *portal.routes(), *receiver.routes()]
        return Guard(Starlette(routes=routes), self._settings.http_port)

    async def close(self) -> None:
        """Stop call-backs, close the logs."""
        await self.sms.close()
        for journal in (self.mails, self.texts, self.callbacks):
            journal.close()


async def serve(settings: OutboxSettings) -> None:
    """Run until SIGTERM or SIGINT. Raises ConfigError when a port is taken."""
    with (
        _listen("NOTIFIER_OUTBOX_PORT", settings.http_port) as http,
        _listen("NOTIFIER_OUTBOX_SMTP_PORT", settings.smtp_port) as smtp,
    ):
        outbox = Outbox(settings)
        server = await asyncio.get_running_loop().create_server(lambda: mail.new_session(outbox.handler), sock=smtp)
        try:
            log.info(f"outbox: http://{HOST}:{settings.http_port}/dev/outbox", action="outbox_up")
            await _serve_http(outbox.app(), http)
        finally:
            server.close()
            await outbox.close()


async def _serve_http(app: ASGIApp, listener: socket.socket) -> None:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        http="h11",  # the other reader bounds no headers
        timeout_graceful_shutdown=STOP_WITHIN,
        h11_max_incomplete_event_size=65_536,
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.serve(sockets=[listener])


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn would raise them once more when it is done, before the logs are closed."""

    def stop(self) -> None:
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def _listen(setting: str, port: int) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            raise ConfigError([Problem(setting, f"port {port} is taken by another program")]) from None
        listener.listen(100)
        yield listener


def _now() -> datetime:
    return datetime.now(UTC)
