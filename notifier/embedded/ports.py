"""Which ports on 127.0.0.1 the embedded parts take.

The same as last time if they are free, so that links in messages caught yesterday still open; else the default, else
the next free one. A port the user asked for is taken or refused, never replaced.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

from notifier.embedded.folder import write_private
from notifier.embedded.part import Part
from notifier.errors import ConfigError, Problem

HOST = "127.0.0.1"
LOOK_AHEAD = 200


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the embedded parts listen."""

    web: int = 8000
    outbox: int = 8025  #: page, Twilio-shaped API and callback receiver
    smtp: int = 8026


def choose(environ: Mapping[str, str], record: Path) -> Ports:
    """Choose and record. Raises ConfigError naming the variable when a port that was asked for is taken or no port."""
    asked, problems = _asked(environ)
    last, taken = _recorded(record), set(asked.values())

    def port_for(name: str, default: int) -> int:
        port = asked.get(name) or _next_free(last.get(name, default), default, taken)
        taken.add(port)
        return port

    standard = Ports()
    chosen = Ports(
        web=port_for("web", standard.web),
        outbox=port_for("outbox", standard.outbox),
        smtp=port_for("smtp", standard.smtp),
    )
    problems += [Problem(_variable(name), _taken(port, name)) for name, port in asked.items() if not free(port)]
    if problems:
        raise ConfigError(problems)
    write_private(record, json.dumps(asdict(chosen)))
    return chosen


def refuse_taken(parts: Iterable[Part]) -> None:
    """Raise ConfigError naming every part whose port another program holds."""
    wanted = [(part.name, purpose, port) for part in parts for purpose, port in part.ports.items()]
    problems = [Problem(name, _taken(port, purpose)) for name, purpose, port in wanted if not free(port)]
    if problems:
        raise ConfigError(problems)


def free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closing connections do not matter
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _next_free(first: int, default: int, taken: set[int]) -> int:
    for port in chain([first], range(default, default + LOOK_AHEAD)):
        if port not in taken and free(port):
            return port
    raise ConfigError([Problem("ports", f"none of {LOOK_AHEAD} ports from {default} on is free")])


def _asked(environ: Mapping[str, str]) -> tuple[dict[str, int], list[Problem]]:
    """Ports the user named: the outbox's by variable, the web's inside a loopback NOTIFIER_BASE_URL."""
    asked: dict[str, int] = {}
    problems: list[Problem] = []
    for name in ("outbox", "smtp"):
        if text := environ.get(_variable(name), ""):
            if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
                asked[name] = int(text)
            else:
                problems.append(Problem(_variable(name), "is not a port number"))
    if (port := _loopback_port(environ.get(_variable("web"), ""))) is not None:
        asked["web"] = port
    return asked, problems


def _variable(name: str) -> str:
    return {"web": "NOTIFIER_BASE_URL", "outbox": "NOTIFIER_OUTBOX_PORT", "smtp": "NOTIFIER_OUTBOX_SMTP_PORT"}[name]


def _loopback_port(url: str) -> int | None:
    try:
        parts = urlsplit(url)
        return parts.port if parts.hostname in ("127.0.0.1", "localhost") else None
    except ValueError:
        return None


def _taken(port: int, purpose: str) -> str:
    return f"port {port}, wanted for {purpose}, is taken by another program"


def _recorded(record: Path) -> dict[str, int]:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        return {name: port for name, port in found.items() if isinstance(port, int) and 0 < port < 65536}
    except (OSError, ValueError, AttributeError):
        return {}
