"""Structured logs: a sentence for people, an `action` word and ids for machines; JSON lines or readable text.

A processor is the last guard of promise P10: fields that could hold a secret are starred, link tokens and short codes
are cut out of every text. Uvicorn's own access log is off; the web application logs the route template instead.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

#: The last four are a task's arguments, as Celery hands them to its log: a sender's events.
SECRET_FIELDS = frozenset(
    {"token", "code", "number", "secret", "password", "authorization", "key", "signature", "body"}
    | {"args", "kwargs", "argsrepr", "kwargsrepr"}
)
MOST_DEEP = 4  #: levels inside a field that are looked at
_LINK = re.compile(r"/(l|s)/[A-Za-z0-9_~-]{8,}")
_WEBHOOK_SECRET = re.compile(r"whsec_[A-Za-z0-9+/=_-]+|nk_[A-Za-z0-9]+_[A-Za-z0-9_-]+")
_EMAIL = re.compile(r"([\w.!#$%&*+/=?^{|}~-])[\w.!#$%&*+/=?^{|}~-]{0,63}@(?=[\w-]{1,63}\.\w)")
_PHONE = re.compile(r"\+(\d\d)\d{3,11}(\d\d)(?!\d)")


def scrub(text: str) -> str:
    """Cut link tokens, short codes and key-like words out of a text, and mask the addresses in it."""
    text = _WEBHOOK_SECRET.sub("[secret]", _LINK.sub(r"/\1/[link]", text))
    return _PHONE.sub(r"+\1…\2", _EMAIL.sub(r"\1…@", text)) if "@" in text or "+" in text else text


def _guard(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if not name.startswith("_"):  # structlog's own, taken out before anything is written
            event[name] = "***" if name in SECRET_FIELDS else _guarded(value, MOST_DEEP)
    return event


def _guarded(value: Any, deep: int) -> Any:
    """The value without secrets, inside what it holds too."""
    if isinstance(value, str):
        return scrub(value)
    if not isinstance(value, dict | list | tuple):
        return value
    if deep == 0:
        return "…"
    if isinstance(value, dict):
        return {name: "***" if name in SECRET_FIELDS else _guarded(inner, deep - 1) for name, inner in value.items()}
    return [_guarded(inner, deep - 1) for inner in value]


def set_up(form: str = "json", level: str = "INFO") -> None:
    """Send structlog and the standard library's loggers to stderr in one form ("json" or "text")."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _guard,
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("uvicorn.access", "httpx", "aiosmtplib", "celery.redirected"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
