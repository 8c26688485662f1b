"""Messages as they are sent, for `notifier preview`: the frozen ones of a stored event, or made from it or a sample.

Rendered by the code that sends; links and the number are masked: nothing here opens or completes anything (P10).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from notifier.bootstrap import System, utc_now
from notifier.cli.explanation import find
from notifier.cli.printing import fail
from notifier.core import context, links, routing, samples
from notifier.core.ids import MessageId, TenantId, new_id
from notifier.core.links import LinkSigner
from notifier.core.model import ChannelName, EventType, Message
from notifier.core.orders import NumberState
from notifier.core.policy import TenantPolicy
from notifier.core.rendering import masked
from notifier.core.routing import Facts, Planned
from notifier.core.sms_text import Segments, segments
from notifier.errors import RenderError
from notifier.planning import gather

ENDINGS = {"subject": "subject.txt", "html": "html", "text": "txt", "payload": "json"}
EXAMPLE = "somebody who may decide"


@dataclass(frozen=True, slots=True)
class Preview:
    """One message, rendered."""

    channel: ChannelName
    whom: str  #: masked
    kind: str
    parts: Mapping[str, str]
    sms: Segments | None = None
    mistake: str | None = None  #: of the template; `parts` are the plain form then (P9)

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        sms = self.sms and {"encoding": self.sms.encoding, "units": self.sms.units, "segments": self.sms.count}
        facts = {"channel": self.channel.value, "to": self.whom, "kind": self.kind, "parts": dict(self.parts)}
        return facts | {"sms": sms, "mistake": self.mistake}


def of_stored(
    system: System, reference: str, tenant: TenantId | None, channels: Sequence[ChannelName]
) -> list[Preview]:
    """The messages of an event's notifications; on a channel that has none, one made for an example recipient."""
    with system.store.read() as tx:
        event = find(tx, reference, tenant)
        stored = tx.frozen_messages(event.tenant, event.id)
        facts = gather(tx, event, system.catalogue)
    policy = system.policies.current().tenants.get(event.tenant)
    if policy is None:
        fail(f"tenant {event.tenant} is not in the applied configuration")
    made = [
        _rendered(system, message, policy, f"{row['role']} {row['address']}")
        for row, message in stored
        if message.channel in channels
    ]
    missing = [channel for channel in channels if channel not in [preview.channel for preview in made]]
    return [*made, *(_example(system, facts, policy, channel) for channel in missing)]


def of_sample(
    system: System, type_: EventType, variant: int, channels: Sequence[ChannelName], policy: TenantPolicy | None
) -> list[Preview]:
    """A sample of that type, in the name of the tenant when one is given."""
    found = list(samples.facts(type_))
    if variant > len(found):
        fail(f"{type_.value} has {len(found)} samples", 2)
    facts = found[variant - 1]
    return [_example(system, facts, policy or samples.POLICY, channel) for channel in channels]


def _example(system: System, facts: Facts, policy: TenantPolicy, channel: ChannelName) -> Preview:
    """Freeze what the first recipient on that channel would get, else somebody who may decide."""
    return _rendered(system, _frozen(system, _recipient(facts, policy, channel), facts, policy), policy, EXAMPLE)


def _recipient(facts: Facts, policy: TenantPolicy, channel: ChannelName) -> Planned:
    plan = routing.plan(facts, policy, facts.event.received_at)
    for item in plan.notifications:
        if item.channel is channel and item.suppressed is None:
            return item
    example = samples.planned(channel)
    return replace(example, rule="an example")


def _frozen(system: System, planned: Planned, facts: Facts, policy: TenantPolicy) -> Message:
    """Freeze a message as routing does; its links are signed with a key that nobody has and exist nowhere."""
    signer = LinkSigner([secrets.token_bytes(links.MIN_KEY_BYTES)])
    made = links.plan_links(planned, facts, policy, signer, utc_now(), new_id)
    frozen = context.build(
        planned, facts, policy, {name: links.reference(plan, signer.key_id) for name, plan in made.items()}
    )
    if planned.may_act and "order" in made and facts.order is not None:
        state = NumberState(policy.id, facts.order.id, planned.recipient_key, 0, signer.key_id)
        frozen["number"] = context.number_reference(state)
    kind = facts.event.type.kind
    locale = str(frozen.get("recipient", {}).get("locale", policy.language))
    return Message(MessageId(new_id()), policy.id, kind, planned.channel, locale, "", frozen)


def _rendered(system: System, message: Message, policy: TenantPolicy, whom: str) -> Preview:
    live = masked(message, policy.base_url or system.settings.base_url)
    mistake = None
    try:
        parts = system.templates.render(message, live)
    except RenderError as error:
        parts, mistake = system.templates.fallback(message, live), str(error)
    sms = segments(parts["text"]) if message.channel is ChannelName.SMS else None
    return Preview(message.channel, whom, message.kind, parts, sms, mistake)
