"""E-mail over SMTP with held connections.

A failure before the content was not sent; an answer is a refusal; anything else after the content began is unknown
(P4): the server may have the mail. For recipient and mail the basic status codes decide: 4xx temporary, 5xx permanent
(RFC 5321 section 4.2.1). What the server says to us or our sender (greeting, log-in, MAIL) is no fault of the mail: it
waits, and so does a mail for which no connection was free.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from typing import Self

import aiosmtplib

from notifier.channels._dialogue import Cut, Refused, Reply, Step
from notifier.channels._smtp import SmtpPool, SmtpServer, parse_url
from notifier.config import Settings
from notifier.core import mime
from notifier.core.model import ChannelName
from notifier.core.retrying import NO_CONNECTION
from notifier.errors import DeliveryError, OutcomeUnknown, PermanentFailure, TemporaryFailure
from notifier.ports import Delivery, EmailTarget, Receipt

BEFORE_CONTENT, IN_CONTENT = 9.0, 20.0  #: seconds; together less than what the engine gives a send
_QUEUE_ID = re.compile(r"queued as ([A-Za-z0-9.-]{4,80})|\bid=([A-Za-z0-9.-]{4,80})", re.IGNORECASE)
#: Answers that concern our log-in or relay, not this mail: the lane waits, the mail is kept.
SERVER_CODES = {421, 454, 530, 534, 535, 538}
#: The mailbox does not exist: nobody is written to there again (RFC 3463 X.1.1, X.1.10).
GONE = re.compile(r"\b5\.1\.(1|10)\b")


@dataclass(frozen=True, slots=True)
class EmailSettings:
    """What the channel needs."""

    server: SmtpServer
    before_content: float = BEFORE_CONTENT  #: seconds for a free connection, its set-up, the envelope and DATA
    in_content: float = IN_CONTENT  #: seconds for the content and its answer


class EmailChannel:
    """Hands mail to a server."""

    name = ChannelName.EMAIL
    parts: tuple[str, ...] = ("subject", "html", "text")

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings
        self._pool: SmtpPool | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """None without a mail server. Raises ConfigError."""
        url = settings.smtp_url.get_secret_value()
        return cls(EmailSettings(parse_url(url))) if url else None

    async def open(self) -> None:
        """Connections are made when needed, on this loop."""
        self._pool = SmtpPool(self._settings.server)

    async def close(self) -> None:
        """Close held connections."""
        if self._pool is not None:
            await self._pool.close()

    async def send(self, delivery: Delivery) -> Receipt:
        """Hand the mail over once. Raises DeliveryError subclasses."""
        mail = build(delivery)
        assert self._pool is not None
        progress = _Progress()
        try:
            async with asyncio.timeout(self._settings.before_content) as limit, self._pool.turn():
                progress.has_turn = True
                async with self._pool.begun(mail.sender, mail.recipient) as dialogue:
                    delivery.check()
                    progress.in_content = True
                    limit.reschedule(asyncio.get_running_loop().time() + self._settings.in_content)
                    answer = await dialogue.content(mail.content)
        except (aiosmtplib.SMTPException, Refused, OSError, TimeoutError, ValueError) as error:
            if not progress.has_turn:  # says nothing of the server: the lane's breaker must not count it
                raise TemporaryFailure(NO_CONNECTION, "no connection to the mail server was free in time") from None
            raise classify(error, in_content=progress.in_content) from None
        return receipt_of(answer.text)


@dataclass(slots=True)
class _Progress:
    has_turn: bool = False
    in_content: bool = False


@dataclass(frozen=True, slots=True)
class Mail:
    """An envelope and its content, ready to be said to a server."""

    sender: str
    recipient: str
    content: bytes

    def __repr__(self) -> str:
        return f"Mail({len(self.content)} bytes)"


def receipt_of(answer: str) -> Receipt:
    """Return the receipt in the server's words after the mail: its queue's name for it, when it says one."""
    match = _QUEUE_ID.search(answer)
    return Receipt(provider_id=next(filter(None, match.groups()), None) if match else None)


def build(delivery: Delivery) -> Mail:
    """Return the mail with its envelope. Raises PermanentFailure for a value that must not be sent."""
    target = delivery.target
    assert isinstance(target, EmailTarget)
    if not target.sender:
        raise PermanentFailure("no_sender", "no sender: set email_from of the tenant or NOTIFIER_EMAIL_FROM")
    try:
        sender, recipient = mime.envelope(target.sender), mime.envelope(target.to)
        content = mime.build(
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
    return Mail(sender, recipient, content)


def classify(error: Exception, *, in_content: bool) -> DeliveryError:
    """Return what an error of the SMTP dialogue means."""
    if isinstance(error, Refused):
        return _answered(error.step, error.reply)
    if in_content:
        return OutcomeUnknown("cut", "no usable answer came while the mail was handed over")
    match error:
        case aiosmtplib.SMTPResponseException():
            return _not_for_us(error.code)
        case _ if _is_tls(error):
            return TemporaryFailure("tls", "TLS with the mail server failed, or its certificate", lane_wide=True)
        case aiosmtplib.SMTPConnectTimeoutError() | aiosmtplib.SMTPTimeoutError() | TimeoutError():
            return TemporaryFailure("timeout", "the mail server does not answer")
        case aiosmtplib.SMTPServerDisconnected() | Cut():
            return TemporaryFailure("cut", "the mail server closed the connection")
        case aiosmtplib.SMTPConnectError() | OSError():
            return TemporaryFailure("connect", "the mail server cannot be reached")
    return TemporaryFailure("configuration", "the mail server lacks STARTTLS or our log-in", lane_wide=True)


def _not_for_us(code: int) -> TemporaryFailure:
    return TemporaryFailure("server", f"the mail server answered {code} to us", code=str(code), lane_wide=True)


def _is_tls(error: BaseException | None) -> bool:
    """Whether TLS failed; aiosmtplib wraps what the connection said."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _answered(step: Step, reply: Reply) -> DeliveryError:
    code = reply.code
    if step in (Step.RESET, Step.MAIL) or code in SERVER_CODES:
        return _not_for_us(code)
    if 400 <= code < 500:
        return TemporaryFailure("deferred", f"the mail server answered {code}", code=str(code))
    if not 500 <= code < 600:
        nonsense = OutcomeUnknown if step is Step.CONTENT else TemporaryFailure
        return nonsense("bad_answer", "the mail server's answer is not SMTP")
    gone = bool(GONE.search(reply.text))
    detail = "no such mailbox" if gone else f"the mail server refused the mail with {code}"
    return PermanentFailure("refused", detail, code=str(code), disable=gone)


CHANNEL = EmailChannel
