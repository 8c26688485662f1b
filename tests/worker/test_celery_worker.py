"""A real Celery worker over the embedded broker: what is published is accepted and routed under the tenant's key."""

from __future__ import annotations

import base64
import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from notifier.core.ids import TenantId
from notifier.core.keys import make_api_key
from notifier.core.records import ApiKey
from notifier.embedded.valkey import start_embedded_broker
from notifier.store import open_store
from notifier.store.migrating import migrate
from tests.peers.process import running, wait_until

pytestmark = pytest.mark.processes

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
POLICY = '[tenants.acme]\nname = "Acme"\ntimezone = "Europe/Madrid"\n[tenants.zeta]\nname = "Zeta"\n'


@dataclass
class Works:
    """A broker, a worker and their database."""

    sender: Celery
    database: Path
    log: Path

    def publish(self, events: Any, tenant: Any) -> None:
        self.sender.send_task("notifier.consume", args=[events, tenant], queue="intake", ignore_result=True)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()

    def events(self) -> set[str]:
        return {source_id for (source_id,) in self.rows("SELECT source_id FROM events")}


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Works]:
    folder = tmp_path_factory.mktemp("worker")
    url = f"sqlite:///{folder / 'n.db'}"
    migrate(url)
    store, made = open_store(url), make_api_key()
    with store.write() as tx:
        tx.save_policy(POLICY, "test", NOW)
        tx.save_tenants({TenantId("acme"): "Acme", TenantId("zeta"): "Zeta"})
        key = ApiKey(made.id, TenantId("acme"), "celery", made.secret_hash, ("erp",), ("coolr.*",), False, False, NOW)
        tx.save_api_key(key)
    store.close()
    broker = start_embedded_broker(folder / "data")
    environment = {
        "NOTIFIER_DATABASE_URL": url,
        "NOTIFIER_BROKER_URL": broker.broker_url,
        "NOTIFIER_LINK_KEYS": base64.urlsafe_b64encode(b"k" * 32).decode(),
    }
    worker = "-m celery -A notifier.worker.app worker -P prefork -c 2 -Q intake,route,slow -n intake@test"
    log = folder / "worker.log"
    sender = Celery(broker=broker.broker_url)
    try:
        with running(
            [sys.executable, *worker.split()], lambda: " ready" in log.read_text(), log=log, environment=environment
        ):
            yield Works(sender, folder / "n.db", log)
    finally:
        sender.close()
        broker.stop()


def event(id_: str, **changes: Any) -> dict[str, Any]:
    data = {"order_number": id_, "outlet": {"code": "ES-1"}, "lines": [{"sku": "1", "name": "a", "suggested_cases": 1}]}
    named = {"specversion": "1.0", "id": id_, "source": "erp", "type": "coolr.order.recommended"}
    return {**named, "data": data, **changes}


def test_one_and_many_are_accepted_and_routed_and_a_bad_neighbour_is_kept(works: Works) -> None:
    works.publish(event("one"), "acme")
    reserved = event("reserved", type="coolr.decision.recorded")
    works.publish([event("two"), reserved, event("foreign", source="elsewhere"), 5, event("three")], "acme")
    wait_until(lambda: works.events() >= {"one", "two", "three"}, "events accepted")
    assert works.events() == {"one", "two", "three"}
    kept = {code for (code,) in works.rows("SELECT code FROM quarantine")}
    assert kept == {"reserved_type", "not_allowed", "invalid"}
    wait_until(lambda: not works.rows("SELECT 1 FROM events WHERE routed_at IS NULL"), "routed by the hint")


@pytest.mark.parametrize("tenant", ["zeta", "nobody", None, {"a": 1}])
def test_without_the_tenants_key_nothing_is_accepted_and_the_worker_goes_on(works: Works, tenant: Any) -> None:
    works.publish(event(f"refused {tenant}"), tenant)
    works.publish(event(f"after {tenant}"), "acme")
    wait_until(lambda: f"after {tenant}" in works.events(), "the next event accepted")
    assert f"refused {tenant}" not in works.events()


def test_no_log_line_is_a_traceback_or_holds_data(works: Works) -> None:
    works.publish([event("last", data={"order_number": "SECRETDATA"})], "acme")
    wait_until(lambda: bool(works.rows("SELECT 1 FROM quarantine WHERE source_id = 'last'")), "kept")
    written = works.log.read_text()
    assert "Traceback" not in written
    assert "SECRETDATA" not in written
    assert all(json.loads(line) for line in written.splitlines() if line.startswith("{"))
