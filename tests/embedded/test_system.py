"""Which parts and settings an embedded system has, and how the environment replaces them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from notifier.config import load
from notifier.embedded.folder import Folder, open_folder
from notifier.embedded.part import Part
from notifier.embedded.ports import Ports
from notifier.embedded.secrets import load_secrets
from notifier.embedded.settings import embedded_settings
from notifier.embedded.system import embedded_parts, recorded_environment, run_system
from notifier.errors import ConfigError
from notifier.outbox.settings import load_outbox

PORTS = Ports(web=18000, outbox=18025, smtp=18026)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return open_folder(tmp_path / "data")


def settings_for(folder: Folder, **given: str) -> dict[str, str]:
    return embedded_settings(folder, PORTS, load_secrets(folder), given)


def parts_for(folder: Folder, **given: str) -> list[Part]:
    own = settings_for(folder, **given)
    environment = {**given, **own}
    return embedded_parts(folder, PORTS, load(environment), environment, load_secrets(folder))


def names(parts: list[Part]) -> list[str]:
    return [part.name for part in parts]


def test_without_any_setting_everything_is_embedded(folder: Folder) -> None:
    assert names(parts_for(folder)) == ["broker", "outbox", "migrate", "web", "intake", "deliver", "beat"]
    settings = load(settings_for(folder))
    assert settings.database_url == f"sqlite:///{folder.database}"
    assert settings.broker_url.startswith("redis+socket:///")
    assert settings.redis_url.startswith("unix:///")
    assert settings.base_url == "http://127.0.0.1:18000"
    assert settings.smtp_url.get_secret_value() == "smtp://127.0.0.1:18026"
    assert settings.twilio_base_url == "http://127.0.0.1:18025"
    assert settings.callback_allow == ("127.0.0.1:18025",)
    assert len(settings.link_key_bytes) == 1


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        ({"NOTIFIER_DATABASE_URL": "postgresql:///x"}, {"NOTIFIER_DATABASE_URL"}),
        ({"NOTIFIER_BROKER_URL": "redis://x"}, {"NOTIFIER_BROKER_URL", "NOTIFIER_REDIS_URL"}),
        ({"NOTIFIER_SMTP_URL": "smtp://x"}, {"NOTIFIER_SMTP_URL"}),
        ({"NOTIFIER_SMTP_URL_FILE": "/run/secrets/smtp"}, {"NOTIFIER_SMTP_URL"}),
        # A Twilio account of the user's with our base URL, or the other way round, would be nobody's account.
        (
            {"NOTIFIER_TWILIO_AUTH_TOKEN_FILE": "/run/secrets/twilio"},
            {"NOTIFIER_TWILIO_ACCOUNT_SID", "NOTIFIER_TWILIO_AUTH_TOKEN", "NOTIFIER_TWILIO_BASE_URL"},
        ),
        ({"NOTIFIER_LINK_KEYS": "x"}, {"NOTIFIER_LINK_KEYS_FILE"}),
        ({"NOTIFIER_DEMO_ERP_SECRET": "whsec_x"}, {"NOTIFIER_DEMO_ERP_SECRET"}),
        ({"NOTIFIER_SMTP_URL": ""}, set()),
    ],
)
def test_what_the_environment_names_is_left_to_it(folder: Folder, given: dict[str, str], gone: set[str]) -> None:
    assert set(settings_for(folder)) - set(settings_for(folder, **given)) == gone


def test_addresses_that_the_user_allows_are_allowed_beside_the_outbox(folder: Folder) -> None:
    given = {"NOTIFIER_CALLBACK_ALLOW": "127.0.0.1:8931"}
    settings = load({**given, **settings_for(folder, **given)})
    assert settings.callback_allow == ("127.0.0.1:8931", "127.0.0.1:18025")


def test_a_public_system_allows_only_what_the_user_names(folder: Folder) -> None:
    given = {"NOTIFIER_CALLBACK_ALLOW": "10.1.0.0/16", "NOTIFIER_BASE_URL": "https://n.example.com"}
    assert "NOTIFIER_CALLBACK_ALLOW" not in settings_for(folder, **given)


def test_a_broker_from_outside_replaces_the_embedded_one(folder: Folder) -> None:
    assert names(parts_for(folder, NOTIFIER_BROKER_URL="redis://127.0.0.1:1/0"))[0] == "outbox"


def test_the_outbox_never_learns_a_real_twilio_account(folder: Folder) -> None:
    """P10."""
    parts = parts_for(folder, NOTIFIER_TWILIO_ACCOUNT_SID="ACreal", NOTIFIER_TWILIO_AUTH_TOKEN="hunter2")
    outbox = next(part for part in parts if part.name == "outbox")
    assert "hunter2" not in outbox.environment.values()
    assert load_outbox(outbox.environment).auth_token == load_secrets(folder).twilio_auth_token


@pytest.mark.parametrize("base_url", ["https://n.example.com", "http://192.0.2.7:8000", "http://0.0.0.0:8000"])
def test_with_a_public_base_url_there_is_no_outbox(folder: Folder, base_url: str) -> None:
    """The outbox shows live links; links that work for the whole world must not lie in it."""
    parts = parts_for(folder, NOTIFIER_BASE_URL=base_url)
    assert "outbox" not in names(parts)
    assert not {"NOTIFIER_SMTP_URL", "NOTIFIER_TWILIO_BASE_URL"} & set(settings_for(folder, NOTIFIER_BASE_URL=base_url))


@pytest.mark.parametrize("base_url", ["http://localhost:8000", "http://127.0.0.1:9", "http://[::1]:9"])
def test_a_loopback_base_url_keeps_the_outbox(folder: Folder, base_url: str) -> None:
    assert "outbox" in names(parts_for(folder, NOTIFIER_BASE_URL=base_url))


def test_parts_do_not_print_their_environment(folder: Folder) -> None:
    """P10."""
    token = load_secrets(folder).twilio_auth_token
    assert token not in repr(parts_for(folder))


def test_a_wrong_setting_is_named_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="NOTIFIER_SLOTS"):
        run_system(tmp_path / "data", {"NOTIFIER_SLOTS": "none"}, tell=lambda _: None)


@pytest.mark.parametrize("content", [None, "", "[]", "{"])
def test_without_a_record_commands_see_no_system(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "run").mkdir()
    if content is not None:
        (tmp_path / "run" / "environment.json").write_text(content)
    assert recorded_environment(tmp_path) == {}


def test_the_record_of_a_stopped_system_holds_no_secret_of_the_user(tmp_path: Path) -> None:
    given = {"NOTIFIER_SMTP_URL": "smtp://me:hunter2@mail.example", "NOTIFIER_SLOTS": "none"}
    with pytest.raises(ConfigError):
        run_system(tmp_path, given, tell=lambda _: None)
    assert "hunter2" not in json.dumps(recorded_environment(tmp_path))
