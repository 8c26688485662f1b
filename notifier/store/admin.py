"""Configuration versions, API keys, and what the operator's picture is made of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, case, func, inspect, select, text

from notifier.core.ids import SessionId, TenantId, first_id
from notifier.core.model import AttemptOutcome, ChannelName, NotificationStatus
from notifier.core.records import ApiKey, LaneStats, WorkerSession
from notifier.store.base import Base
from notifier.store.tables import api_keys, attempts, config_versions, events, lanes, notifications, tenants, workers

MOST_LATENCIES = 20_000  #: rows read for one histogram
_NEWEST_VERSION = select(func.max(config_versions.c.version))
LONGEST_TRY = timedelta(minutes=10)  #: an attempt that took longer (its process was stopped) is not among the recent


class AdminReads(Base):
    """Configuration, keys, health."""

    def policy_version(self) -> int:
        """Number of the configuration in force; 0 = none."""
        return int(self.connection.execute(_NEWEST_VERSION).scalar_one_or_none() or 0)

    def policy_text(self) -> tuple[int, str] | None:
        """Newest applied notifier.toml and its number."""
        query = select(config_versions.c.version, config_versions.c.text).order_by(config_versions.c.version.desc())
        row = self.connection.execute(query.limit(1)).one_or_none()
        return None if row is None else (row.version, row.text)

    def api_key(self, secret_hash: str) -> ApiKey | None:
        """By the hash of its secret, disabled ones too."""
        row = self.connection.execute(select(api_keys).where(api_keys.c.secret_hash == secret_hash)).one_or_none()
        return None if row is None else _key(row._mapping)

    def api_keys(self, tenant: TenantId | None = None) -> list[ApiKey]:
        """All keys, oldest first."""
        query = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
        if tenant is not None:
            query = query.where(api_keys.c.tenant == tenant)
        return [_key(row._mapping) for row in self.connection.execute(query)]

    def lane_stats(self, now: datetime) -> list[LaneStats]:
        """Per channel and priority: what waits, is under way, and how it ended."""
        status, waiting = notifications.c.status, notifications.c.due_at <= now

        def count(*conditions: Any) -> Any:
            return func.coalesce(func.sum(case((conditions[0], 1), else_=0)), 0)

        due = (status == NotificationStatus.DUE) & waiting
        query = (
            select(
                lanes.c.channel,
                lanes.c.priority,
                count(due),
                func.min(case((due, notifications.c.due_at))),
                count(status == NotificationStatus.CLAIMED),
                count(status.in_([NotificationStatus.SENT, NotificationStatus.DELIVERED])),
                count(status == NotificationStatus.FAILED),
                count(status == NotificationStatus.UNKNOWN),
                count(status == NotificationStatus.HELD),
            )
            .join(notifications, notifications.c.lane_id == lanes.c.id)
            .group_by(lanes.c.channel, lanes.c.priority)
            .order_by(lanes.c.channel, lanes.c.priority)
        )
        return [LaneStats(ChannelName(row[0]), *row[1:]) for row in self.connection.execute(query)]

    def latencies(self, since: datetime) -> list[tuple[ChannelName, str, float]]:
        """(channel, priority, seconds from acceptance to hand-over) of first tries that succeeded since.

        What was made to wait on purpose (a decision until it is final) counts from its due time.
        """
        table = notifications
        begin = case((table.c.due_at > table.c.created_at, table.c.due_at), else_=events.c.received_at)
        query = (
            select(table.c.channel, lanes.c.priority, begin, attempts.c.finished_at)
            .join(attempts, attempts.c.id == table.c.attempt_id)
            .join(lanes, lanes.c.id == table.c.lane_id)
            .join(events, events.c.id == table.c.event_id)
            .where(_ended(since), attempts.c.number == 1, attempts.c.outcome == AttemptOutcome.SENT)
            .limit(MOST_LATENCIES)
        )
        return [
            (ChannelName(channel), priority, (sent - begun).total_seconds())
            for channel, priority, begun, sent in self.connection.execute(query)
        ]

    def provider_ids(self, address: str, since: datetime) -> frozenset[str]:
        """The provider's names of what attempts that ended since then handed over to that address."""
        query = (
            select(attempts.c.provider_id)
            .join(notifications, notifications.c.id == attempts.c.notification_id)
            .where(
                _ended(since),
                attempts.c.provider_id.is_not(None),
                notifications.c.address == address,
            )
        )
        return frozenset(self.connection.execute(query).scalars())

    def schema_version(self) -> str | None:
        """The migration the database is at; None = not migrated."""
        if not inspect(self.connection).has_table("alembic_version"):
            return None
        return self.connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()

    def sessions(self) -> list[WorkerSession]:
        """Delivery workers that have not been buried."""
        rows = self.connection.execute(select(workers).order_by(workers.c.started_at))
        return [WorkerSession(SessionId(row.id), row.host, row.pid, row.started_at, row.heartbeat_at) for row in rows]


class AdminWrites(AdminReads):
    """Configuration and keys."""

    def save_policy(self, text: str, applied_by: str, now: datetime) -> int:
        """Store as the next numbered version; returns the number. Events set aside are routed again under it."""
        version = self.policy_version() + 1
        row = {"version": version, "text": text, "applied_by": applied_by, "applied_at": now}
        self.connection.execute(config_versions.insert().values(row))
        aside = events.update().where(events.c.routing_problem.is_not(None))
        self.connection.execute(aside.values(routed_at=None, routing_problem=None))
        return version

    def save_tenants(self, names: Mapping[TenantId, str]) -> None:
        """Insert or rename."""
        self.upsert(tenants, [{"id": tenant, "name": name} for tenant, name in names.items()], ["id"])

    def save_api_key(self, key: ApiKey) -> None:
        """Insert a new key."""
        row = {name: getattr(key, name) for name in [column.name for column in api_keys.c]}
        self.connection.execute(
            api_keys.insert().values(row | {"sources": list(key.sources), "types": list(key.types)})
        )

    def disable_api_key(self, key_id: str, now: datetime) -> bool:
        """Switch a key off; False when there is no such enabled key."""
        query = api_keys.update().where(api_keys.c.id == key_id, api_keys.c.disabled_at.is_(None))
        return self.connection.execute(query.values(disabled_at=now)).rowcount == 1


def _key(row: RowMapping) -> ApiKey:
    values = dict(row)
    values |= {"sources": tuple(values["sources"]), "types": tuple(values["types"]), "tenant": TenantId(row["tenant"])}
    return ApiKey(**values)


def _ended(since: datetime) -> ColumnElement[bool]:
    """Attempts that ended since, found by their ids, which sort by time: an index would cost each attempt something."""
    return and_(attempts.c.id >= first_id(since - LONGEST_TRY), attempts.c.finished_at >= since)
