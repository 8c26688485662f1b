"""Alive, ready and if not what is missing, and the numbers an operator looks at."""

from __future__ import annotations

from datetime import timedelta

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update
from starlette.testclient import TestClient

from notifier.bootstrap import System
from notifier.config import Settings
from notifier.core.model import ChannelName, EventType
from notifier.store import migrate
from notifier.store.tables import lanes
from notifier.testing import BASE_URL
from notifier.web.app import build_app
from tests.web.conftest import MakeSite
from tests.web.site import Site, event

KEY = "a metrics key of the tests"


def metrics(text: str) -> dict[tuple[str, str, str], float]:
    """(name, channel, priority) → value; of histograms the number of all."""
    return {
        (sample.name, sample.labels.get("channel", ""), sample.labels.get("priority", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("le", "+Inf") == "+Inf"
    }


def test_alive_asks_nothing_of_others(make_site: MakeSite) -> None:
    site = make_site()
    site.system.store.close()
    for method in ("GET", "HEAD"):
        assert site.http.request(method, "/healthz").status_code == 200


def test_ready_when_everything_is_there_and_not_when_the_worker_falls_silent(site: Site) -> None:
    assert site.http.get("/readyz").json() == {"ready": True, "missing": []}
    site.clock.advance(seconds=11)
    silent = site.http.get("/readyz")
    assert silent.status_code == 503 and not silent.json()["ready"]
    assert silent.json()["missing"] == ["no delivery worker has reported in the last 10 s: accepted events wait"]
    assert site.http.head("/readyz").status_code == 503


@pytest.mark.parametrize("migrated", [False, True])
def test_ready_names_the_command_that_helps(tmp_path_factory: pytest.TempPathFactory, migrated: bool) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('fresh')}/n.db"
    if migrated:
        migrate(url)
    system = System(Settings.model_validate({"database_url": url, "link_keys": ["a" * 44]}), {})
    missing = TestClient(build_app(system), BASE_URL).get("/readyz").json()["missing"]
    assert ("`notifier config apply`" if migrated else "`notifier migrate`") in missing[0]
    system.store.close()


def test_a_database_that_is_away_is_said_without_its_address(tmp_path_factory: pytest.TempPathFactory) -> None:
    url = "postgresql://secret-user:secret-word@127.0.0.1:1/secret-name"
    system = System(Settings.model_validate({"database_url": url, "link_keys": ["a" * 44]}), {})
    answer = TestClient(build_app(system), BASE_URL).get("/readyz")
    assert (answer.status_code, answer.json()["missing"]) == (503, ["the database does not answer; the log says why"])
    assert "secret" not in answer.text


# -- metrics -----------------------------------------------------------------------------------------------------------


def test_metrics_say_per_channel_and_priority_what_waits_and_since_when(make_site: MakeSite) -> None:
    site = make_site(metrics_key=KEY)
    alert = {"alert_id": "1", "alert_type": "OutOfStock", "status": "open"}
    site.accept(event(EventType.ALERT_OPENED, alert, "a-1"))
    site.clock.advance(seconds=90)
    answer = site.http.get("/metrics", headers={"authorization": f"Bearer {KEY}"})
    found = metrics(answer.text)
    due = {key[1]: value for key, value in found.items() if key[0] == "notifier_due"}
    assert due == {"email": 1.0, "callback": 2.0}
    ages = {key[1]: value for key, value in found.items() if key[0] == "notifier_oldest_due_age_seconds"}
    assert ages == {"email": 90.0, "callback": 90.0}
    for name in ("notifier_sent", "notifier_failed", "notifier_unknown", "notifier_claimed", "notifier_held"):
        assert {value for key, value in found.items() if key[0] == name} == {0.0}
    for name in ("notifier_lanes_resting", "notifier_breakers_open"):
        assert {key[1]: value for key, value in found.items() if key[0] == name} == dict.fromkeys(ChannelName, 0.0)
    assert found["notifier_switches_off", "", ""] == 0.0
    assert found["notifier_delivery_workers", "", ""] == 0.0, "its last heartbeat is 90 s old"
    assert "# TYPE notifier_handover_seconds" in answer.text
    assert "acme" not in answer.text, "no tenant, no address"


def test_metrics_count_the_lanes_that_rest_and_those_with_an_open_breaker_by_channel(make_site: MakeSite) -> None:
    site = make_site(metrics_key=KEY)
    alert = {"alert_id": "1", "alert_type": "OutOfStock", "status": "open"}
    site.accept(event(EventType.ALERT_OPENED, alert, "a-1"))
    facts = {"paused_until": site.clock.advance(seconds=0) + timedelta(seconds=30), "breaker": "open"}
    with site.system.store.engine.connect() as connection:
        connection.execute(update(lanes).where(lanes.c.channel == "callback").values(facts))
        connection.execute(update(lanes).where(lanes.c.channel == "email").values(paused_until=facts["paused_until"]))
    resting, broken = "notifier_lanes_resting", "notifier_breakers_open"

    def seen() -> dict[tuple[str, str], float]:
        answer = site.http.get("/metrics", headers={"authorization": f"Bearer {KEY}"})
        return {key[:2]: value for key, value in metrics(answer.text).items() if key[0] in (resting, broken) and value}

    assert seen() == {(resting, "callback"): 2.0, (broken, "callback"): 2.0, (resting, "email"): 1.0}
    site.clock.advance(seconds=30)
    assert seen() == {(broken, "callback"): 2.0}, "it probes"


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", f"Basic {KEY}"])
def test_metrics_need_their_key(make_site: MakeSite, given: str | None) -> None:
    site = make_site(metrics_key=KEY)
    for client in (site.http, site.client("http://127.0.0.1", "127.0.0.1")):
        refused = client.get("/metrics", headers={"authorization": given} if given is not None else {})
        assert refused.status_code == 401 and "notifier_" not in refused.text


@pytest.mark.parametrize(
    ("peer", "host", "headers", "status"),
    [
        ("127.0.0.1", "127.0.0.1:8000", {}, 200),
        ("::1", "[::1]:8000", {}, 200),
        ("127.0.0.1", "localhost", {}, 200),
        ("203.0.113.9", "127.0.0.1", {}, 401),
        ("127.0.0.1", "notify.example", {}, 401),  # a proxy on this machine, or a name that was turned to us
        ("127.0.0.1", "127.0.0.1", {"x-forwarded-for": "203.0.113.9"}, 401),
        ("127.0.0.1", "127.0.0.1", {"forwarded": "for=127.0.0.1"}, 401),
        ("127.0.0.1", "[", {}, 401),  # nonsense is nobody
        ("203.0.113.9", "[::1", {}, 401),
    ],
)
def test_without_a_key_metrics_are_for_this_machine_alone(
    site: Site, peer: str, host: str, headers: dict[str, str], status: int
) -> None:
    assert site.client(peer=peer).get("/metrics", headers={"host": host, **headers}).status_code == status


# -- the description ---------------------------------------------------------------------------------------------------


def test_the_description_is_openapi_3_1_and_names_keys_and_errors(site: Site) -> None:
    document = site.http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()
    assert not any(path.startswith(("/l/", "/s")) for path in document["paths"]), "links are for people"
    listing = document["paths"]["/v1/{listed}"]["get"]
    assert {"bearer", "header"} == {name for way in listing["security"] for name in way}
    assert "application/problem+json" in listing["responses"]["401"]["content"]
    assert "HTTPValidationError" not in document.get("components", {}).get("schemas", {})


def test_errors_are_problem_documents(site: Site) -> None:
    for path, status in (("/nowhere", 404), ("/v1/orders", 401)):
        answer = site.http.get(path)
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.status_code, answer.json()["status"]) == (status, status)
        assert answer.json()["title"] and answer.json()["detail"]


def test_a_slash_behind_is_not_redirected_to_the_host_that_was_asked(site: Site) -> None:
    assert site.http.get("/healthz/", headers={"host": "evil.example"}).status_code == 404
