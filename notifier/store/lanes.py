"""Lane rows: wake-up times, and what the ends of attempts change about rest, breaker and in-flight window.

`next_due_at` is never later than the earliest due row of the lane that still lives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Row,
    Select,
    Text,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
)

from notifier.core.ids import LaneId, TenantId
from notifier.core.lanes import (
    NEW_WINDOW,
    PROVEN_FOR,
    Lane,
    LaneChange,
    LaneState,
    Told,
    after,
    beside,
    released,
    turned,
)
from notifier.core.model import ChannelName, LaneKey, LaneSign, NotificationStatus, Priority, Settlement
from notifier.store.base import Base, among, locking
from notifier.store.bulk import Bulk
from notifier.store.tables import lanes, notifications
from notifier.store.types import Id, UtcTime, Word

#: Written into the statements: with a parameter in its place a prepared plan cannot use a partial index.
DUE = literal_column(f"'{NotificationStatus.DUE}'", Word())
OPEN = "open"  #: `breaker` of a lane whose receiver is in trouble
SPEAK = (LaneSign.BUSY, LaneSign.TROUBLE)  #: change a steady lane
MOST_RELEASED = 400  #: lanes released by one transaction


class LaneWrites(Base):
    """What becomes of lanes."""

    def move_lanes(self, settlements: Sequence[Settlement]) -> list[LaneChange]:
        """Wake lanes for rows that are due again; change those whose receivers told something new.

        Returns those that came to rest or are back.

        A steady lane with nothing but successes is left as it is: that costs this one look at the batch's lanes.
        """
        due = [
            (item.lane_id, item.due_at) for item in settlements if item.status is NotificationStatus.DUE and item.due_at
        ]
        speak = {item.lane_id for item in settlements if item.lane_sign in SPEAK}
        rows = self._lock_moving({item.lane_id for item in settlements}, {lane for lane, _ in due} | speak, speak)
        wake_lanes(self.connection, due)
        states, changed = _told(rows, settlements)
        self._save_states(rows, states)
        return changed

    def release_lanes(self, tenant: TenantId, channel: ChannelName, target: str | None, now: datetime) -> list[Lane]:
        """End the rest of a receiver's lanes (None: of every receiver), some of them; they come back gently.

        Returns them as they rested; none when none is left.
        """
        mine = (lanes.c.tenant == tenant, lanes.c.channel == channel.value, lanes.c.paused_until > now)
        query = select(lanes).where(*mine).order_by(lanes.c.id).limit(MOST_RELEASED)
        if target is not None:
            query = query.where(lanes.c.target == target)
        rows = self.connection.execute(self.locked(query)).all()
        self._save_states(rows, {LaneId(row.id): released(state_of(row)) for row in rows})
        return [lane_from(row) for row in rows]

    def limit_lanes(self, limits: Mapping[tuple[TenantId, str], int]) -> None:
        """Lanes of these endpoints may have so many under way from now on."""
        endpoint = and_(
            lanes.c.tenant == bindparam("owner"),
            lanes.c.target == bindparam("endpoint"),
            lanes.c.channel == ChannelName.CALLBACK.value,
        )
        query = lanes.update().where(endpoint, lanes.c.in_flight_limit.is_distinct_from(bindparam("most")))
        rows = [{"owner": tenant, "endpoint": name, "most": limits[tenant, name]} for tenant, name in sorted(limits)]
        if rows:
            all_of_them = select(lanes.c.id).where(lanes.c.channel == ChannelName.CALLBACK.value).order_by(lanes.c.id)
            self.connection.execute(self.locked(all_of_them))  # in order, as everybody else does
            self.connection.execute(query.values(in_flight_limit=bindparam("most")), rows)

    def _lock_moving(self, batch: set[LaneId], touched: set[LaneId], speak: set[LaneId]) -> Sequence[Row[Any]]:
        """Locked together and in order: lanes that may change, and the siblings of those that may come to rest."""
        query = _moving(bool(speak), self.on_postgresql)
        named = {"batch": batch, "touched": touched, "speak": speak}
        return self.connection.execute(query, {name: self._many(sorted(ids)) for name, ids in named.items()}).all()

    def _save_states(self, rows: Sequence[Row[Any]], states: Mapping[LaneId, LaneState]) -> None:
        changed = [_values(row.id, states[row.id]) for row in rows if states[row.id] != state_of(row)]
        _SAVE.execute(self.connection, changed)


def wake_lanes(connection: Connection, due: Iterable[tuple[LaneId, datetime]]) -> None:
    """Rows became due in these lanes. Lanes are touched in sorted order, so that two transactions cannot deadlock."""
    earliest: dict[LaneId, datetime] = {}
    for lane, moment in due:
        earliest[lane] = min(moment, earliest.get(lane, moment))
    if earliest:
        connection.execute(_WAKE, [{"lane": lane, "moment": earliest[lane]} for lane in sorted(earliest)])


def refresh_lanes(connection: Connection, touched: Sequence[LaneId], now: datetime) -> None:
    """They had their turn: set the wake-up times anew from the rows. The caller holds these lanes' locks."""
    stale = now - PROVEN_FOR
    _REFRESH.execute(connection, [{"lane": lane, "now": now, "stale": stale} for lane in touched])


def window_from(stale: ColumnElement[datetime]) -> ColumnElement[int | None]:
    """The in-flight window; a lane that had no turn since then proves itself anew."""
    anew = lanes.c.in_flight_window.is_(None) & (lanes.c.claimed_at < stale)
    return case((anew, NEW_WINDOW), else_=lanes.c.in_flight_window)


def _earliest(now: ColumnElement[datetime]) -> ColumnElement[datetime | None]:
    living = or_(notifications.c.expires_at.is_(None), notifications.c.expires_at > now)
    mine = and_(notifications.c.lane_id == lanes.c.id, notifications.c.status == DUE, living)
    return select(func.min(notifications.c.due_at)).where(mine).correlate_except(notifications).scalar_subquery()


@cache
def _moving(speak: bool, on_postgresql: bool) -> Select[Any]:
    def one_of(parameter: str, table: FromClause = lanes) -> ColumnElement[bool]:
        return among(table.c.id, parameter, on_postgresql=on_postgresql)

    mine = one_of("batch") & or_(lanes.c.in_flight_window.is_not(None), one_of("touched"))
    if speak:
        told, sibling = lanes.alias("told"), lanes.alias("sibling")
        same = (told.c[name] == sibling.c[name] for name in ("tenant", "channel", "target"))
        mine |= lanes.c.id.in_(select(sibling.c.id).join(told, and_(*same)).where(one_of("speak", told)))
    return locking(select(lanes).where(mine).order_by(lanes.c.id), on_postgresql=on_postgresql)


def _told(
    rows: Sequence[Row[Any]], settlements: Sequence[Settlement]
) -> tuple[Mapping[LaneId, LaneState], list[LaneChange]]:
    """The states after these answers, and what people should hear of that."""
    states = {LaneId(row.id): state_of(row) for row in rows}
    news: dict[LaneId, LaneState] = {}
    siblings: dict[tuple[str, str, str], list[LaneId]] = {}
    for row in rows:
        siblings.setdefault((row.tenant, row.channel, row.target), []).append(LaneId(row.id))
    families = {lane: family for family in siblings.values() for lane in family}
    for item in sorted(settlements, key=lambda item: item.finished_at):
        before = states.get(item.lane_id)
        if before is None:
            continue
        told = Told(item.lane_sign, item.finished_at, item.lane_reason, item.rest_lane_until, item.chance)
        now = after(before, told)
        moved = {item.lane_id: now}
        if now.rest_until != before.rest_until and now.rest_until is not None:
            others = (lane for lane in families[item.lane_id] if lane != item.lane_id)
            moved |= {other: beside(states[other], now) for other in others}
        news |= {lane: state for lane, state in moved.items() if turned(states[lane], state, item.finished_at)}
        states |= moved
    return states, _changes(rows, news)


def _changes(rows: Sequence[Row[Any]], news: Mapping[LaneId, LaneState]) -> list[LaneChange]:
    """Together for a receiver: one word for its priorities."""
    groups: dict[tuple[str, str, str, bool], list[Row[Any]]] = {}
    for row in rows:
        if state := news.get(LaneId(row.id)):
            groups.setdefault((row.tenant, row.channel, row.target, state.rest_until is None), []).append(row)
    return [
        LaneChange(
            TenantId(tenant),
            ChannelName(channel),
            target,
            tuple(sorted((Priority(row.priority) for row in together), key=list(Priority).index)),
            news[LaneId(together[0].id)],
        )
        for (tenant, channel, target, _), together in groups.items()
    ]


def lane_from(row: Row[Any]) -> Lane:
    """A lane's row."""
    key = LaneKey(TenantId(row.tenant), ChannelName(row.channel), Priority(row.priority), row.target)
    return Lane(key, state_of(row))


def state_of(row: Row[Any]) -> LaneState:
    """What a lane's row says of it; the columns have the older word for rest."""
    return LaneState(
        limit=row.in_flight_limit,
        window=row.in_flight_window,
        failures=row.failures,
        open=row.breaker == OPEN,
        rest_until=row.paused_until,
        rest_reason=row.pause_reason,
    )


def _values(lane: LaneId, state: LaneState) -> dict[str, Any]:
    return {
        "lane": lane,
        "window": state.window,
        "failed": state.failures,
        "opened": OPEN if state.open else None,
        "until": state.rest_until,
        "why": state.rest_reason,
    }


_MOMENT = bindparam("moment", type_=UtcTime)
_WAKE = (
    lanes.update()
    .where(lanes.c.id == bindparam("lane"))
    .values(
        next_due_at=case(
            (or_(lanes.c.next_due_at.is_(None), lanes.c.next_due_at > _MOMENT), _MOMENT), else_=lanes.c.next_due_at
        )
    )
)
_REFRESH = Bulk(
    {"lane": Id(), "now": UtcTime(), "stale": UtcTime()},
    lambda given: (
        lanes.update()
        .where(lanes.c.id == given["lane"])
        .values(
            next_due_at=_earliest(given["now"]),
            claimed_at=given["now"],
            in_flight_window=window_from(given["stale"]),
        )
    ),
)
_SAVE = Bulk(
    {
        "lane": Id(),
        "window": Integer(),
        "failed": Integer(),
        "opened": Word(),
        "until": UtcTime(),
        "why": Text(),
    },
    lambda given: (
        lanes.update()
        .where(lanes.c.id == given["lane"])
        .values(
            in_flight_window=given["window"],
            failures=given["failed"],
            breaker=given["opened"],
            paused_until=given["until"],
            pause_reason=given["why"],
        )
    ),
)
