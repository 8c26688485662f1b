"""What opening a link shows and what became of a form: values that the pages are made from. Knows no store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from notifier.core.links import LinkPurpose
from notifier.core.model import Event, Outlet
from notifier.core.order_flow import Refusal, Refused
from notifier.core.order_form import Form
from notifier.core.orders import Decision, Order
from notifier.core.policy import TenantPolicy
from notifier.core.records import LinkRow


class FormError(StrEnum):
    """What was wrong with a form, beside the order's own reasons."""

    WRONG_NUMBER = "wrong_number"
    NO_NUMBER = "no_number"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class Visit:
    """A link that opened: everything a page needs."""

    link: LinkRow
    purpose: LinkPurpose
    policy: TenantPolicy
    event: Event
    outlet: Outlet | None
    order: Order | None = None
    decision: Decision | None = None  #: the one in force
    undone: Decision | None = None  #: the newest, when it was taken back
    followed: bool = False  #: a newer order has its number
    often_undone: bool = False  #: as often as a link can
    seen: Mapping[str, Any] | None = None  #: the order's data in the version that this link's message showed
    may_act: bool = False  #: what the link was made for, as far as the person still has the right
    locked: bool = False
    nonce: str = ""
    name: str = ""  #: what the person who has this link is called: given name or role

    @property
    def picture(self) -> Mapping[str, str] | None:
        """The reference of the picture to show: that of the order as it is now, else the event's."""
        if self.order is not None:
            image = self.order.data.image
            return None if image is None else image.model_dump(mode="json", exclude_none=True)
        return self.event.data.get("image")

    @property
    def own_decision(self) -> bool:
        """Whether the person who looks is the one who decided."""
        return self.decision is not None and self.decision.recipient_key == self.link.recipient_key


@dataclass(frozen=True, slots=True)
class Acted:
    """What became of a form: done (redirect to the link), or the page again with a reason and what was typed."""

    visit: Visit
    done: bool = False
    error: FormError | Refusal | None = None
    tries_left: int = 0
    refused: Refused | None = None
    typed: Form = field(default_factory=Form)
