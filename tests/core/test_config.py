"""Settings come from any mapping, name every mistake at once, and never print a secret (P10)."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from notifier.config import Settings, load
from notifier.errors import ConfigError

KEY = base64.b64encode(bytes(range(32))).decode()


def test_the_defaults_run_on_one_machine_and_hold_no_secret() -> None:
    settings = load({})
    assert settings.database_url.startswith("sqlite")
    assert settings.link_keys == ()


def test_every_mistake_is_listed_at_once_with_its_variable() -> None:
    with pytest.raises(ConfigError) as caught:
        load({"NOTIFIER_SLOTS": "many", "NOTIFIER_BASE_URL": "example.com", "NOTIFIER_LINK_KEYS": "c2hvcnQ="})
    assert {problem.where for problem in caught.value.problems} == {
        "NOTIFIER_SLOTS",
        "NOTIFIER_BASE_URL",
        "NOTIFIER_LINK_KEYS",
    }


def test_a_short_or_malformed_link_key_is_refused_without_being_quoted_p10() -> None:
    with pytest.raises(ConfigError) as caught:
        load({"NOTIFIER_LINK_KEYS": f"{KEY},not*base64*at*all"})
    assert "not*base64" not in str(caught.value)


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{KEY}\n{KEY}\n")
    settings = load({"NOTIFIER_LINK_KEYS_FILE": str(tmp_path / "keys")})
    assert settings.link_key_bytes == (bytes(range(32)),) * 2


def test_a_missing_secret_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="NOTIFIER_SMTP_URL_FILE: cannot read the file"):
        load({"NOTIFIER_SMTP_URL_FILE": str(tmp_path / "absent")})


def test_secrets_print_as_stars_p10() -> None:
    settings = load({"NOTIFIER_TWILIO_AUTH_TOKEN": "tok-secret", "NOTIFIER_LINK_KEYS": KEY})
    assert "tok-secret" not in repr(settings) + str(settings.model_dump())
    assert KEY not in repr(settings) + str(settings.model_dump())


def test_lists_are_split_at_commas_and_lines() -> None:
    assert load({"NOTIFIER_CALLBACK_ALLOW": "10.0.0.0/8, 127.0.0.1:9\n"}).callback_allow == (
        "10.0.0.0/8",
        "127.0.0.1:9",
    )


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().slots = 3  # type: ignore[misc]
