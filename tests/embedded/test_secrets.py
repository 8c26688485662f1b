"""Secrets of an embedded system are random, private and stay the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from notifier.config import load
from notifier.embedded.folder import Folder, open_folder, write_private
from notifier.embedded.secrets import ENDPOINTS, load_secrets
from notifier.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return open_folder(tmp_path / "data")


def test_the_first_start_makes_random_secrets_that_later_starts_find(folder: Folder, tmp_path: Path) -> None:
    first = load_secrets(folder)
    assert load_secrets(folder) == first
    assert load_secrets(open_folder(tmp_path / "other")) != first, "nothing is a default"
    assert set(first.endpoints) == set(ENDPOINTS)
    assert len(set(first.endpoints.values())) == len(ENDPOINTS)


def test_link_keys_are_long_enough_for_the_settings(folder: Folder) -> None:
    load_secrets(folder)
    settings = load({"NOTIFIER_LINK_KEYS_FILE": str(folder.link_keys)})
    assert [len(key) for key in settings.link_key_bytes] == [32]


def test_a_link_key_added_by_hand_stays(folder: Folder) -> None:
    load_secrets(folder)
    with folder.link_keys.open("a") as file:
        file.write("A" * 43 + "=\n")
    load_secrets(folder)
    assert len(load({"NOTIFIER_LINK_KEYS_FILE": str(folder.link_keys)}).link_keys) == 2


def test_only_the_owner_can_read_what_the_folder_holds(folder: Folder) -> None:
    """P10: also with a wide-open umask."""
    before = os.umask(0)
    try:
        load_secrets(folder)
        write_private(folder.run / "environment.json", "{}")
    finally:
        os.umask(before)
    for path in (folder.secrets, folder.link_keys, folder.run / "environment.json"):
        assert path.stat().st_mode & 0o077 == 0, path
    for path in (folder.run, folder.logs, folder.outbox, folder.valkey):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
@pytest.mark.parametrize("which", ["secrets", "link_keys"])
def test_a_file_that_others_can_read_is_refused(folder: Folder, which: str, mode: int) -> None:
    load_secrets(folder)
    path = getattr(folder, which)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_secrets(folder)


def test_a_damaged_file_is_named_without_its_content(folder: Folder) -> None:
    load_secrets(folder)
    folder.secrets.write_text('{"twilio_auth_token": "hunter2"}')
    with pytest.raises(ConfigError, match="is damaged") as raised:
        load_secrets(folder)
    assert "hunter2" not in str(raised.value)


def test_secrets_do_not_print_themselves(folder: Folder) -> None:
    """P10."""
    secrets = load_secrets(folder)
    assert secrets.twilio_auth_token not in repr(secrets)
    assert secrets.twilio_auth_token not in f"{secrets}"
