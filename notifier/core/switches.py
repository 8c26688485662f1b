"""Switches: what an operator turned off, and whether that stops a notification. Values only.

A switch names a tenant, a channel, an event type, an endpoint, or several of them; what it does not name it means
all of. It is one row that exists as long as something is off.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from notifier.core.ids import TenantId
from notifier.core.model import ChannelName

SWITCHED_OFF = "switched_off"  #: reason of what is held, and of what waits in a lane that is off


@dataclass(frozen=True, slots=True)
class Switch:
    """Something that is off. "" = all."""

    id: str
    tenant: str
    channel: str
    kind: str  #: event type as the templates are named, e.g. "alert_opened"
    endpoint: str
    reason: str
    actor: str  #: who turned it off, e.g. "operator:ana"
    at: datetime

    @property
    def whole_lanes(self) -> bool:
        """Whether it stops whole lanes; else rows of one event type in them."""
        return not self.kind

    def stops(self, tenant: TenantId, channel: ChannelName, kind: str, address: str) -> bool:
        """Whether it stops a notification; the address of a callback is its endpoint."""
        named = (
            (self.tenant, tenant),
            (self.channel, channel.value),
            (self.kind, kind),
            (self.endpoint, address if channel is ChannelName.CALLBACK else None),
        )
        return all(not wanted or wanted == given for wanted, given in named)

    def __str__(self) -> str:
        parts = (
            f"tenant {self.tenant}" if self.tenant else "",
            f"channel {self.channel}" if self.channel else "",
            f"event type {self.kind}" if self.kind else "",
            f"endpoint {self.endpoint}" if self.endpoint else "",
        )
        return ", ".join(part for part in parts if part) or "everything"


def stopped_by(
    switches: Iterable[Switch], tenant: TenantId, channel: ChannelName, kind: str, address: str
) -> Switch | None:
    """The first switch that stops a notification."""
    return next((switch for switch in switches if switch.stops(tenant, channel, kind, address)), None)
