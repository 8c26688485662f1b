"""What the pipeline needs from the outside, as Protocols: Store, Hints, Channel, Clock, and the values that cross.

Nothing here imports a driver. The store is synchronous, channels are async; they meet in engine.py only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar, runtime_checkable

from notifier.core.ids import AttemptId, NotificationId, TenantId
from notifier.core.limits import Grant, Limit, Share
from notifier.core.model import ChannelName
from notifier.core.policy import Policy
from notifier.unit import CommitPoint, Reader, Writer

Clock = Callable[[], datetime]  #: timezone-aware UTC now
Answer = TypeVar("Answer")


class Store(Protocol):
    """The database: the truth and the timer. One write = one transaction (BEGIN IMMEDIATE on SQLite)."""

    def write(self, point: CommitPoint = CommitPoint.ADMIN) -> AbstractContextManager[Writer]:
        """Open a writing transaction; commits on success, rolls back on error. `point` says which one it is."""

    def read(self) -> AbstractContextManager[Reader]:
        """Open a reading transaction."""


class Hints(Protocol):
    """Coalesced "there is work" messages, sent after the commit; may be lost (P3), never block, never raise."""

    def route(self) -> None:
        """Unrouted events exist."""

    def deliver(self) -> None:
        """Due notifications exist."""

    def close(self) -> None:
        """Send nothing more."""


class PolicySource(Protocol):
    """The applied configuration; follows the version number in the database."""

    def current(self) -> Policy:
        """Return the newest policy this process has read; never blocks once one was read."""

    def refresh(self) -> None:
        """Read the version number and load a newer policy if there is one (blocking)."""

    def follow(self, tx: Reader) -> Policy:
        """The same inside a transaction that is open anyway; returns the policy in force."""


@dataclass(frozen=True, slots=True)
class EmailTarget:
    """An envelope."""

    to: str
    sender: str  #: RFC 5322 mailbox, e.g. 'Coolr <alerts@example.com>'
    reply_to: str = ""
    message_id: str = ""  #: stable over retries, e.g. "<notification id@host>"
    headers: tuple[tuple[str, str], ...] = ()  #: more header fields, e.g. X-Coolr-Type


@dataclass(frozen=True, slots=True)
class SmsTarget:
    """A phone number."""

    to: str  #: E.164
    sender: str  #: E.164 or Messaging Service SID
    status_callback: str = ""
    valid_seconds: int | None = None  #: Twilio ValidityPeriod: the useful life that is left


@dataclass(frozen=True, slots=True)
class EndpointTarget:
    """A callback receiver with resolved secrets."""

    url: str
    secrets: tuple[bytes, ...]
    webhook_id: str  #: stable over retries and replays: the notification id


Target = EmailTarget | SmsTarget | EndpointTarget


def may_always_be_sent() -> None:
    """The check of a delivery that belongs to no worker session."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One try of one message, rendered, with live links filled in. Lives in memory only; its repr hides content."""

    attempt_id: AttemptId
    notification_id: NotificationId
    tenant: TenantId
    channel: ChannelName
    target: Target
    parts: Mapping[str, str]  #: "subject", "html", "text" · "text" · "payload"
    at: datetime
    #: Raises TemporaryFailure when it must not go any more. Channels ask with the connection in hand, just before what
    #: makes the receiver take it.
    check: Callable[[], None] = may_always_be_sent

    def __repr__(self) -> str:
        return f"Delivery({self.channel} {self.notification_id} attempt {self.attempt_id})"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The receiver took it."""

    provider_id: str | None = None
    detail: str | None = None
    delivered: bool = False  #: True when taking it is final (a callback answered 2xx)


class StoreCall(Protocol):
    """Runs a blocking store call in the store thread and awaits it."""

    async def __call__(self, call: Callable[[], Answer]) -> Answer: ...


class Limiter(Protocol):
    """Gives out the tokens of rate limits; answers within a fraction of a second whatever else is away."""

    async def take(self, wanted: Mapping[Limit, int], share: Share) -> Sequence[Grant]:
        """Take up to that many tokens of each limit; one grant for each, in order."""

    async def close(self) -> None:
        """Close what take() holds."""


@runtime_checkable
class Channel(Protocol):
    """One way to send. `send` is the only I/O; raises a DeliveryError subclass or returns a Receipt."""

    name: ChannelName
    parts: tuple[str, ...]

    async def open(self) -> None:
        """Prepare connections; called once on the engine's loop."""

    async def send(self, delivery: Delivery) -> Receipt:
        """Hand the message over."""

    async def close(self) -> None:
        """Close what open() and send() hold."""


__all__ = [
    "Channel",
    "Clock",
    "Delivery",
    "EmailTarget",
    "EndpointTarget",
    "Hints",
    "Limiter",
    "PolicySource",
    "Receipt",
    "SmsTarget",
    "Store",
    "StoreCall",
    "Target",
    "may_always_be_sent",
]
