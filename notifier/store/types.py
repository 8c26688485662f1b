"""Column types that mean the same on SQLite and PostgreSQL: UTC microseconds, ids, JSON, enum texts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Dialect, String, Text
from sqlalchemy.types import TypeDecorator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC. Raises ValueError for a naive time: it has no meaning here."""
    if moment.tzinfo is None:
        raise ValueError("a time without zone cannot be stored")
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(value: int) -> datetime:
    """The UTC time of a stored value."""
    return _EPOCH + timedelta(microseconds=value)


class UtcTime(TypeDecorator[datetime]):
    """Aware datetime as BIGINT microseconds: sorts, compares and subtracts the same on both databases."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """To the database."""
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        return None if value is None else from_micros(value)


class JsonText(TypeDecorator[Any]):
    """JSON as compact text. Never searched by the database, so that TEXT is the cheapest on both."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        """To the database."""
        return _COMPACT.encode(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """From the database."""
        return None if value is None else json.loads(value)


def Id() -> String:  # reads as a type
    """A UUID as its canonical text."""
    return _bytewise(36)


def Word() -> String:
    """A status, reason, name or code."""
    return _bytewise(100)


def _bytewise(length: int) -> String:
    """On PostgreSQL compared byte by byte: a language's rules cost several times as much at each step into an index."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")
