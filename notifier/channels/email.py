"""E-mail over SMTP with held connections.

A failure up to RCPT was not sent; an answer to DATA is a refusal; anything else after DATA began is unknown (P4): the
server may have the mail. Basic status codes decide: 4xx temporary, 5xx permanent (RFC 5321 section 4.2.1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parseaddr

import aiosmtplib

from notifier.channels._smtp import SmtpPool, SmtpServer
from notifier.core import mime
from notifier.core.model import ChannelName
from notifier.errors import DeliveryError, OutcomeUnknown, PermanentFailure, TemporaryFailure
from notifier.ports import Delivery, EmailTarget, Receipt

_QUEUE_ID = re.compile(r"queued as ([A-Za-z0-9.-]{4,80})|\bid=([A-Za-z0-9.-]{4,80})", re.IGNORECASE)
#: Answers that concern our log-in or relay, not this mail: the lane waits, the mail is kept.
SERVER_CODES = {421, 454, 530, 534, 535, 538}
#: The mailbox does not exist: nobody is written to there again (RFC 3463 X.1.1, X.1.10).
GONE = re.compile(r"\b5\.1\.(1|10)\b")


@dataclass(frozen=True, slots=True)
class EmailSettings:
    """What the channel needs."""

    server: SmtpServer


class EmailChannel:
    """Hands mail to a server."""

    name = ChannelName.EMAIL
    parts: tuple[str, ...] = ("subject", "html", "text")

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings
        self._pool: SmtpPool | None = None

    async def open(self) -> None:
        """Connections are made when needed, on this loop."""
        self._pool = SmtpPool(self._settings.server)

    async def close(self) -> None:
        """Close held connections."""
        if self._pool is not None:
            await self._pool.close()

    async def send(self, delivery: Delivery) -> Receipt:
        """Hand the mail over once. Raises DeliveryError subclasses."""
        target, raw = build(delivery)
        assert self._pool is not None
        progress = _Progress()
        try:
            async with self._pool.connection() as client:
                return await self._transact(client, target, raw, progress)
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
            raise classify(error, in_data=progress.in_data) from None

    async def _transact(self, client: aiosmtplib.SMTP, target: EmailTarget, raw: bytes, progress: _Progress) -> Receipt:
        await client.mail(parseaddr(target.sender)[1])
        await client.rcpt(target.to)
        progress.in_data = True
        answer = await client.data(raw)
        match = _QUEUE_ID.search(answer.message)
        return Receipt(provider_id=next(filter(None, match.groups()), None) if match else None)


@dataclass(slots=True)
class _Progress:
    in_data: bool = False


def build(delivery: Delivery) -> tuple[EmailTarget, bytes]:
    """Return the envelope and the mail. Raises PermanentFailure for a value that must not be sent."""
    target = delivery.target
    assert isinstance(target, EmailTarget)
    if not target.sender:
        raise PermanentFailure("no_sender", "no sender: set email_from of the tenant or NOTIFIER_EMAIL_FROM")
    try:
        raw = mime.build(
            sender=target.sender,
            to=target.to,
            reply_to=target.reply_to,
            subject=delivery.parts["subject"],
            text=delivery.parts["text"],
            html=delivery.parts["html"],
            message_id=target.message_id,
            date=delivery.at,
            headers=target.headers,
        )
    except mime.HeaderError as error:
        raise PermanentFailure("bad_header", str(error)) from None
    return target, raw


def classify(error: Exception, *, in_data: bool) -> DeliveryError:
    """Return what an error of the SMTP dialogue means."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused) and error.recipients:
        error = error.recipients[0]
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _answered(error.code, error.message, in_data and not isinstance(error, aiosmtplib.SMTPDataError))
    if in_data:
        return OutcomeUnknown("cut", "the connection was lost while the mail was handed over")
    match error:
        case aiosmtplib.SMTPConnectTimeoutError() | aiosmtplib.SMTPTimeoutError() | TimeoutError():
            return TemporaryFailure("timeout", "the mail server does not answer")
        case aiosmtplib.SMTPServerDisconnected():
            return TemporaryFailure("cut", "the mail server closed the connection")
        case aiosmtplib.SMTPConnectError() | OSError():
            return TemporaryFailure("connect", "the mail server cannot be reached")
    return TemporaryFailure("configuration", "TLS or log-in with the mail server failed", lane_wide=True)


def _answered(code: int, message: str, unclear: bool) -> DeliveryError:
    if unclear:
        return OutcomeUnknown("cut", f"the mail server answered {code} while the mail was handed over", code=str(code))
    if code in SERVER_CODES:
        return TemporaryFailure("server", f"the mail server answered {code}", code=str(code), lane_wide=True)
    if 400 <= code < 500:
        return TemporaryFailure("deferred", f"the mail server answered {code}", code=str(code))
    gone = bool(GONE.search(message))
    detail = "no such mailbox" if gone else f"the mail server refused the mail with {code}"
    return PermanentFailure("refused", detail, code=str(code), disable=gone)


CHANNEL = EmailChannel
