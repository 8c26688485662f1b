"""Who takes part: tenants, stores, people, endpoints, and by hand what every kind of event must lead to.

The configuration is applied by the product's own commands, as an operator does it. The table of expectations is
written beside it and not derived from it, so that a mistake in routing cannot hide in both.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

SOURCE = "chaos/fleet"
OUTLETS = 3  #: of each tenant
SLOTS = 20  #: sends in flight of a delivery worker: the bound on what one kill can leave unknown
ACCOUNT, TOKEN = "AC" + "c" * 32, "t" * 32  #: of the Twilio-shaped receiver


@dataclass(frozen=True)
class Tenant:
    """A client of Coolr."""

    id: str
    country: str
    zone: str
    dial: str  #: phone numbers are this and four digits
    sms: bool


TENANTS = (
    Tenant("acme", "ES", "Europe/Madrid", "+3461200", True),
    Tenant("borealis", "US", "America/New_York", "+1212555", True),
    Tenant("cygnus", "PT", "Europe/Lisbon", "+35191200", False),
)

#: Event type → who hears of it: (channel, whom). `erp` and `lake` are endpoints, the others are people.
HEAR: dict[str, list[tuple[str, str]]] = {
    "coolr.alert.opened": [("email", "rep"), ("callback", "erp")],
    "coolr.alert.updated": [("callback", "erp")],
    "coolr.alert.closed": [("email", "rep"), ("callback", "erp")],
    "coolr.image.processed": [("callback", "erp")],
    "coolr.opportunity.missed": [("email", "ops"), ("callback", "erp")],
    "coolr.order.recommended": [("email", "owner"), ("sms", "owner"), ("email", "rep"), ("callback", "erp")],
    "coolr.order.withdrawn": [("email", "owner"), ("sms", "owner"), ("email", "rep"), ("callback", "erp")],
    "coolr.order.decided": [("email", "owner"), ("sms", "owner"), ("email", "rep"), ("callback", "erp")],
    "coolr.decision.recorded": [("email", "owner"), ("sms", "owner"), ("email", "rep"), ("callback", "erp")],
}
for _type in HEAR:
    if _type.startswith(("coolr.order.", "coolr.decision.")):
        HEAR[_type].append(("callback", "lake"))


def outlet_code(tenant: Tenant, number: int) -> str:
    """A store."""
    return f"{tenant.country}-{1001 + number}"


def address(tenant: Tenant, outlet: int, channel: str, whom: str) -> str:
    """Where that person or endpoint is reached."""
    if channel == "callback":
        return whom
    if channel == "sms":
        return f"{tenant.dial}{100 + outlet:04d}"
    return f"{whom}@{tenant.id}.example" if whom == "ops" else f"{whom}{outlet}@{tenant.id}.example"


def expectations() -> dict[str, dict[str, list[list[str]]]]:
    """Tenant and outlet ("acme/ES-1001") → event type → [channel, address] that must hear of it."""
    return {
        f"{tenant.id}/{outlet_code(tenant, outlet)}": {
            type_: [
                [channel, address(tenant, outlet, channel, whom)]
                for channel, whom in hear
                if tenant.sms or channel != "sms"
            ]
            for type_, hear in HEAR.items()
        }
        for tenant in TENANTS
        for outlet in range(OUTLETS)
    }


@dataclass(frozen=True)
class Ports:
    """Of 127.0.0.1."""

    web: tuple[int, int]
    callbacks: int
    smtp: int
    sms: int


def environment(folder: Path, database_url: str, broker_url: str, ports: Ports) -> dict[str, str]:
    """The deployment's settings, the same for every part."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFIER_")}
    random = base64.b64encode(secrets.token_bytes(32)).decode()
    return {
        **given,
        "NOTIFIER_DATABASE_URL": database_url,
        "NOTIFIER_BROKER_URL": broker_url,
        "NOTIFIER_BASE_URL": f"http://127.0.0.1:{ports.web[0]}",
        "NOTIFIER_SMTP_URL": f"smtp://127.0.0.1:{ports.smtp}",
        "NOTIFIER_EMAIL_FROM": "Coolr alerts <alerts@coolr.example>",
        "NOTIFIER_TWILIO_ACCOUNT_SID": ACCOUNT,
        "NOTIFIER_TWILIO_AUTH_TOKEN": TOKEN,
        "NOTIFIER_TWILIO_FROM": "+15005550006",
        "NOTIFIER_TWILIO_BASE_URL": f"http://127.0.0.1:{ports.sms}",
        "NOTIFIER_CALLBACK_ALLOW": f"127.0.0.1:{ports.callbacks},127.0.0.1:{ports.sms}",
        "NOTIFIER_LINK_KEYS": random,
        "NOTIFIER_CONFIG": str(folder / "notifier.toml"),
        "NOTIFIER_DATA_DIR": str(folder / "data"),
        "NOTIFIER_SLOTS": str(SLOTS),
        "CHAOS_SECRET": "whsec_" + random,
    }


def prepare(folder: Path, settings: Mapping[str, str], ports: Ports) -> None:
    """Schema, configuration, directory and keys, by the product's commands; what others need to know as scene.json."""
    (folder / "notifier.toml").write_text(_policy(ports.callbacks), encoding="utf-8")
    _notifier(settings, "migrate")
    _notifier(settings, "config", "apply")
    keys: dict[str, str] = {}
    for tenant in TENANTS:
        _directory(folder, tenant)
        _notifier(settings, "import", tenant.id, str(folder / "outlets.csv"), str(folder / "contacts.csv"))
        keys[tenant.id] = _notifier(settings, "keys", "create", tenant.id, "--source", SOURCE, "--read").strip()
        _notifier(settings, "keys", "create", tenant.id, "--name", "celery", "--source", SOURCE)
    scene = {
        "keys": keys,
        "broker_url": settings["NOTIFIER_BROKER_URL"],
        "base_url": settings["NOTIFIER_BASE_URL"],
        "ports": asdict(ports),
        "slots": SLOTS,
    }
    (folder / "scene.json").write_text(json.dumps(scene), encoding="utf-8")
    (folder / "scene.json").chmod(0o600)
    (folder / "expected.json").write_text(json.dumps(expectations()), encoding="utf-8")


def _policy(callbacks: int) -> str:
    return "\n".join(_tenant_policy(tenant, callbacks) for tenant in TENANTS)


def _tenant_policy(tenant: Tenant, callbacks: int) -> str:
    owner = '["email", "sms"]' if tenant.sms else '["email"]'
    base = f"http://127.0.0.1:{callbacks}/{tenant.id}"
    return f"""
[tenants.{tenant.id}]
name = "{tenant.id.title()}"
timezone = "{tenant.zone}"
sms = {str(tenant.sms).lower()}
default = [{{ to = "endpoint:erp" }}]
[tenants.{tenant.id}.orders]
undo_minutes = 0
[[tenants.{tenant.id}.rules]]
name = "orders to the store"
when = {{ type = ["coolr.order.*"] }}
send = [{{ to = "role:owner", by = {owner} }}, {{ to = "role:sales_rep", by = ["email"] }}]
[[tenants.{tenant.id}.rules]]
name = "orders to the lake"
when = {{ type = ["coolr.order.*", "coolr.decision.*"] }}
send = [{{ to = "endpoint:lake" }}]
[[tenants.{tenant.id}.rules]]
name = "alerts to the rep"
when = {{ type = ["coolr.alert.*"] }}
send = [{{ to = "role:sales_rep" }}]
[[tenants.{tenant.id}.rules]]
name = "missed sales"
when = {{ type = ["coolr.opportunity.*"] }}
send = [{{ to = "address:ops@{tenant.id}.example" }}]
[[tenants.{tenant.id}.rules]]
name = "everything to the ERP"
send = [{{ to = "endpoint:erp" }}]
[[tenants.{tenant.id}.endpoints]]
name = "erp"
url = "{base}/erp"
secrets = ["env:CHAOS_SECRET"]
[[tenants.{tenant.id}.endpoints]]
name = "lake"
url = "{base}/lake"
secrets = ["env:CHAOS_SECRET"]
when = "at_once"
"""


def _directory(folder: Path, tenant: Tenant) -> None:
    outlets, contacts = ["Code,Name,Country,TimeZone"], ["OutletCode,Role,Name,Email,Phone"]
    for number in range(OUTLETS):
        code = outlet_code(tenant, number)
        outlets.append(f"{code},Store {code},{tenant.country},{tenant.zone}")
        phone = address(tenant, number, "sms", "owner")
        contacts.append(f"{code},owner,Olga{number} Owner,{address(tenant, number, 'email', 'owner')},{phone}")
        contacts.append(f"{code},sales_rep,Rui{number} Rep,{address(tenant, number, 'email', 'rep')},")
    (folder / "outlets.csv").write_text("\n".join(outlets) + "\n", encoding="utf-8")
    (folder / "contacts.csv").write_text("\n".join(contacts) + "\n", encoding="utf-8")


def _notifier(settings: Mapping[str, str], *arguments: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "notifier", *arguments],
        env=dict(settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if run.returncode:
        raise RuntimeError(f"notifier {arguments[0]} ended with {run.returncode}: {run.stdout}{run.stderr}"[-2000:])
    return run.stdout
