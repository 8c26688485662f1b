"""Connections to PostgreSQL: one that died in the pool is replaced unnoticed, one in use is not asked needlessly."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from notifier.store import SqlStore, open_store, session
from tests.peers.postgres import administer


@pytest.fixture
def store(postgres_url: str) -> SqlStore:
    return open_store(postgres_url)


def backend(store: SqlStore) -> int:
    """The server process of the connection that is lent next."""
    with store.read() as tx:
        return int(tx.connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


def test_a_connection_that_died_while_it_rested_is_replaced_unnoticed(
    store: SqlStore, postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "RESTED", 0.0)
    first = backend(store)
    administer(postgres_server, f"SELECT pg_terminate_backend({first}, 5000)")
    assert backend(store) != first
    store.close()


def test_a_connection_in_use_is_not_asked_whether_it_lives(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(PGDialect_psycopg, "do_ping", lambda _, connection: asked.append(connection))
    assert backend(store) == backend(store)
    assert len(asked) == 1  # when it was new
    store.close()
