"""What routing made, saved: messages, notifications, links, and their lanes' wake-up times.

On PostgreSQL it is one statement for the whole chunk, since each statement costs a round trip and as much again of the
client's time, and lanes are locked only from there to the commit. SQLite, which is inside the process, takes one
statement for each table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Dialect, bindparam, select

from notifier.core.ids import LaneId, new_id
from notifier.core.lanes import NEW_WINDOW
from notifier.core.model import LaneKey, NewNotification, NotificationStatus
from notifier.store.base import Base, among
from notifier.store.lanes import wake_lanes
from notifier.store.rowsets import Columns, Write, as_text, recordset, writers
from notifier.store.tables import lanes, links, messages, notifications

KEY = ("tenant", "channel", "priority", "target")  #: what a lane is known by


class RoutedWrites(Base):
    """The writing half of the route transaction."""

    def save_notifications(self, new: Sequence[NewNotification], now: datetime) -> int:
        """Insert with messages, links and lanes; what exists already (P2) is left alone. Returns the new due ones."""
        once = list({_identity(item): item for item in reversed(new)}.values())[::-1]  # of two the first
        if not once:
            return 0
        saved = self._save_together(once, now) if self.on_postgresql else self._save_by_table(once, now)
        return sum(item.status is NotificationStatus.DUE for item in saved)

    # -- PostgreSQL -----------------------------------------------------------------------------------------------

    def _save_together(self, once: Sequence[NewNotification], now: datetime) -> list[NewNotification]:
        """In one statement, unless lanes have to be made first. Returns the new ones."""
        statement = _together(self.connection.dialect)
        saved: set[str] = set()
        left = list(once)
        while left:
            answer = self.connection.exec_driver_sql(statement.text, statement.parameters(left, now)).all()
            saved |= {row.id for row in answer if row.saved}
            homeless = {row.id for row in answer if row.homeless}
            left = [item for item in left if item.id in homeless]
            self._make_lanes({item.lane: item.in_flight_limit for item in left})
        return [item for item in once if item.id in saved]

    # -- SQLite ---------------------------------------------------------------------------------------------------

    def _save_by_table(self, once: Sequence[NewNotification], now: datetime) -> list[NewNotification]:
        known = self._known(once)
        fresh = [item for item in once if _identity(item) not in known]
        if not fresh:
            return []
        lane_ids = self._lanes({item.lane: item.in_flight_limit for item in fresh})
        self._insert(messages, [_message_row(item) for item in fresh if item.message])
        rows = [_row(item, now) | {"lane_id": lane_ids[item.lane]} for item in fresh]
        self._insert(notifications, rows)
        self._insert(links, _link_rows(fresh))
        wake_lanes(
            self.connection,
            [(lane_ids[item.lane], item.due_at) for item in fresh if item.status is NotificationStatus.DUE],
        )
        return fresh

    def _known(self, once: Sequence[NewNotification]) -> set[tuple[str, ...]]:
        events = self._many(sorted({item.event_id for item in once}))
        found: set[tuple[str, ...]] = set()
        for tenant in {item.tenant for item in once}:
            found.update(map(tuple, self.connection.execute(_KNOWN, {"owner": tenant, "events": events})))
        return found

    def _lanes(self, limits: Mapping[LaneKey, int | None]) -> dict[LaneKey, LaneId]:
        found = {key: lane for key in limits if (lane := self._lane(key))}
        missing = {key: limit for key, limit in limits.items() if key not in found}
        self._make_lanes(missing)
        return found | {key: lane for key in missing if (lane := self._lane(key))}

    def _lane(self, key: LaneKey) -> LaneId | None:
        found = self.connection.execute(_LANE, _lane_row(key)).scalar_one_or_none()
        return LaneId(found) if found else None

    # -- both -----------------------------------------------------------------------------------------------------

    def _make_lanes(self, limits: Mapping[LaneKey, int | None]) -> None:
        """In sorted order, so that two transactions cannot deadlock; another one's lane is as good as ours."""
        wanted = sorted(limits, key=lambda key: (key.tenant, key.channel, key.priority, key.target))
        rows = [
            {**_lane_row(key), "id": new_id(), "in_flight_limit": limits[key], "in_flight_window": NEW_WINDOW}
            for key in wanted
        ]
        self.insert_new(lanes, rows)


def _identity(item: NewNotification) -> tuple[str, ...]:
    """Promise P2: there is one of these."""
    return (item.tenant, item.event_id, item.channel.value, item.address, item.purpose.value)


def _lane_row(key: LaneKey) -> dict[str, str]:
    return {
        "tenant": key.tenant,
        "channel": key.channel.value,
        "priority": key.priority.value,
        "target": key.target,
    }


def _row(item: NewNotification, created: datetime) -> dict[str, Any]:
    """All but the lane."""
    return {
        "id": item.id,
        "tenant": item.tenant,
        "event_id": item.event_id,
        "subject": item.subject,
        "kind": item.kind,
        "channel": item.channel.value,
        "purpose": item.purpose.value,
        "address": item.address,
        "recipient_key": item.recipient_key,
        "recipient_id": item.recipient_id,
        "rule": item.rule,
        "role": item.role,
        "message_id": item.message.id if item.message else None,
        "status": item.status.value,
        "reason": item.reason,
        "due_at": item.due_at,
        "expires_at": item.expires_at,
        "created_at": created,
    }


def _message_row(item: NewNotification) -> dict[str, Any]:
    message = item.message
    assert message is not None
    return {
        "id": message.id,
        "tenant": message.tenant,
        "kind": message.kind,
        "channel": message.channel.value,
        "locale": message.locale,
        "template_hash": message.template_hash,
        "context": dict(message.context),
    }


def _link_rows(made: Sequence[NewNotification]) -> list[dict[str, Any]]:
    return [
        {
            "id": link.id,
            "tenant": link.tenant,
            "recipient_key": link.recipient_key,
            "recipient_id": link.recipient_id,
            "purpose": link.purpose,
            "object": link.object,
            "object_version": link.object_version,
            "expires_at": link.expires_at,
            "event_id": link.event_id,
            "notification_id": item.id,
            "may_act": link.may_act,
            "code_hash": link.code_hash,
        }
        for item in made
        for link in item.links
    ]


_KNOWN = select(*(notifications.c[name] for name in ("tenant", "event_id", "channel", "address", "purpose"))).where(
    notifications.c.tenant == bindparam("owner"), among(notifications.c.event_id, "events", on_postgresql=False)
)
_LANE = select(lanes.c.id).where(*(lanes.c[name] == bindparam(name) for name in KEY))

# -- the one statement ---------------------------------------------------------------------------------------------

NOTIFICATION = (
    "id, tenant, event_id, subject, kind, channel, purpose, address, recipient_key, recipient_id, rule, role, "
    "message_id, status, reason, due_at, expires_at, created_at"
)
MESSAGE = "id, tenant, kind, channel, locale, template_hash, context"
LINK = (
    "id, tenant, recipient_key, recipient_id, purpose, object, object_version, expires_at, event_id, notification_id, "
    "may_act, code_hash"
)
#: Lanes are locked in the order of their ids, so that two transactions cannot deadlock; a wake-up time is changed
#: under that lock, since whoever claims from the lane sets it anew without seeing our rows. What has no lane yet, or
#: exists already, is not new, and its message and links are not kept.
TOGETHER = """
WITH given AS MATERIALIZED (SELECT * FROM {given}),
lane AS MATERIALIZED (
    SELECT id, tenant, channel, priority, target FROM lanes
    WHERE (tenant, channel, priority, target) IN (SELECT tenant, channel, priority, target FROM given)
    ORDER BY id FOR NO KEY UPDATE),
new AS (
    INSERT INTO notifications ({notification}, lane_id)
    SELECT {given_notification}, lane.id FROM given JOIN lane USING (tenant, channel, priority, target)
    ON CONFLICT DO NOTHING RETURNING id, message_id, lane_id, status, due_at),
message AS (
    INSERT INTO messages ({message})
    SELECT {message} FROM {given_messages} WHERE id IN (SELECT message_id FROM new)),
link AS (
    INSERT INTO links ({link})
    SELECT {link} FROM {given_links} WHERE notification_id IN (SELECT id FROM new)),
woken AS (
    UPDATE lanes SET next_due_at = LEAST(lanes.next_due_at, due.moment)
    FROM (SELECT lane_id, min(due_at) AS moment FROM new WHERE status = 'due' GROUP BY lane_id) AS due
    WHERE lanes.id = due.lane_id)
SELECT given.id, lane.id IS NULL AS homeless, new.id IS NOT NULL AS saved
FROM given LEFT JOIN lane USING (tenant, channel, priority, target) LEFT JOIN new ON new.id = given.id
"""


@dataclass(frozen=True, slots=True)
class _Together:
    text: str
    given: Mapping[str, Write | None]
    messages: Mapping[str, Write | None]
    links: Mapping[str, Write | None]

    def parameters(self, made: Sequence[NewNotification], now: datetime) -> tuple[str, str, str]:
        """The rows of each table as one text."""
        rows = [_row(item, now) | {"priority": item.lane.priority.value, "target": item.lane.target} for item in made]
        return (
            as_text(self.given, rows),
            as_text(self.messages, [_message_row(item) for item in made if item.message]),
            as_text(self.links, _link_rows(made)),
        )


@cache
def _together(dialect: Dialect) -> _Together:
    names = NOTIFICATION.split(", ")
    given: Columns = {name: notifications.c[name] for name in names} | {
        name: lanes.c[name] for name in ("priority", "target")
    }
    of_messages = {name: messages.c[name] for name in MESSAGE.split(", ")}
    of_links = {name: links.c[name] for name in LINK.split(", ")}
    text = TOGETHER.format(
        given=recordset(dialect, 1, given),
        notification=NOTIFICATION,
        given_notification=", ".join(f"given.{name}" for name in names),
        message=MESSAGE,
        given_messages=recordset(dialect, 2, of_messages),
        link=LINK,
        given_links=recordset(dialect, 3, of_links),
    )
    return _Together(text, *(writers(dialect, columns) for columns in (given, of_messages, of_links)))
