"""Switches in the database: what is off, which lanes and rows that stops, and how held rows come back.

Turning a switch changes its own row alone. Lanes that are off are left out by a condition in the claim. An event type
cannot be seen in a lane: rows of one that is off become `held` when a claim meets them, and are due again, some at a
time, when no switch stops them any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, false, literal_column, not_, or_, select, true

from notifier.core.ids import LaneId, NotificationId, TenantId
from notifier.core.model import ChannelName, NotificationStatus
from notifier.core.switches import SWITCHED_OFF, Switch, stopped_by
from notifier.store.base import Base, chunks
from notifier.store.lanes import wake_lanes
from notifier.store.tables import lanes, notifications, switches
from notifier.store.types import Word

HELD = literal_column(f"'{NotificationStatus.HELD}'", Word())  #: a parameter would not meet the partial index
IS_CALLBACK = lanes.c.channel == ChannelName.CALLBACK.value
MOST_HELD = 400  #: rows held or released by one transaction


def no_lane_switch() -> ColumnElement[bool]:
    """Lanes that no switch stops as a whole. While nothing is off, as nearly always, that is asked only once."""
    nothing = ~exists().where(switches.c.id.is_not(None))
    stops = (
        switches.c.kind == "",
        or_(switches.c.tenant == "", switches.c.tenant == lanes.c.tenant),
        or_(switches.c.channel == "", switches.c.channel == lanes.c.channel),
        or_(switches.c.endpoint == "", and_(switches.c.endpoint == lanes.c.target, IS_CALLBACK)),
    )
    return or_(nothing, ~exists().where(*stops))


def any_kind_off() -> ColumnElement[bool]:
    """Whether some event type is off, anywhere: then a claim has to look at its rows."""
    return exists().where(switches.c.kind != "")


def _in_lanes_of(switch: Switch) -> ColumnElement[bool]:
    named = ((lanes.c.tenant, switch.tenant), (lanes.c.channel, switch.channel), (lanes.c.target, switch.endpoint))
    conditions = [column == value for column, value in named if value]
    if switch.endpoint:
        conditions.append(IS_CALLBACK)
    return and_(true(), *conditions)


class SwitchReads(Base):
    """What is off."""

    def switches(self) -> list[Switch]:
        """Everything that is off, the oldest first."""
        return [Switch(**row) for row in self.connection.execute(select(switches).order_by(switches.c.id)).mappings()]

    def anything_held(self) -> bool:
        """Whether any row is held, be it to be released or not."""
        query = select(notifications.c.id).where(notifications.c.status == HELD).limit(1)
        return self.connection.execute(query).first() is not None


class SwitchWrites(SwitchReads):
    """Off and on."""

    def switch_off(self, switch: Switch) -> bool:
        """Turn it off; False when the same is off already."""
        named = ("tenant", "channel", "kind", "endpoint")
        same = [switches.c[name] == getattr(switch, name) for name in named]
        if self.connection.execute(select(switches.c.id).where(*same)).one_or_none() is not None:
            return False
        row = {column.name: getattr(switch, column.name) for column in switches.c}
        self.connection.execute(switches.insert().values(row))
        return True

    def start_gently(self, switch: Switch, after: LaneId | None) -> LaneId | None:
        """Before it is on again: the lanes it stopped begin with one delivery under way. Some at a time, by id.

        Returns the last one changed, None when none is left. What is off claims nothing meanwhile.
        """
        stopped = _in_lanes_of(switch) if switch.whole_lanes else false()
        query = select(lanes.c.id).where(stopped, lanes.c.id > (after or "")).order_by(lanes.c.id).limit(MOST_HELD)
        ids = self.connection.execute(self.locked(query)).scalars().all()
        if ids:
            self.connection.execute(lanes.update().where(lanes.c.id.in_(ids)).values(in_flight_window=1))
        return LaneId(ids[-1]) if ids else None

    def switch_on(self, switch_id: str) -> bool:
        """Turn it on again; False when no such switch is off."""
        return self.connection.execute(switches.delete().where(switches.c.id == switch_id)).rowcount == 1

    def hold_stopped(self, rows: Sequence[NotificationId]) -> list[NotificationId]:
        """Of rows that a claim has locked, hold those of event types that are off; returns the others."""
        off = self.switches()
        stopped: set[NotificationId] = set()
        table = notifications
        for some in chunks(rows):
            query = select(table.c.id, table.c.tenant, table.c.channel, table.c.kind, table.c.address)
            for row in self.connection.execute(query.where(table.c.id.in_(some))):
                if stopped_by(off, TenantId(row.tenant), ChannelName(row.channel), row.kind, row.address):
                    stopped.add(NotificationId(row.id))
        for some in chunks(sorted(stopped)):
            values = {"status": NotificationStatus.HELD, "reason": SWITCHED_OFF}
            self.connection.execute(table.update().where(table.c.id.in_(some)).values(values))
        return [row for row in rows if row not in stopped]

    def release_held(self, now: datetime) -> int:
        """End held rows that are past their life and make due those that nothing stops any more; returns how many."""
        return self._end_late(now) + self._release()

    def _release(self) -> int:
        off = [switch for switch in self.switches() if switch.kind]
        free = notifications.c.kind.not_in({switch.kind for switch in off})
        partly = [
            and_(notifications.c.kind == kind, not_(or_(*(_in_lanes_of(one) for one in off if one.kind == kind))))
            for kind in sorted({switch.kind for switch in off})
        ]
        table = notifications
        query = (
            select(table.c.id, table.c.lane_id, table.c.due_at)
            .join(lanes, lanes.c.id == table.c.lane_id)
            .where(table.c.status == HELD, or_(free, *partly))
            .order_by(table.c.id)
            .limit(MOST_HELD)
        )
        if self.on_postgresql:
            query = query.with_for_update(of=table, skip_locked=True, key_share=True)
        rows = self.connection.execute(query).all()
        if rows:
            again = table.update().where(table.c.id.in_([row.id for row in rows]))
            self.connection.execute(again.values(status=NotificationStatus.DUE, reason=None))
            wake_lanes(self.connection, [(LaneId(row.lane_id), row.due_at) for row in rows])
        return len(rows)

    def _end_late(self, now: datetime) -> int:
        table = notifications
        late = (table.c.status == HELD, table.c.expires_at <= now)
        query = select(table.c.id).where(*late).limit(MOST_HELD)
        ids = self.connection.execute(self.locked(query, skip=True)).scalars().all()
        if ids:
            ended = table.update().where(table.c.id.in_(ids))
            self.connection.execute(ended.values(status=NotificationStatus.EXPIRED, reason=SWITCHED_OFF))
        return len(ids)
