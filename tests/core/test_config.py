"""Settings come from any mapping, name every mistake at once, and never print a secret (P10)."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from notifier.config import SECRET, Settings, load, nearest_setting
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


WRONG: list[tuple[dict[str, str], str, str]] = [
    # addresses that links or requests are made from
    ({"NOTIFIER_BASE_URL": "https://"}, "NOTIFIER_BASE_URL", "must be a complete address"),
    ({"NOTIFIER_BASE_URL": "https://n.example/?a=1"}, "NOTIFIER_BASE_URL", "no user, no ? and no #"),
    ({"NOTIFIER_BASE_URL": "https://u:p@n.example"}, "NOTIFIER_BASE_URL", "no user, no ? and no #"),
    ({"NOTIFIER_TWILIO_BASE_URL": "twilio"}, "NOTIFIER_TWILIO_BASE_URL", "must be a complete address"),
    # one wrong address of a proxy would trust nobody, or everybody
    ({"NOTIFIER_TRUSTED_PROXIES": "10.0.0.1,proxy"}, "NOTIFIER_TRUSTED_PROXIES", "'proxy'"),
    ({"NOTIFIER_SLOTS": "0"}, "NOTIFIER_SLOTS", "greater than or equal to 1"),
    ({"NOTIFIER_SMS_RATE": "-1"}, "NOTIFIER_SMS_RATE", "greater than or equal to 0"),
    ({"NOTIFIER_EMAIL_RATE": "0.0001"}, "NOTIFIER_EMAIL_RATE", "must be 0 (no limit) or at least 0.001"),
    ({"NOTIFIER_LOG_FORMAT": "xml"}, "NOTIFIER_LOG_FORMAT", "match"),
    # which of the two counts?
    (
        {"NOTIFIER_SMTP_URL": "a", "NOTIFIER_SMTP_URL_FILE": "b"},
        "NOTIFIER_SMTP_URL",
        "NOTIFIER_SMTP_URL_FILE is set too",
    ),
    # the path of a file, not a file with the path
    ({"NOTIFIER_CONFIG_FILE": "n.toml"}, "NOTIFIER_CONFIG_FILE", "only secrets can lie in a file"),
]


@pytest.mark.parametrize(("environ", "where", "said"), WRONG, ids=[f"{case[1]}-{n}" for n, case in enumerate(WRONG)])
def test_a_wrong_setting_says_what_is_wrong(environ: dict[str, str], where: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ)
    (problem,) = caught.value.problems
    assert problem.where == where and said in problem.message


def test_a_secret_file_that_cannot_be_used_says_why_without_quoting_it_p10(tmp_path: Path) -> None:
    for content, said in ((b"p\xe4ssword", "not UTF-8"), (b"x" * 100_001, "larger than 100,000 bytes")):
        (tmp_path / "secret").write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            load({"NOTIFIER_SMTP_URL_FILE": str(tmp_path / "secret")})
        assert said in str(caught.value) and "ssword" not in str(caught.value) and "xxx" not in str(caught.value)


@pytest.mark.parametrize("name", SECRET)
def test_every_secret_may_lie_in_a_file_and_is_never_printed_p10(name: str, tmp_path: Path) -> None:
    secret = KEY if name == "link_keys" else "postgresql://notifier:s3cret@db.example/n"
    (tmp_path / "secret").write_text(secret + "\n")
    settings = load({f"NOTIFIER_{name.upper()}_FILE": str(tmp_path / "secret")})
    assert getattr(settings, name) != getattr(Settings(), name)
    assert secret not in repr(settings) and "s3cret" not in repr(settings)


def test_empty_variables_count_as_not_set() -> None:
    assert load({"NOTIFIER_SLOTS": "", "NOTIFIER_SMTP_URL_FILE": ""}) == Settings()


NAMES: list[tuple[str, str | None]] = [
    ("NOTIFIER_STMP_URL", "NOTIFIER_SMTP_URL"),
    ("NOTIFIER_LINK_KEY", "NOTIFIER_LINK_KEYS"),
    ("NOTIFIER_LINK_KEY_FILE", "NOTIFIER_LINK_KEYS_FILE"),
    # settings, variables of our own that are none, and other people's
    ("NOTIFIER_SMTP_URL", None),
    ("NOTIFIER_SMTP_URL_FILE", None),
    ("NOTIFIER_API_KEY", None),
    ("NOTIFIER_OUTBOX_PORT", None),
    ("NOTIFIER_ACME_ERP_SECRET", None),
    ("SMTP_URL", None),
]


@pytest.mark.parametrize(("name", "meant"), NAMES)
def test_a_slip_of_the_pen_is_recognised(name: str, meant: str | None) -> None:
    assert nearest_setting(name) == meant
