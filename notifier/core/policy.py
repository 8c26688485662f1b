"""What a tenant has configured, as frozen values: rules, endpoints, senders, link and order policy.

Built by notifier.core.policy_file from notifier.toml (the only source), stored as a numbered version. Secrets are
references ("env:NAME", "file:/path") that only the edges resolve. Values only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from notifier.core.ids import EndpointName, TenantId
from notifier.core.model import ChannelName, Priority

IN_FLIGHT = 20  #: calls of an endpoint under way at once, unless it says otherwise


def role_slug(text: str) -> str:
    """One spelling of a role for files and directory: "Sales Rep" → "sales_rep"."""
    return "_".join(text.lower().replace("-", " ").replace("_", " ").split())


class TargetKind(StrEnum):
    """Whom a rule names."""

    ROLE = "role"  #: contacts in that role at the event's outlet
    ADDRESS = "address"  #: an e-mail address or phone number written in the rule
    ENDPOINT = "endpoint"  #: a callback receiver by name
    CARRIED = "carried"  #: the recipients inside the event


@dataclass(frozen=True, slots=True)
class Target:
    """One `send` entry of a rule, e.g. ``{to = "role:owner", by = ["email", "sms"]}``."""

    kind: TargetKind
    value: str  #: role slug, address, endpoint name; "" for carried
    channels: tuple[ChannelName, ...] = (ChannelName.EMAIL,)


@dataclass(frozen=True, slots=True)
class Condition:
    """When a rule applies. Every non-empty field must match; patterns are fnmatch, case-insensitive."""

    types: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    alert_types: tuple[str, ...] = ()
    markets: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()  #: trade channels
    classifications: tuple[str, ...] = ()
    asset_types: tuple[str, ...] = ()
    outlets: tuple[str, ...] = ()
    value_below: float | None = None  #: the alert's value, or stock percentage of an image
    value_above: float | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; order in the file is order of evaluation."""

    name: str
    when: Condition
    send: tuple[Target, ...]
    links: bool = True
    priority: Priority | None = None  #: None = by event type
    updates: bool = False  #: tell people of alert updates too


class When(StrEnum):
    """When a receiver hears of a decision."""

    FINAL = "final"
    AT_ONCE = "at_once"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A callback receiver (Standard Webhooks)."""

    name: EndpointName
    url: str
    secrets: tuple[str, ...]  #: references, newest first; each signs (rotation)
    types: tuple[str, ...] = ("coolr.*",)
    when: When = When.FINAL
    rate: float = 0.0  #: most messages per second; 0 = no limit
    in_flight: int = IN_FLIGHT  #: most calls under way at once, for each priority


class Confirmation(StrEnum):
    """What acting on an order asks for."""

    BUTTON = "button"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class LinkPolicy:
    """Lifetime and confirmation of links."""

    view_days: int = 14
    order_days: int = 7  #: for orders without a deadline
    confirmation: Confirmation = Confirmation.NUMBER


@dataclass(frozen=True, slots=True)
class OrderPolicy:
    """Who may decide and until when."""

    decide_roles: tuple[str, ...] = ("owner", "sales_rep")
    deadline_margin_minutes: int = 15  #: the shown deadline is the real cut-off minus this
    undo_minutes: int = 10  #: a decision is final this long after it was taken


@dataclass(frozen=True, slots=True)
class Help:
    """Whom people can call; shown in every message and page."""

    name: str = ""
    phone: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """Everything configured for one tenant (Coolr client)."""

    id: TenantId
    name: str
    timezone: str = "UTC"
    language: str = "en"
    countries: tuple[str, ...] = ()  #: allowed for SMS and phones; () = countries of its outlets
    help: Help = field(default_factory=Help)
    base_url: str = ""  #: "" = the deployment's BASE_URL
    email_from: str = ""  #: "" = the deployment's
    email_reply_to: str = ""
    sms_enabled: bool = False  #: entitlement; off = suppressed(not_in_plan)
    sms_from: str = ""  #: E.164 sender or Messaging Service SID (MG...); "" = the deployment's
    image_hosts: tuple[str, ...] = ()
    match_all: bool = True  #: all matching rules, or only the first
    rules: tuple[Rule, ...] = ()
    default: tuple[Target, ...] = ()  #: when no rule matched
    endpoints: tuple[Endpoint, ...] = ()
    links: LinkPolicy = field(default_factory=LinkPolicy)
    orders: OrderPolicy = field(default_factory=OrderPolicy)
    endpoint_named: Mapping[str, Endpoint] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "endpoint_named", {endpoint.name: endpoint for endpoint in self.endpoints})


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole notifier.toml as applied: processes follow `version`."""

    version: int
    tenants: Mapping[TenantId, TenantPolicy]
