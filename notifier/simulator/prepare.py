"""Make a fresh system ready for the fleet: configuration applied, directory imported, keys made. Repeatable.

The API keys lie beside the other secrets of the embedded system, readable by the owner only.
"""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

from notifier.bootstrap import System, utc_now
from notifier.core.ids import TenantId
from notifier.core.keys import make_api_key
from notifier.core.policy_file import parse
from notifier.core.records import ApiKey
from notifier.importing import Importer
from notifier.simulator.world import TENANTS, text
from notifier.unit import CommitPoint

FILES = ("outlets.csv", "contacts.csv")


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a feeder needs to send as the fleet's senders."""

    keys: dict[str, str]  #: API key by tenant


def prepare(system: System, folder: Path, callbacks: str) -> Fleet:
    """Apply the fleet's configuration and directory; `callbacks` is the address of the callback receiver."""
    config = text("notifier.toml").replace("{callbacks}", callbacks)
    (folder / "notifier.toml").write_text(config, encoding="utf-8")
    policy = parse(config, "notifier.toml")
    with system.store.write(CommitPoint.ADMIN) as tx:
        stored = tx.policy_text()
        if stored is None or stored[1] != config:
            tx.save_policy(config, "demo", utc_now())
            tx.save_tenants({tenant.id: tenant.name for tenant in policy.tenants.values()})
    for name in FILES:
        (folder / name).write_text(text(name), encoding="utf-8")
        for tenant, part in _by_tenant(text(name)).items():
            report = Importer(system.store, policy.tenants[tenant]).text(part, name)
            if report.problems:
                raise RuntimeError(f"the shipped {name} is wrong: {report.problems[0]}")
    return Fleet(_keys(system, folder / "fleet-keys.json"))


def _by_tenant(table: str) -> dict[TenantId, str]:
    """Split a table with a Tenant column into one for each tenant."""
    rows = list(csv.DictReader(io.StringIO(table)))
    parts = {}
    for tenant in TENANTS:
        out = io.StringIO()
        writer = csv.DictWriter(out, [name for name in rows[0] if name != "Tenant"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row for row in rows if row["Tenant"] == tenant)
        parts[tenant] = out.getvalue()
    return parts


def _keys(system: System, path: Path) -> dict[str, str]:
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    keys: dict[str, str] = {tenant: _make_key(system, tenant, "fleet") for tenant in TENANTS}
    for tenant in TENANTS:
        _make_key(system, tenant, "celery")
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(keys, file)
    return keys


def _make_key(system: System, tenant: TenantId, name: str) -> str:
    made = make_api_key()
    key = ApiKey(
        id=made.id,
        tenant=tenant,
        name=name,
        secret_hash=made.secret_hash,
        sources=(f"coolr/{tenant}",),
        types=("coolr.*",),
        may_address=False,
        may_read=name == "fleet",
        created_at=utc_now(),
    )
    with system.store.write(CommitPoint.ADMIN) as tx:
        tx.save_api_key(key)
    return made.plaintext
