"""The SMTP server: accepts every mail from this machine, up to a size; keeps it whole and what can be read in it."""

from __future__ import annotations

import base64
import email
import email.message
import email.policy
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from typing import Any

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from notifier.outbox.journal import Journal, Record, Summary

log = structlog.get_logger(__name__)

LARGEST = 10_000_000  #: bytes of one mail; more is answered 552
MOST_RECIPIENTS = 100

#: Parsing foreign mail with the standard library can fail in its header parser in these ways.
UNREADABLE = (LookupError, ValueError, AttributeError, TypeError)


class MailHandler:
    """What aiosmtpd calls."""

    def __init__(self, journal: Journal, now: Callable[[], str]) -> None:
        self._journal = journal
        self._now = now

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take any address."""
        if len(envelope.rcpt_tos) >= MOST_RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Keep the mail."""
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        record = {"mail_from": envelope.mail_from or "", "rcpt_tos": list(envelope.rcpt_tos), **read_mail(content)}
        id_ = self._journal.append(record, self._now())
        log.info("mail caught", action="outbox_mail", id=id_, size=len(content))
        return f"250 2.0.0 OK caught as {id_}"


class Connection(SMTP):
    """One connection. A web page can make a browser send commands in the body of an HTTP request: that is cut off."""

    async def smtp_POST(self, rest: str | None) -> None:
        """Hang up: no mail program says this."""
        await self.push("421 4.7.0 This is no web server")
        if self.transport is not None:
            self.transport.close()

    smtp_GET = smtp_HEAD = smtp_PUT = smtp_OPTIONS = smtp_CONNECT = smtp_POST


def new_session(handler: MailHandler) -> Connection:
    """Return the protocol object of one connection."""
    return Connection(
        handler,
        data_size_limit=LARGEST,
        enable_SMTPUTF8=True,
        hostname="localhost",  # or it would ask the name server for one
        ident="coolr outbox",
        timeout=120,
    )


def summarise(record: Record) -> Summary:
    """How a mail stands in the list."""
    search = f"{record['mail_from']} {record['message_id']} {record['text']}"
    return Summary(record["subject"] or "(no subject)", ", ".join(record["rcpt_tos"]), search=search)


def read_mail(content: bytes) -> dict[str, Any]:
    """Everything that can be read in a mail; never raises, whatever the mail."""
    headers, bodies = _parse(content)
    named = {name.lower(): value for name, value in headers}
    return {
        "subject": named.get("subject", ""),
        "message_id": named.get("message-id", ""),
        "headers": headers,
        **bodies,
        "size": len(content),
        "raw_base64": base64.b64encode(content).decode(),
    }


def _parse(content: bytes) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Headers and bodies; headers alone when the parts are nested deeper than the parser can go."""
    try:
        message = email.message_from_bytes(content, policy=email.policy.default)
        bodies = {
            "text": _body(message, "plain"),
            "html": _body(message, "html"),
            "attachments": list(_attachments(message)),
        }
    except RecursionError:
        message = BytesHeaderParser(_class=EmailMessage, policy=email.policy.default).parsebytes(content)
        bodies = {"text": "", "html": "", "attachments": []}
    return list(_headers(message)), bodies


def _headers(message: EmailMessage) -> Iterator[tuple[str, str]]:
    for name, raw in message.raw_items():
        try:
            yield name, str(message.policy.header_fetch_parse(name, raw))
        except UNREADABLE:
            yield name, str(raw)


def _body(message: EmailMessage, kind: str) -> str:
    try:
        part = message.get_body(preferencelist=(kind,))
    except UNREADABLE:
        return ""
    return "" if part is None else _content(part)


def _content(part: email.message.Message[Any, Any]) -> str:
    try:
        text = part.get_content() if isinstance(part, EmailMessage) else ""
    except UNREADABLE:  # an unknown character set, a broken transfer encoding
        payload = part.get_payload(decode=True)
        text = payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""
    return text if isinstance(text, str) else ""


def _attachments(message: EmailMessage) -> Iterator[dict[str, Any]]:
    try:
        for part in message.iter_attachments():
            payload = part.get_payload(decode=True)
            size = len(payload) if isinstance(payload, bytes) else 0
            yield {"name": part.get_filename() or "", "type": part.get_content_type(), "size": size}
    except UNREADABLE:
        return
