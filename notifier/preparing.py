"""From a claimed row to a Delivery: render the frozen message, fill in live links and the number, name the target.

Live links, codes and numbers exist only in the Delivery in memory (P10). A template that fails falls back to a plain
safe message (P9).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import structlog

from notifier.core.ids import AttemptId, LinkId, NotificationId, OrderId, RecipientKey, TenantId
from notifier.core.links import LinkPurpose, LinkSigner
from notifier.core.model import ChannelName, Claimed, Message
from notifier.core.policy import Policy, TenantPolicy
from notifier.core.rendering import Live, Templates
from notifier.errors import LinkInvalid, PermanentFailure, RenderError
from notifier.ports import Delivery, EmailTarget, EndpointTarget, SmsTarget, Target, may_always_be_sent

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Senders:
    """The deployment's defaults for what a tenant does not name."""

    base_url: str
    email_from: str
    sms_from: str


@dataclass(frozen=True, slots=True)
class Preparation:
    """Everything needed to turn a stored message into bytes for a channel."""

    templates: Templates
    signer: LinkSigner
    senders: Senders
    secret: Callable[[str], bytes]  #: resolves a secret reference; raises KeyError when it is not there
    on_fallback: Callable[[str, str], None]  #: told (kind, channel) when a template failed

    def delivery(
        self,
        claimed: Claimed,
        attempt_id: AttemptId,
        policy: Policy,
        now: datetime,
        check: Callable[[], None] = may_always_be_sent,
    ) -> Delivery:
        """Return the message ready to send. Raises PermanentFailure when that will never be possible."""
        tenant = _tenant(claimed.tenant, policy)
        return Delivery(
            attempt_id=attempt_id,
            notification_id=claimed.id,
            tenant=claimed.tenant,
            channel=claimed.channel,
            target=self._target(claimed, attempt_id, tenant, now),
            parts=self.parts(claimed.message, tenant),
            at=now,
            check=check,
        )

    def text(self, tenant: TenantId, message: Message, policy: Policy) -> str:
        """Return the text part as it was sent. Raises PermanentFailure when it can no longer be made."""
        return self.parts(message, _tenant(tenant, policy))["text"]

    def parts(self, message: Message, tenant: TenantPolicy) -> Mapping[str, str]:
        """Render with live links; falls back to the plain form when the template fails (P9)."""
        live = self.live(message, tenant)
        try:
            return self.templates.render(message, live)
        except RenderError as error:
            self.on_fallback(message.kind, message.channel.value)
            log.error(
                "a template failed; the plain form was sent",
                action="template_fallback",
                kind=message.kind,
                channel=message.channel.value,
                error=str(error),
            )
            return self.templates.fallback(message, live)

    def live(self, message: Message, tenant: TenantPolicy) -> Live:
        """Make the links and the number that the stored message only refers to. Raises PermanentFailure."""
        base = tenant.base_url or self.senders.base_url
        try:
            urls = {name: self._url(base, reference) for name, reference in message.context.get("links", {}).items()}
            return Live(urls=urls, number=self._number(message.context.get("number")))
        except LinkInvalid:
            raise PermanentFailure(
                "link_key_gone", "the key its short link or number derives from is no longer in NOTIFIER_LINK_KEYS"
            ) from None

    def _url(self, base: str, reference: Mapping[str, Any]) -> str:
        link_id = LinkId(reference["id"])
        if reference.get("short"):
            return f"{base}/s/{self.signer.sms_code(link_id, reference.get('key_id'))}"
        expires = datetime.fromtimestamp(reference["expires"], UTC)
        return f"{base}/l/{self.signer.token(LinkPurpose(reference['purpose']), link_id, expires)}"

    def _number(self, reference: Mapping[str, Any] | None) -> str | None:
        if not reference:
            return None
        return self.signer.number(
            OrderId(reference["order_id"]),
            RecipientKey(reference["recipient_key"]),
            int(reference["round"]),
            str(reference["key_id"]),
        )

    def _target(self, claimed: Claimed, attempt_id: AttemptId, tenant: TenantPolicy, now: datetime) -> Target:
        base = tenant.base_url or self.senders.base_url
        match claimed.channel:
            case ChannelName.EMAIL:
                host = urlsplit(base).hostname or "localhost"
                sender = tenant.email_from or self.senders.email_from
                return EmailTarget(
                    claimed.address, sender, tenant.email_reply_to, f"<{claimed.id}@{host}>", _headers(claimed.message)
                )
            case ChannelName.SMS:
                sender = tenant.sms_from or self.senders.sms_from
                callback = f"{self.senders.base_url}/v1/hooks/twilio/{attempt_id}"  # what its signature is checked with
                return SmsTarget(claimed.address, sender, callback, _seconds_left(claimed.expires_at, now))
            case ChannelName.CALLBACK:
                return self._endpoint(claimed.id, claimed.address, tenant)

    def _endpoint(self, notification: NotificationId, name: str, tenant: TenantPolicy) -> EndpointTarget:
        endpoint = tenant.endpoint_named.get(name)
        if endpoint is None:
            raise PermanentFailure("endpoint_gone", f"no endpoint named {name} is configured any more")
        try:
            secrets = tuple(self.secret(reference) for reference in endpoint.secrets)
        except KeyError as error:
            raise PermanentFailure("no_secret", f"endpoint {name}: {error.args[0]} cannot be read") from None
        return EndpointTarget(endpoint.url, secrets, notification)


def _tenant(tenant: TenantId, policy: Policy) -> TenantPolicy:
    if tenant not in policy.tenants:
        raise PermanentFailure("tenant_gone", "the tenant is no longer configured")
    return policy.tenants[tenant]


def _headers(message: Message) -> tuple[tuple[str, str], ...]:
    """What mail programs can filter by: the event's type, and the object it is about."""
    event = message.context.get("event", {})
    facts = (("X-Coolr-Type", event.get("type")), ("X-Coolr-Subject", event.get("subject")))
    return tuple((name, str(value)) for name, value in facts if value)


def _seconds_left(expires_at: datetime | None, now: datetime) -> int | None:
    if expires_at is None:
        return None
    return max(1, min(36_000, int((expires_at - now).total_seconds())))  # Twilio accepts 1 to 36,000
