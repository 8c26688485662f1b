"""P10 over the whole system, with every table filled: nothing that can be read opens a link or completes a decision."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
import redis

from notifier.core.ids import TenantId
from notifier.core.model import ChannelName
from notifier.simulator.world import TENANTS
from tests.acceptance.system import Filled, dump

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

LISTED = ("events", "notifications", "attempts", "orders", "decisions", "outlets", "quarantine")
NUMBER = re.compile(r"[Nn]umber[^:\n]{0,40}:\s*(\d{2})\b")


@pytest.fixture(scope="module")
def secrets(filled: Filled) -> set[str]:
    """Everything live: tokens and codes of every message, API keys, the account's token, endpoint and link keys."""
    opened = {link.rsplit("/", 1)[1] for link in filled.links()}
    environment = filled.environment
    keys = {value for name, value in environment.items() if name.endswith(("_TOKEN", "_SECRET"))}
    keys |= set((filled.folder / "link-keys").read_text().split())
    return opened | keys | set(filled.api_keys.values())


@pytest.fixture(scope="module")
def seen(filled: Filled) -> dict[str, str]:
    """Everything that can be read by somebody entitled, by name."""
    return dict(_surfaces(filled))


def _surfaces(filled: Filled) -> Iterator[tuple[str, str]]:
    yield from _web(filled)
    yield from _commands(filled)
    yield from (
        (path.name, path.read_text(errors="replace")) for path in sorted((filled.folder / "logs").glob("*.log"))
    )
    yield "broker", _broker(filled)


def _web(filled: Filled) -> Iterator[tuple[str, str]]:
    with httpx.Client(base_url=filled.web, trust_env=False, timeout=30) as client:
        for path in ("/metrics", "/readyz", "/healthz", "/openapi.json"):
            yield path, client.get(path).text
        for tenant, key in filled.api_keys.items():
            headers = {"Authorization": f"Bearer {key}"}
            for name in LISTED:
                yield f"{tenant} {name}", "".join(_pages(client, f"/v1/{name}", headers))
            events = client.get("/v1/events", params={"limit": 100}, headers=headers).json()["records"]
            for event in events:
                timeline = client.get(f"/v1/events/{event['id']}/timeline", headers=headers)
                assert timeline.status_code == 200
                yield f"timeline of {event['type']}", timeline.text


def _pages(client: httpx.Client, path: str, headers: dict[str, str]) -> Iterator[str]:
    start, total = 0, 1
    while start < total:
        answer = client.get(path, params={"start": start, "limit": 100}, headers=headers)
        assert answer.status_code == 200
        total = answer.json()["totalRecords"]
        start += 100
        yield answer.text


def _commands(filled: Filled) -> Iterator[tuple[str, str]]:
    with filled.system.store.read() as tx:
        rows = {tenant: tx.list_rows("events", tenant, start=0, limit=100, filters={})[0] for tenant in TENANTS}
        kept = {tenant: tx.list_rows("quarantine", tenant, start=0, limit=3, filters={})[0] for tenant in TENANTS}
    kinds = {row["type"]: row["id"] for found in rows.values() for row in found}
    for kind, event in kinds.items():
        yield f"explain {kind}", filled.cli("explain", event)
        yield f"preview {kind}", filled.cli("preview", event)
    for tenant, entries in kept.items():
        yield f"quarantine of {tenant}", filled.cli("quarantine", "list", tenant)
        yield from ((f"quarantine show {tenant}", filled.cli("quarantine", "show", tenant, e["id"])) for e in entries)
    yield "keys list", filled.cli("keys", "list")
    yield "config show", filled.cli("config", "show")


def _broker(filled: Filled) -> str:
    """Everything the broker holds, and every task that is published while events come in."""
    path = filled.environment["NOTIFIER_BROKER_URL"].removeprefix("redis+socket://").partition("?")[0]
    client = redis.Redis(unix_socket_path=path)
    try:
        return "\n".join(str(client.dump(key)) for key in client.keys("*"))
    finally:
        client.close()


def test_every_table_is_filled(filled: Filled) -> None:
    """Else the next test would look at nothing."""
    system = filled.system
    with system.store.write() as tx:
        tx.suppress_address(TenantId("acme"), ChannelName.SMS, "+34612999999", "opted_out", datetime.now(UTC))
    filled.cli("switch", "off", "--tenant", "acme", "--type", "coolr.opportunity.missed", "--reason", "nothing waits")
    unused = {"cursors", "notification_events"}  # of pulls and digests, which do not exist yet
    assert {name for name, rows in dump(filled.database, without=()).items() if not rows} == unused


def test_no_surface_returns_what_opens_a_link_p10(seen: dict[str, str], secrets: set[str]) -> None:
    assert len(secrets) > 80
    assert any(name.startswith("timeline") for name in seen) and any(name.startswith("preview") for name in seen)
    for name, text in seen.items():
        found = [secret[:6] for secret in secrets if secret in text]
        assert not found, f"{name} holds {len(found)} live secrets, the first begins {found[0]}"


def test_no_surface_returns_a_number_p10(seen: dict[str, str]) -> None:
    """The number stands in the message alone: previews and explanations mask it."""
    shown = [(name, match[0]) for name, text in seen.items() for match in NUMBER.finditer(text)]
    assert shown == []


def test_no_surface_returns_a_full_address_p10(filled: Filled, seen: dict[str, str]) -> None:
    people = {mail["rcpt_tos"][0] for mail in filled.caught("smtp")} | {sms["to"] for sms in filled.caught("sms")}
    named = {"config show"}  # the operator's own file, as applied
    for name, text in seen.items():
        found = [address for address in people if address in text]
        assert name in named or not found, f"{name} holds {len(found)} full addresses"


def test_the_database_stores_nothing_that_opens_a_link_p10(filled: Filled) -> None:
    tokens = {link.rsplit("/", 1)[1] for link in filled.links()}
    everything = repr(dump(filled.database, without=()))
    assert not [token[:6] for token in tokens if token in everything]
