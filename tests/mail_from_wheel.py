"""Run by test_packaging with an installed wheel: an alert becomes a mail, from acceptance to what a channel is handed.

Prints the mail's parts as JSON, and where the templates came from. Settings come from the environment.
"""

from __future__ import annotations

import json
import os
import sys

from notifier.bootstrap import System, build, templates_root, utc_now
from notifier.config import load
from notifier.core.events import RawItem
from notifier.core.ids import AttemptId, SessionId, TenantId
from notifier.core.model import ClaimRequest, Credential
from notifier.core.records import WorkerSession
from notifier.ports import Delivery
from notifier.store import migrate

ACME = TenantId("acme")
POLICY = """
[tenants.acme]
name = "Acme Beverages"
countries = ["ES"]
email_from = "Acme via Coolr <alerts@acme.example>"
default = [{ to = "address:ops@acme.example", by = ["email"] }]
"""
ALERT = {
    "alert_id": "81234",
    "alert_type": "Door Open",
    "status": "open",
    "outlet": {"code": "ES-1001", "name": "Main St"},
}


def accept(system: System) -> None:
    """Store the configuration and one alert."""
    with system.store.write() as tx:
        tx.save_policy(POLICY, "test", utc_now())
        tx.save_tenants({ACME: "Acme Beverages"})
    system.policies.refresh()
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "coolr/eu-1",
        "type": "coolr.alert.opened",
        "time": utc_now().isoformat(),
        "data": ALERT,
    }
    [answer] = system.pipeline.accept([RawItem(event, json.dumps(event))], Credential("t", ACME, ("coolr/*",), ("*",)))
    assert answer.status == "accepted", answer


def prepare(system: System) -> Delivery:
    """Route it and take the mail as the engine would."""
    system.pipeline.route()
    session = SessionId("wheel")
    system.pipeline.start_session(WorkerSession(session, "wheel", os.getpid(), utc_now(), utc_now()))
    [claimed] = system.pipeline.claim(ClaimRequest(session, 10, 10))
    return system.pipeline.prepare(claimed, AttemptId("wheel"))


if __name__ == "__main__":
    settings = load(os.environ)
    migrate(settings.database_url)
    system = build(settings)
    accept(system)
    sys.stdout.write(json.dumps({"templates": str(templates_root(settings)), **prepare(system).parts}))
