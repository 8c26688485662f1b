"""What tests share: a clock that stands still, a channel that keeps what it is given, hints that are counted, and the
same cast everywhere (Alice owns the store, Bob sells to it, Charlie manages the region; Borealis is the other tenant).

Fakes are plain objects, passed in. The store is never faked: open a real one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from notifier.core.events import RawItem
from notifier.core.ids import (
    EventId,
    MessageId,
    NotificationId,
    OutletCode,
    RecipientId,
    RecipientKey,
    TenantId,
    new_id,
)
from notifier.core.links import LinkSigner
from notifier.core.model import (
    ChannelName,
    Contact,
    Credential,
    Event,
    EventType,
    LaneKey,
    Message,
    NewNotification,
    NotificationStatus,
    Outlet,
    Priority,
    Purpose,
    Recipient,
)
from notifier.core.rendering import Templates
from notifier.errors import DeliveryError
from notifier.pipeline import Pipeline
from notifier.planning import Planner
from notifier.policies import StoredPolicies
from notifier.ports import Clock, Delivery, Hints, Receipt, Store
from notifier.preparing import Preparation, Senders
from notifier.sources.catalogue import load_catalogue
from notifier.sources.coolr import adapt_record
from notifier.unit import CommitPoint

ACME, BOREALIS = TenantId("acme"), TenantId("borealis")
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
LINK_KEYS = (b"a link key of the tests, 32 bytes",)
BASE_URL = "https://notify.example"
SOURCE = "/coolr/portal"
POLICY = """
[tenants.acme]
name = "Acme Beverages"
timezone = "Europe/Madrid"
countries = ["ES"]
sms = true
help = { name = "Acme store support", phone = "+34 910 000 900", email = "help@acme.example" }

[[tenants.acme.rules]]
name = "orders to the store"
when = { type = ["coolr.order.*"] }
send = [{ to = "role:owner", by = ["email", "sms"] }, { to = "role:sales_rep", by = ["email"] }]

[[tenants.acme.rules]]
name = "alerts to the owner"
when = { type = ["coolr.alert.*"] }
send = [{ to = "role:owner", by = ["email"] }]

[[tenants.acme.rules]]
name = "everything to the ERP"
send = [{ to = "endpoint:erp" }]

[[tenants.acme.endpoints]]
name = "erp"
url = "https://erp.acme.example/hook"
secrets = ["env:ERP_SECRET"]

[tenants.borealis]
name = "Borealis Foods"
countries = ["ES"]
default = [{ to = "role:owner", by = ["email"] }]
"""


# -- fakes ---------------------------------------------------------------------------------------------------------


@dataclass
class FakeClock:
    """A Clock that moves when told."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        """Return the time it stands at."""
        return self.now

    def advance(self, **duration: float) -> datetime:
        """Move on by a timedelta's keywords; returns the new time."""
        self.now += timedelta(**duration)
        return self.now


@dataclass
class FakeHints:
    """Hints that are written down."""

    said: list[str] = field(default_factory=list)

    def route(self) -> None:
        """Write it down."""
        self.said.append("route")

    def deliver(self) -> None:
        """Write it down."""
        self.said.append("deliver")

    def close(self) -> None:
        """Nothing to close."""


Answer = Receipt | Exception


@dataclass
class FakeChannel:
    """A Channel that keeps what it is given. `answer` says what becomes of a delivery; `seconds` how long it takes."""

    name: ChannelName = ChannelName.EMAIL
    answer: Callable[[Delivery], Answer] = lambda _: Receipt()
    seconds: Callable[[Delivery], float] = lambda _: 0.0
    parts: tuple[str, ...] = ("text",)
    sent: list[Delivery] = field(default_factory=list)
    busy: int = 0  #: sends under way now

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def send(self, delivery: Delivery) -> Receipt:
        """Keep it, take the time, answer."""
        self.busy += 1
        try:
            self.sent.append(delivery)
            await asyncio.sleep(self.seconds(delivery))
            answer = self.answer(delivery)
            if isinstance(answer, Exception):
                raise answer
            return answer
        finally:
            self.busy -= 1


@dataclass
class FakeSms(FakeChannel):
    """An SMS channel whose provider can be asked: `taken` is what it says it has, by (number, body)."""

    name: ChannelName = ChannelName.SMS
    taken: dict[tuple[str, str], Receipt | DeliveryError] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def lookup(self, to: str, body: str, since: datetime, known: Collection[str]) -> Receipt | None:
        """Return what was taken, unless it belongs to another attempt."""
        self.asked.append((to, body))
        found = self.taken.get((to, body))
        if isinstance(found, DeliveryError):
            raise found
        return None if found is None or found.provider_id in known else found


# -- events as they come -------------------------------------------------------------------------------------------


def credential(tenant: TenantId = ACME, **rights: Any) -> Credential:
    """The key of a sender that may send everything."""
    return Credential("key-1", tenant, (SOURCE,), ("coolr.*",), **rights)


def envelope(type_: EventType, data: Mapping[str, Any], id_: str, **more: Any) -> dict[str, Any]:
    """A CloudEvent."""
    made = {"specversion": "1.0", "id": id_, "source": SOURCE, "type": type_.value, "time": NOW.isoformat()}
    return {**made, "data": dict(data), **more}


def as_sent(value: dict[str, Any]) -> RawItem:
    """An event as it came, decoded."""
    return RawItem(value, json.dumps(value))


def alert(number: int | str = 1, status: str = "open", time: datetime = NOW, **data: Any) -> RawItem:
    """An alert of the Main St store."""
    facts = {"alert_id": f"{number}", "alert_type": "OutOfStock", "status": status, "outlet": {"code": "ES-1001"}}
    kind = {"open": EventType.ALERT_OPENED, "updated": EventType.ALERT_UPDATED, "closed": EventType.ALERT_CLOSED}
    return as_sent(envelope(kind[status], facts | data, f"alert-{number}-{status}", time=time.isoformat()))


def order(number: int | str = 1042, version: int = 1, time: datetime = NOW, **data: Any) -> RawItem:
    """A recommended order of the Main St store."""
    lines = [{"sku": "5449000131805", "name": "Cola Zero", "suggested_cases": 12 + version, "case_price": 1240}]
    facts = {"order_number": f"{number}", "outlet": {"code": "ES-1001"}, "lines": lines, "currency": "EUR"}
    return as_sent(
        envelope(EventType.ORDER_RECOMMENDED, facts | data, f"order-{number}-{version}", time=time.isoformat())
    )


# -- rows ----------------------------------------------------------------------------------------------------------


def event(tenant: TenantId = ACME, subject: str = "alert/1", sequence: int = 1, **more: Any) -> Event:
    """An accepted event."""
    status = {"alert_id": subject.partition("/")[2], "alert_type": "OutOfStock", "status": "open"}
    facts: dict[str, Any] = {
        "id": EventId(new_id()),
        "source": SOURCE,
        "source_id": f"{subject}-{sequence}",
        "type": EventType.ALERT_OPENED,
        "time": NOW,
        "received_at": NOW,
        "content_hash": "",
        "data": status | {"outlet": {"code": "ES-1001"}},
        "outlet": OutletCode("ES-1001"),
    }
    return Event(tenant=tenant, subject=subject, sequence=sequence, **(facts | more))


def message(tenant: TenantId = ACME, channel: ChannelName = ChannelName.EMAIL) -> Message:
    """Frozen content that no template needs."""
    return Message(MessageId(new_id()), tenant, "alert_opened", channel, "en", "", {"event": {}})


def notification(
    of: Event,
    channel: ChannelName = ChannelName.EMAIL,
    address: str = "alice@example.com",
    priority: Priority = Priority.NORMAL,
    target: str = "",
    **more: Any,
) -> NewNotification:
    """A notification about an event, due at once."""
    facts: dict[str, Any] = {
        "id": NotificationId(new_id()),
        "purpose": Purpose.NOTICE,
        "recipient_key": RecipientKey("alice"),
        "recipient_id": None,
        "rule": "rule",
        "role": "owner",
        "kind": of.type.kind,
        "lane": LaneKey(of.tenant, channel, priority, target or channel.value),
        "status": NotificationStatus.DUE,
        "due_at": NOW,
        "expires_at": NOW + timedelta(days=1),
        "subject": of.subject,
        "message": message(of.tenant, channel),
    }
    return NewNotification(tenant=of.tenant, event_id=of.id, channel=channel, address=address, **(facts | more))


# -- a system of its own -------------------------------------------------------------------------------------------


def people(tenant: TenantId = ACME) -> list[Contact]:
    """Alice, Bob and Charlie at the Main St store; Borealis has a Dora there."""
    cast = {
        ACME: [("owner", "Alice", "+34600111222"), ("sales_rep", "Bob", ""), ("regional_manager", "Charlie", "")],
        BOREALIS: [("owner", "Dora", "+34600333444")],
    }
    return [
        Contact(
            Recipient(RecipientId(""), tenant, name, f"{name.lower()}@{tenant}.example", phone),
            OutletCode("ES-1001"),
            role,
        )
        for role, name, phone in cast[tenant]
    ]


def furnish(store: Store, policy: str = POLICY, now: datetime = NOW) -> None:
    """Apply the policy and fill in the directory of both tenants."""
    with store.write(CommitPoint.ADMIN) as tx:
        tx.save_policy(policy, "test", now)
        tx.save_tenants({ACME: "Acme Beverages", BOREALIS: "Borealis Foods"})
        for tenant in (ACME, BOREALIS):
            outlet = Outlet(tenant, OutletCode("ES-1001"), "Main St", country="ES", timezone="Europe/Madrid")
            tx.save_outlets([outlet])
            tx.save_contacts(people(tenant))


def templates_folder() -> Path:
    """The templates of the wheel, else of the checkout."""
    package = Path(str(resources.files("notifier")))
    return package / "_templates" if (package / "_templates").is_dir() else package.parent / "templates"


@cache
def _compiled(folder: Path) -> Templates:
    """Templates are compiled once per process, as in a worker."""
    return Templates(folder)


def pipeline(
    store: Store,
    clock: Clock,
    hints: Hints | None = None,
    templates: Path | None = None,
    link_keys: tuple[bytes, ...] = LINK_KEYS,
) -> Pipeline:
    """The real steps over a real store. Retry times are in the middle of their range."""
    policies, signer = StoredPolicies(store), LinkSigner(link_keys)
    compiled = _compiled(templates or templates_folder())
    senders = Senders(BASE_URL, "Coolr <alerts@notify.example>", "+15005550006")
    return Pipeline(
        store,
        hints or FakeHints(),
        policies,
        clock,
        adapt_record,
        Planner(policies, load_catalogue(), compiled, signer),
        Preparation(compiled, signer, senders, lambda _: b"a secret of the tests", lambda kind, channel: None),
        chance=lambda: 0.5,
    )
