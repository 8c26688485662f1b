"""The outbox's settings, and what it refuses: any way in which somebody else could read live links."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from notifier.errors import ConfigError, Problem

HOST = "127.0.0.1"  #: not a setting
HTTP_PORT, SMTP_PORT = 8025, 8026
NO_CREDENTIALS = "has no default; `notifier up` makes a random one"


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """Everything the three servers need."""

    folder: Path  #: of the three logs
    http_port: int
    smtp_port: int
    account_sid: str
    auth_token: str = field(repr=False)
    base_url: str  #: of the web application: where links lead and status call-backs go
    #: Standard Webhooks secrets by variable name, see `secret_variable`.
    secrets: Mapping[str, str] = field(repr=False)

    def secret_of(self, endpoint: str) -> str:
        """The secret of an endpoint, known by the last part of its URL's path; "" = none known."""
        return self.secrets.get(secret_variable(endpoint), "")


def secret_variable(endpoint: str) -> str:
    """Name of the environment variable that holds an endpoint's secret."""
    return f"NOTIFIER_DEMO_{endpoint.upper().replace('-', '_')}_SECRET"


def load_outbox(environ: Mapping[str, str]) -> OutboxSettings:
    """Read the settings from any mapping. Raises ConfigError with every problem at once."""
    problems: list[Problem] = []
    ports = [_port(environ, name, default, problems) for name, default in _PORTS]
    base_url = environ.get("NOTIFIER_BASE_URL") or "http://127.0.0.1:8000"
    if is_public(base_url):
        problems.append(Problem("NOTIFIER_BASE_URL", "is public; the outbox would show links that work for everybody"))
    if environ.get("NOTIFIER_OUTBOX_HOST", HOST) != HOST:
        problems.append(Problem("NOTIFIER_OUTBOX_HOST", f"the outbox listens on {HOST} only"))
    for name in ("NOTIFIER_TWILIO_ACCOUNT_SID", "NOTIFIER_TWILIO_AUTH_TOKEN"):
        if not environ.get(name):
            problems.append(Problem(name, NO_CREDENTIALS))
    if problems:
        raise ConfigError(problems)
    return OutboxSettings(
        folder=Path(environ.get("NOTIFIER_DATA_DIR") or ".notifier") / "outbox",
        http_port=ports[0],
        smtp_port=ports[1],
        account_sid=environ["NOTIFIER_TWILIO_ACCOUNT_SID"],
        auth_token=environ["NOTIFIER_TWILIO_AUTH_TOKEN"],
        base_url=base_url.rstrip("/"),
        secrets={name: value for name, value in environ.items() if name.startswith("NOTIFIER_DEMO_")},
    )


_PORTS = (("NOTIFIER_OUTBOX_PORT", HTTP_PORT), ("NOTIFIER_OUTBOX_SMTP_PORT", SMTP_PORT))


def _port(environ: Mapping[str, str], name: str, default: int, problems: list[Problem]) -> int:
    text = environ.get(name) or str(default)
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    problems.append(Problem(name, "is not a port number"))
    return default


def is_public(base_url: str) -> bool:
    """Whether links lead to other machines: live links in an open outbox would then be keys to real orders."""
    try:
        host = urlsplit(base_url).hostname
    except ValueError:
        return True
    return bool(host) and not is_loopback(host or "")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine, without asking a name server."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
