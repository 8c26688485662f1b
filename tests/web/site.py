"""The web application over a real store, with messages that were really routed, and a clock that tests move."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import MetaData, select
from starlette.testclient import TestClient

from notifier.bootstrap import System
from notifier.config import Settings
from notifier.core.events import RawItem
from notifier.core.ids import AttemptId, SessionId, TenantId, new_id
from notifier.core.model import ChannelName, Claimed, ClaimRequest, EventType, NewAttempt
from notifier.core.records import WorkerSession
from notifier.ports import Receipt
from notifier.store import migrate
from notifier.testing import ACME, BASE_URL, LINK_KEYS, FakeClock, credential, envelope, furnish
from notifier.web.app import build_app

POLICY = """
[tenants.acme]
name = "Acme Beverages"
timezone = "Europe/Madrid"
countries = ["ES"]
sms = true
image_hosts = ["img.acme.example"]
help = { name = "Acme store support", phone = "+34 910 000 900", email = "help@acme.example" }
default = [{ to = "role:owner", by = ["email"] }]

[[tenants.acme.rules]]
name = "orders to the store"
when = { type = ["coolr.order.*"] }
send = [{ to = "role:owner", by = ["email", "sms"] }, { to = "role:sales_rep" }, { to = "role:regional_manager" }]

[[tenants.acme.rules]]
name = "everything to the ERP"
send = [{ to = "endpoint:erp" }, { to = "endpoint:fast" }, { to = "role:owner" }]

[[tenants.acme.endpoints]]
name = "erp"
url = "https://erp.acme.example/hook"
secrets = ["env:ERP_SECRET"]

[[tenants.acme.endpoints]]
name = "fast"
url = "https://erp.acme.example/fast"
secrets = ["env:ERP_SECRET"]
when = "at_once"

[tenants.borealis]
name = "Borealis Foods"
base_url = "https://links.borealis.example"
countries = ["ES"]
default = [{ to = "role:owner", by = ["email"] }]
"""
COLA, WATER = "5449000131805", "8411547001085"
LINES: list[dict[str, Any]] = [
    {
        "sku": COLA,
        "name": "Cola Zero 500 ml",
        "case_size": 24,
        "case_price": 1240,
        "suggested_cases": 12,
        "max_cases": 40,
    },
    {
        "sku": WATER,
        "name": "Spring Water 1.5 l",
        "case_size": 6,
        "case_price": 890,
        "suggested_cases": 20,
        "multiple": 5,
    },
]
_FIELD = re.compile(r'<input[^>]*name="([^"]+)"[^>]*?value="([^"]*)"')


def event(kind: EventType, data: Mapping[str, Any], id_: str) -> RawItem:
    """An event of the Main St store."""
    value = envelope(kind, {"outlet": {"code": "ES-1001"}, **data}, id_)
    return RawItem(value, json.dumps(value))


@dataclass(frozen=True)
class Told:
    """One message that a person got."""

    who: str
    channel: ChannelName
    kind: str
    urls: Mapping[str, str]
    number: str
    context: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The path of its order link."""
        return "/" + self.urls["order"].split("/", 3)[3]


class Site:
    """A deployment of two tenants, Acme and Borealis."""

    def __init__(self, url: str, policy: str = POLICY, *, prepared: bool = False, **settings: Any) -> None:
        if not prepared:
            migrate(url)
        self.clock = FakeClock()
        keys = [base64.b64encode(key).decode() for key in LINK_KEYS]
        made = Settings.model_validate({"database_url": url, "base_url": BASE_URL, "link_keys": keys, **settings})
        self.system = System(made, {"ERP_SECRET": "whsec_" + "A" * 44}, None, self.clock)
        furnish(self.system.store, policy)
        self.app = build_app(self.system)
        self.http = self.client()
        self._session = SessionId(new_id())
        self.system.pipeline.start_session(WorkerSession(self._session, "here", 1, self.clock(), self.clock()))

    def client(self, base: str = BASE_URL, peer: str = "203.0.113.9", **more: Any) -> TestClient:
        """Somebody with a browser at `peer`."""
        return TestClient(self.app, base, follow_redirects=False, client=(peer, 40000), **more)

    def accept(self, *items: RawItem, tenant: TenantId = ACME) -> list[str]:
        """Take events in and route them; returns what was answered to each."""
        answers = self.system.pipeline.accept(items, credential(tenant))
        while self.system.pipeline.route():
            pass
        return [answer.status.value for answer in answers]

    def order(self, number: int = 1042, version: int = 1, **data: Any) -> list[Told]:
        """A recommended order; returns the messages about it."""
        deadline = (self.clock() + timedelta(days=2)).isoformat()
        facts = {"order_number": f"{number}", "lines": LINES, "currency": "EUR", "deadline": deadline, **data}
        item = event(EventType.ORDER_RECOMMENDED, facts, f"order-{number}-{version}")
        assert self.accept(item) == ["accepted"]
        return self.told()

    def told(self) -> list[Told]:
        """What was newly sent, with the links and numbers that only the receivers see."""
        pipeline, found = self.system.pipeline, []
        while rows := pipeline.claim(ClaimRequest(self._session, 100, 100, tuple(ChannelName))):
            found += [self._told(row) for row in rows]
            for row in rows:
                attempt = NewAttempt(AttemptId(new_id()), row.id, row.tenant, row.session, row.tries + 1, self.clock())
                assert pipeline.begin([attempt]) == {attempt.id}
                pipeline.settle([pipeline.outcome(row, attempt.id, Receipt())])
        return found

    def _told(self, row: Claimed) -> Told:
        policy = self.system.policies.current().tenants[row.tenant]
        live = self.system.preparation.live(row.message, policy)
        context = row.message.context
        return Told(row.address, row.channel, row.message.kind, live.urls, live.number or "", context)

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table."""
        metadata = MetaData()
        with self.system.store.engine.connect() as connection:
            metadata.reflect(connection)
            return {
                name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
                for name, table in metadata.tables.items()
            }

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of one table."""
        metadata = MetaData()
        with self.system.store.engine.connect() as connection:
            metadata.reflect(connection, only=[table])
            return [dict(row) for row in connection.execute(select(metadata.tables[table])).mappings()]


def to(told: list[Told], name: str, channel: ChannelName = ChannelName.EMAIL) -> Told:
    """The message that a person got about an order."""
    return next(one for one in told if one.who.startswith(name) and one.channel is channel and "order" in one.urls)


def fields_of(page: str) -> dict[str, str]:
    """What the inputs of a page hold."""
    return {html.unescape(name): html.unescape(value) for name, value in _FIELD.findall(page)}


def undo(site: Site, told: Told, number: str | None = None, **typed: str) -> Any:
    """Open the link, fill in the number and send the form that takes the decision back."""
    return answer(site, told, "undo", number, **typed)


def answer(site: Site, told: Told, action: str, number: str | None = None, **typed: str) -> Any:
    """Open the link, fill in the number and send the form by one of its buttons."""
    fields = fields_of(site.http.get(told.path).text)
    data = {**fields, "number": told.number if number is None else number, "action": action, **typed}
    return site.http.post(told.path, data=data)
