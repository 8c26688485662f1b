"""What is sent: plain callbacks of stored JSON (2 KB), rich mails (25 KB); backlogs made by the real accept and route.

One tenant unless said. The configuration and the directory are those of a customer; only the addresses are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.stage import SECRET_NAME, Stage
from notifier.bootstrap import System, build
from notifier.config import load
from notifier.core.events import RawItem, item_of
from notifier.core.ids import TenantId
from notifier.core.model import Credential
from notifier.core.policy_file import parse
from notifier.importing import Importer
from notifier.store import migrate
from notifier.unit import CommitPoint
from tests.peers.postgres import administer

TENANT = TenantId("bench")
SOURCE = "coolr/bench"
CHUNK = 100  #: events accepted at once
PEOPLE = 500  #: outlets with an owner each
IN_FLIGHT = 1000  #: of the one endpoint, which here stands for all receivers of a fleet
PRODUCTS = ("Cola", "Cola Zero", "Orange", "Lemon", "Spring Water", "Iced Tea", "Energy", "Tonic")

Event = dict[str, Any]
Maker = Callable[[int], Event]


def endpoint(name: str, url: str, tenant: str = TENANT, in_flight: int | None = IN_FLIGHT) -> str:
    """One endpoint of the configuration."""
    text = f'[[tenants.{tenant}.endpoints]]\nname = "{name}"\nurl = "{url}"\nsecrets = ["env:{SECRET_NAME}"]\n'
    return text + (f"in_flight = {in_flight}\n" if in_flight else "")


def configuration(url: str) -> str:
    """notifier.toml of the bench: pictures go to the endpoint, orders to the owner by mail."""
    return f"""
[tenants.{TENANT}]
name = "Bench Beverages"
timezone = "Europe/Madrid"
countries = ["ES"]
email_from = "Bench via Coolr <alerts@bench.example>"
help = {{ name = "Bench store support", phone = "+34 910 000 900", email = "help@bench.example" }}

[[tenants.{TENANT}.rules]]
name = "pictures to the data team"
when = {{ type = ["coolr.image.*"] }}
send = [{{ to = "endpoint:sink" }}]

[[tenants.{TENANT}.rules]]
name = "orders to the store"
when = {{ type = ["coolr.order.*"] }}
send = [{{ to = "role:owner", by = ["email"] }}]

{endpoint("sink", url)}"""


def outlets() -> str:
    """The directory's outlets as CSV."""
    head = "Code,Name,Street,City,PostalCode,Country,TimeZone,Language\n"
    rows = (f"O{n},Store {n},Calle Mayor {n},Madrid,28013,ES,Europe/Madrid,en\n" for n in range(PEOPLE))
    return head + "".join(rows)


def contacts() -> str:
    """An owner for each outlet as CSV."""
    head = "OutletCode,Role,Name,Email,Phone,Language\n"
    return head + "".join(f"O{n},owner,Owner {n},owner{n}@store.example,,en\n" for n in range(PEOPLE))


def _event(number: int, kind: str, data: Mapping[str, Any]) -> Event:
    return {
        "specversion": "1.0",
        "id": f"{kind}-{number}",
        "source": SOURCE,
        "type": f"coolr.{kind}",
        "time": datetime.now(UTC).isoformat(),
        "data": {**data, "outlet": {"code": f"O{number % PEOPLE}"}},
    }


def picture(number: int) -> Event:
    """A processed picture; the callback it makes has about 2 KB."""
    missing = [{"sku": f"SKU-{n:05d}", "name": f"{PRODUCTS[n % 8]} {n} x 0.33 l", "shelf": n} for n in range(14)]
    data = {
        "image_id": f"I{number}",
        "taken_at": datetime.now(UTC).isoformat(),
        "image": {"guid": f"{number:08d}-6f0b-6c1e-5d0e-4a539b591f1f"},
        "asset": {"serial": f"VST-{number % PEOPLE}", "type": "Vista 400 Upright", "location": "Entrance"},
        "stock_percentage": 62.5,
        "planogram_compliance": 81.0,
        "out_of_stock": missing,
    }
    return _event(number, "image.processed", data)


def order(number: int) -> Event:
    """A suggested order; the mail it makes has about 25 KB and four links (two in each part)."""
    lines = [
        {
            "sku": f"SKU-{n:05d}",
            "name": f"{PRODUCTS[n % 8]} 0.33 l can, pack {n}",
            "case_size": 24,
            "case_price": 1344 + n,
            "suggested_cases": 2 + n % 5,
        }
        for n in range(11)
    ]
    data = {
        "order_number": f"{number}",
        "lines": lines,
        "currency": "EUR",
        "deadline": (datetime.now(UTC) + timedelta(hours=44)).isoformat(),
        "reason": "Cola and ten more are running out, and the weekend sells twice as much.",
        "image": {"guid": f"{number:08d}-6f0b-6c1e-5d0e-4a539b591f1f"},
        "asset": {"serial": f"VST-{number % PEOPLE}", "type": "Vista 400 Upright", "location": "Entrance"},
    }
    return _event(number, "order.recommended", data)


MAKERS: dict[str, Maker] = {"plain": picture, "rich": order}


def system(stage: Stage, database_url: str) -> System:
    """The product's own parts over that database, without a broker."""
    environment = stage.environment(database_url)
    return build(load({name: value for name, value in environment.items() if "BROKER" not in name}), environment)


def furnish(stage: Stage, made: System, text: str | None = None) -> None:
    """Configuration, and the directory of the usual tenant."""
    text = text or configuration(stage.sink.url())
    policy = parse(text, "notifier.toml")
    with made.store.write(CommitPoint.ADMIN) as tx:
        tx.save_policy(text, "bench", made.clock())
        tx.save_tenants({tenant.id: tenant.name for tenant in policy.tenants.values()})
    if (tenant := policy.tenants.get(TENANT)) is not None:
        importer = Importer(made.store, tenant)
        for name, table in (("outlets.csv", outlets()), ("contacts.csv", contacts())):
            report = importer.text(table, name)
            assert not report.problems, report.problems[:3]


def credential(tenant: TenantId = TENANT) -> Credential:
    """May send everything."""
    return Credential("bench", tenant, (SOURCE,), ("coolr.*",))


def items(make: Maker, numbers: range) -> list[RawItem]:
    """Events as they come by HTTP."""
    import json

    return [item_of(json.dumps(make(number)).encode()) for number in numbers]


def fill(made: System, make: Maker, count: int) -> None:
    """Take that many events in and route them."""
    for start in range(0, count, CHUNK):
        answers = made.pipeline.accept(items(make, range(start, min(start + CHUNK, count))), credential())
        assert all(answer.reason is None for answer in answers), answers[0]
        while made.pipeline.route():
            pass


def backlog(stage: Stage, workload: str, count: int) -> str:
    """Name of a database in which that many deliveries wait; copy it (Stage.copy) to use it up."""
    name = f"backlog_{workload}_{count}"
    if name in stage.backlogs:
        return name
    stage.backlogs.add(name)
    administer(stage.postgres, f"CREATE DATABASE {name} TEMPLATE template0")
    migrate(stage.database_url(name))
    made = system(stage, stage.database_url(name))
    furnish(stage, made)
    fill(made, MAKERS[workload], count)
    made.store.close()
    administer(stage.postgres, f"ALTER DATABASE {name} CONNECTION LIMIT -1")
    return name
