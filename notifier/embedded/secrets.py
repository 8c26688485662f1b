"""Secrets of an embedded system: made at random on the first start, kept in files only their owner can read.

There is no default secret anywhere; a file that others can read is refused instead of used.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from notifier.config import MIN_KEY_BYTES
from notifier.embedded.folder import Folder
from notifier.errors import ConfigError, Problem
from notifier.outbox.settings import secret_variable

#: Endpoints of the demo fleet; notifier.toml names their secrets as `env:NOTIFIER_DEMO_<NAME>_SECRET`.
ENDPOINTS = ("erp", "orders", "images")


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """What the embedded parts share. Never printed."""

    twilio_account_sid: str
    twilio_auth_token: str
    #: Standard Webhooks secret (`whsec_...`) by endpoint name, which is the last part of its URL's path.
    endpoints: Mapping[str, str]

    def environment(self) -> dict[str, str]:
        """Variables under which notifier.toml finds the endpoint secrets."""
        return {secret_variable(name): secret for name, secret in self.endpoints.items()}


def load_secrets(folder: Folder) -> Secrets:
    """Return this installation's secrets, made on first use. Raises ConfigError when others can read the file."""
    _publish(folder.secrets, json.dumps(_make(), indent=2))
    _publish(folder.link_keys, _random_key() + "\n")
    _refuse_readable(folder.link_keys)
    _refuse_readable(folder.secrets)
    try:
        return Secrets(**json.loads(folder.secrets.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        problem = "is damaged; delete it and restart for new secrets"
        raise ConfigError([Problem(str(folder.secrets), problem)]) from None


def _make() -> dict[str, object]:
    return {
        "twilio_account_sid": "AC" + secrets.token_hex(16),
        "twilio_auth_token": secrets.token_hex(16),
        "endpoints": {name: "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode() for name in ENDPOINTS},
    }


def _random_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(MIN_KEY_BYTES)).decode()


def _publish(path: Path, text: str) -> None:
    """Make the file whole or not at all; of two processes that try, the first wins."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _refuse_readable(path: Path) -> None:
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise ConfigError([Problem(str(path), "belongs to another user: refused")])
    if found.st_mode & 0o077:
        raise ConfigError([Problem(str(path), f"can be read by other users: run `chmod 600 {path}`")])
