"""Types that mean the same on both databases, and migrations that end where the tables are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select

from notifier.errors import StoreError
from notifier.store import SqlStore, migrate, newest_schema, open_store
from notifier.store.session import make_engine
from notifier.store.tables import events, metadata
from notifier.store.types import to_micros
from notifier.testing import ACME, NOW, event, notification
from tests.four import at_once
from tests.stores import DATABASES


def test_migrations_end_where_the_tables_are(store: SqlStore) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_store_knows_its_schema(store: SqlStore) -> None:
    with store.read() as tx:
        assert tx.schema_version() == newest_schema() == "0008"


def test_migrating_again_changes_nothing(store: SqlStore, store_url: str) -> None:
    with store.write() as tx:
        tx.save_events([event()])
    assert migrate(store_url) == newest_schema()
    with store.read() as tx:
        assert tx.count_unrouted() == 1


@pytest.mark.parametrize("kind", DATABASES)
def test_four_processes_may_migrate_at_once(kind: str, request: pytest.FixtureRequest) -> None:
    where = request.getfixturevalue("tmp_path" if kind == "sqlite" else "postgres_url")
    url = f"sqlite:///{where}/fresh.db" if kind == "sqlite" else where
    assert at_once(_migrate, url) == [newest_schema()] * 4
    engine = make_engine(open_store(url).url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def _migrate(number: int, url: str) -> str:
    return migrate(url)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 11, 23, 10, 0, 0, 123456, UTC),  # microseconds survive
        datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=-5))),  # another zone: the same instant
        datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),  # before the epoch
        datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),  # the end of the calendar
    ],
)
def test_times_come_back_as_the_same_instant_in_utc(store: SqlStore, moment: datetime) -> None:
    stored = event(time=moment)
    with store.write() as tx:
        tx.save_events([stored])
    with store.read() as tx:
        found = tx.event(ACME, stored.id)
    assert found is not None and found.time == moment
    assert found.time.utcoffset() == timedelta(0)


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without zone"):
        to_micros(datetime(2026, 11, 23))  # noqa: DTZ001  # a naive time is what is refused


def test_times_sort_and_compare_in_the_database(store: SqlStore) -> None:
    moments = [NOW + timedelta(microseconds=count) for count in (3, 1, 2)]
    with store.write() as tx:
        tx.save_events([event(subject=f"alert/{count}", time=moment) for count, moment in enumerate(moments)])
    with store.engine.connect() as connection:
        query = select(events.c.time).where(events.c.time > NOW + timedelta(microseconds=1)).order_by(events.c.time)
        assert list(connection.execute(query).scalars()) == [moments[2], moments[0]]


def test_a_failed_transaction_leaves_nothing(store: SqlStore) -> None:
    with pytest.raises(ZeroDivisionError):
        _fail_after_writing(store)
    with store.read() as tx:
        assert tx.count_unrouted() == 0


def _fail_after_writing(store: SqlStore) -> None:
    with store.write() as tx:
        tx.save_events([event()])
        raise ZeroDivisionError


def test_an_event_cannot_be_stored_twice_and_the_error_names_no_value_p10(store: SqlStore) -> None:
    """P10: neither the error nor what it was raised from quotes the row."""
    stored = event(data={"secret": "alice@example.com"})
    with store.write() as tx:
        tx.save_events([stored])
    with pytest.raises(StoreError) as refused, store.write() as tx:
        tx.save_events([stored])
    assert refused.value.conflict
    assert "alice@example.com" not in f"{refused.value} {refused.value.__cause__}"


def test_a_notification_without_its_event_is_refused(store: SqlStore) -> None:
    """Foreign keys are on, on SQLite too."""
    with pytest.raises(StoreError), store.write() as tx:
        tx.save_notifications([notification(event())], NOW)


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "sqlite+nothing"])
def test_an_address_we_cannot_use_is_refused_before_anything_is_connected(url: str) -> None:
    with pytest.raises(StoreError, match="DATABASE_URL"):
        open_store(url)


def test_a_store_that_is_away_is_a_store_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("nobody")
    away = open_store(f"postgresql://postgres@/nothing?host={folder}")
    with pytest.raises(StoreError) as error, away.read() as tx:
        tx.policy_version()
    assert not error.value.conflict
    away.close()


def test_a_text_too_long_for_the_database_is_refused_data(postgres_url: str) -> None:
    """The pipeline tells what can never be stored from a store that is away."""
    migrate(postgres_url)
    store = open_store(postgres_url)
    with pytest.raises(StoreError) as error, store.write() as tx:
        tx.save_events([event(content_hash="x" * 101)])
    assert error.value.refused and not error.value.conflict
    store.close()


def test_sqlite_writes_ahead_and_syncs(tmp_path_factory: pytest.TempPathFactory) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('pragmas')}/store.db"
    migrate(url)
    store = open_store(url)
    with store.engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}
    store.close()
