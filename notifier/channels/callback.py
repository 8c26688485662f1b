"""Callbacks by Standard Webhooks: signed JSON to an endpoint of the tenant.

Every answer but 2xx means "try again", as the specification says, since a receiver's 404 is usually a deployment in
progress; 410 means "never again". Redirects are not followed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from notifier.config import Settings
from notifier.core.model import ChannelName
from notifier.core.retrying import seconds_asked
from notifier.core.signing import signature
from notifier.errors import DeliveryError, PermanentFailure, TemporaryFailure
from notifier.ports import Delivery, EndpointTarget, Receipt
from notifier.transport import TOTAL, AllowedNetworks, Answer, GuardedTransport

USER_AGENT = "Coolr-Notifier"


@dataclass(frozen=True, slots=True)
class CallbackSettings:
    """What the channel needs."""

    allowed: AllowedNetworks = field(default_factory=AllowedNetworks)
    verify: object = True  #: TLS: True, or an ssl.SSLContext
    total: float = TOTAL  #: seconds that one call may take


class CallbackChannel:
    """Posts signed payloads."""

    name = ChannelName.CALLBACK
    parts: tuple[str, ...] = ("payload",)

    def __init__(self, settings: CallbackSettings) -> None:
        self._settings = settings
        self._transport = GuardedTransport(settings.allowed, total=settings.total, verify=settings.verify)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Every deployment can call back; the addresses are in notifier.toml."""
        return cls(CallbackSettings(AllowedNetworks.parse(settings.callback_allow)))

    async def open(self) -> None:
        """Connections are made when needed."""

    async def close(self) -> None:
        """Close held connections."""
        await self._transport.aclose()

    async def send(self, delivery: Delivery) -> Receipt:
        """Post once. Raises DeliveryError subclasses."""
        target, headers, body = build(delivery)
        answer = await self._transport.call("POST", target.url, headers, body, delivery.check)
        return classify(answer, delivery.at)


def build(delivery: Delivery) -> tuple[EndpointTarget, list[tuple[str, str]], bytes]:
    """Return receiver, headers and body; only timestamp and signature differ between tries."""
    target = delivery.target
    assert isinstance(target, EndpointTarget)
    body = delivery.parts["payload"].encode()
    timestamp = int(delivery.at.timestamp())
    headers = [
        ("content-type", "application/json"),
        ("user-agent", USER_AGENT),
        ("accept", "*/*"),  # means the same as none, but firewalls of web applications ask for it
        ("webhook-id", target.webhook_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", signature(target.secrets, target.webhook_id, timestamp, body)),
    ]
    return target, headers, body


def classify(answer: Answer, now: datetime) -> Receipt:
    """Return the receipt of an answer, or raise what it means."""
    status = answer.status
    if 200 <= status < 300:
        return Receipt(detail=f"HTTP {status}", delivered=True)
    raise _refusal(status, answer.header(b"retry-after"), now)


#: What the specification gives a meaning of its own; everything else is "try again".
MEANINGS: dict[int, Callable[[float | None], DeliveryError]] = {
    410: lambda _: PermanentFailure("gone", "the endpoint is gone and wants no more", code="410", disable=True),
    429: lambda wait: TemporaryFailure(
        "rate_limited", "the endpoint is called too often", code="429", retry_after=wait, lane_wide=True
    ),
    502: lambda wait: TemporaryFailure("overloaded", "bad gateway", code="502", retry_after=wait),
    503: lambda wait: TemporaryFailure(
        "overloaded", "the endpoint is not available", code="503", retry_after=wait, lane_wide=wait is not None
    ),
    504: lambda wait: TemporaryFailure("overloaded", "gateway timeout", code="504", retry_after=wait),
}


def _refusal(status: int, retry_after: str | None, now: datetime) -> DeliveryError:
    wait = seconds_asked(retry_after, now)
    if status in MEANINGS:
        return MEANINGS[status](wait)
    if 300 <= status < 400:
        return TemporaryFailure("redirect", "the endpoint redirects; redirects are not followed", code=str(status))
    return TemporaryFailure("refused", f"the endpoint answered HTTP {status}", code=str(status), retry_after=wait)


CHANNEL = CallbackChannel
